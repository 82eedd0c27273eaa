import { AsyncLocalStorage } from 'node:async_hooks';

/** What every log line written below a step carries, such as the run it belongs to. */
export interface LogContext {
  /** The workflow's id: it ties a run's lines together. */
  run: string;
  job?: string;
  activity: string;
  attempt: number;
}

/** One for the process: the log reads what activities set. */
export const logContext = new AsyncLocalStorage<LogContext>();
