import type { Cost } from './measure.js';

/** One backup program in the comparison. Each round starts with `init` in an empty folder. */
export interface Contender {
  readonly name: string;
  /** The program's version, for the report. */
  version(): Promise<string>;
  /** Makes an empty repository for one round. Not timed. */
  init(round: Round): Promise<void>;
  /** Backs up `round.data`, the whole command as a user runs it. */
  backup(round: Round): Promise<Cost>;
  /** Anything needed before a restore that shouldn't be timed, then the restore of the newest snapshot into `out`. */
  restore(round: Round, out: string): Promise<Cost>;
  /** The folder whose size counts as stored. */
  repository(round: Round): string;
  /** Where the restored tree lies below `out`. */
  restored(round: Round, out: string): string;
  close(): Promise<void>;
}

/** One round on one data set: `work` is the contender's own empty folder. */
export interface Round {
  set: string;
  number: number;
  data: string;
  work: string;
}
