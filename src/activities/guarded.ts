import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { logContext } from '../log-context.js';
import { asFailure } from './failures.js';
import type { Host } from './host.js';

type Activities = Record<string, (...args: never[]) => Promise<unknown>>;

/** Every error leaves as a typed, redacted failure and is logged; every line that is logged meanwhile names the run. */
export function guarded<T extends Activities>(host: Pick<Host, 'log'>, activities: T): T {
  const wrapped = Object.entries(activities).map(([name, run]) => [
    name,
    async (...args: never[]): Promise<unknown> => {
      const { workflowExecution, attempt } = Context.current().info;
      const id = workflowExecution?.workflowId ?? '';
      const job = jobOf(args[0]);
      return logContext.run({ run: id, ...(job === undefined ? {} : { job }), activity: name, attempt }, async () => {
        const began = Date.now();
        try {
          const answer = await run(...args);
          host.log.debug({ ms: Date.now() - began }, `${name} done`);
          return answer;
        } catch (error) {
          throw logged(host, name, limited(asFailure(error), attempt));
        }
      });
    },
  ]);
  return Object.fromEntries(wrapped) as T;
}

/** What nobody foresaw is tried again for half an hour, not for ever. */
function limited(failure: Error, attempt: number): Error {
  return failure instanceof ApplicationFailure && failure.type === 'Internal' && attempt > 60
    ? ApplicationFailure.nonRetryable(failure.message, failure.type)
    : failure;
}

function logged(host: Pick<Host, 'log'>, name: string, failure: Error): Error {
  if (failure instanceof CancelledFailure) host.log.debug(`${name} cancelled`);
  else if (failure instanceof ApplicationFailure) {
    const again = failure.nonRetryable ? {} : { retryable: true };
    host.log.warn({ code: failure.type, ...again, reason: failure.message }, `${name} failed`);
  } else host.log.warn({ err: failure }, `${name} failed`);
  return failure;
}

/** The job that an activity's argument names. */
function jobOf(argument: unknown): string | undefined {
  if (typeof argument !== 'object' || argument === null) return undefined;
  const input: unknown = Reflect.get(argument, 'input') ?? argument;
  const job: unknown = typeof input === 'object' && input !== null ? Reflect.get(input, 'job') : undefined;
  return typeof job === 'string' ? job : undefined;
}
