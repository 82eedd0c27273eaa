import { type ErrorCode, errnoOf, HoldfastError } from '../../errors.js';
import { Stopped } from './progress.js';

/** An error in plain data: the way between threads leaves nothing of an Error but its message. */
interface SentError {
  name: string;
  message: string;
  stack?: string;
  /** The errno name of a system error. */
  errno?: string;
  path?: string;
  holdfast?: {
    code: ErrorCode;
    hint?: string;
    file?: string;
    line?: number;
    key?: string;
    retryable: boolean;
    retryAfterMs?: number;
  };
}

/** What a task sends back to the thread that asked for it. */
export type Answer<T> = { value: T } | { error: SentError };

/** `task` with its errors sent as data. */
export function answering<I, O>(task: (input: I) => O | Promise<O>): (input: I) => Promise<Answer<O>> {
  return async (input) => {
    try {
      return { value: await task(input) };
    } catch (error) {
      return { error: sent(error) };
    }
  };
}

/** The task's value; throws its error with class, code and hint as they were. */
export function unpack<T>(answer: Answer<T>): T {
  if ('value' in answer) return answer.value;
  throw received(answer.error);
}

function sent(error: unknown): SentError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message, stack } = error;
  if (error instanceof HoldfastError) {
    const { code, hint, file, line, key, retryable, retryAfterMs } = error;
    return { name, message, stack, holdfast: { code, hint, file, line, key, retryable, retryAfterMs } };
  }
  const path = 'path' in error && typeof error.path === 'string' ? error.path : undefined;
  return { name, message, stack, errno: errnoOf(error), path };
}

function received({ name, message, stack, errno, path, holdfast }: SentError): Error {
  const error = holdfast
    ? new HoldfastError(holdfast.code, message, holdfast)
    : name === 'Stopped'
      ? new Stopped()
      : Object.assign(
          new Error(message),
          { name },
          errno === undefined ? {} : { code: errno },
          path === undefined ? {} : { path },
        );
  if (stack !== undefined) error.stack = stack;
  return error;
}
