import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, HoldfastError } from '../../errors.js';
import type { Inspected } from './copy.js';

/** Copies `file` to `to`, or without `to` checks it. */
export interface Order {
  file: string;
  to?: string;
}

/** A question to `file`. */
export interface Question {
  file: string;
  sql: string;
}

export type Result = Inspected & { bytes: number };

export interface Said {
  /** Bytes copied since the last time. */
  progress?: number;
  result?: Result;
  /** To a question. */
  value?: string | null;
  failure?: { code: ErrorCode; message: string; hint: string | undefined; retryable: boolean };
}

/**
 * Does in a thread what would block the event loop. Rejects with the signal's reason once the thread has stopped.
 * @throws HoldfastError as `copyDatabase` does.
 */
export async function inThread(
  order: Order,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<Result> {
  const { result } = await thread(order, signal, onProgress);
  if (result === undefined) throw endedEarly(order.file);
  return result;
}

/** Asks in a thread; a question that takes for ever ends with the signal. */
export async function askInThread(question: Question, signal: AbortSignal): Promise<string | null> {
  const { value } = await thread(question, signal, () => undefined);
  if (value === undefined) throw endedEarly(question.file);
  return value;
}

async function thread(
  order: Order | Question,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<Said> {
  signal.throwIfAborted();
  const worker = new Worker(new URL('./thread.js', import.meta.url), { workerData: order });
  const stop = (): void => void worker.terminate();
  signal.addEventListener('abort', stop, { once: true });
  let answer: Said | undefined;
  worker.on('message', (said: Said) => {
    if (said.progress === undefined) answer = said;
    else onProgress(said.progress);
  });
  try {
    await once(worker, 'exit');
  } finally {
    signal.removeEventListener('abort', stop);
  }
  signal.throwIfAborted();
  if (answer?.failure) {
    const { code, message, hint, retryable } = answer.failure;
    throw new HoldfastError(code, message, { hint, retryable });
  }
  return answer ?? {};
}

const endedEarly = (file: string): HoldfastError =>
  new HoldfastError('SourceFailed', `the thread that reads ${file} ended early`);
