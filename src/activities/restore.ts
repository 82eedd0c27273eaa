import { rmSync } from 'node:fs';
import path from 'node:path';
import { Context } from '@temporalio/activity';
import { isBelow } from '../platform/paths.js';
import type { DatabaseContext, DatabaseSource } from '../sources/database.js';
import type { RestoreDocument, RestoreHeartbeat, RestoreInput, RestorePhase } from '../workflows/restore-types.js';
import { oneAtATime } from './alone.js';
import { databaseStep, noteOwner, unfinishedFilling } from './restore-database.js';
import {
  cleanUp,
  finishStep,
  packsStep,
  planStep,
  type RestoreCounts,
  type RestorePlanAnswer,
  type RestoreRepository,
  type RestoreStep,
} from './restore-run.js';
import { TaskGroup } from './threads/pool.js';
import { dropFilling } from './unfinished-databases.js';

/** What the restore activities need of the host they run on. */
export interface RestoreDeps {
  /** @throws HoldfastError InputRefused for an input that this state folder's key did not sign. */
  verify(input: RestoreInput): void;
  /**
   * Opens the job's repository for reading. With `sync` the catalog first takes in what every destination that answers
   * lists now (also on a new host); without, it only has to open the stores and unlock the key.
   */
  open(input: RestoreInput, options: { sync: boolean; signal: AbortSignal }): Promise<RestoreRepository>;
  /** Opens the server, or the files, that a database is restored to. */
  openDatabase(input: RestoreInput): Promise<DatabaseSource>;
  /** The URL of the server that is not the source's own, where it may be written down. */
  targetUrl: string | undefined;
  log: DatabaseContext['log'];
  /** The state folder. */
  state: string;
  /** Below it each run gets a scratch folder, 0700. */
  scratch: string;
}

/** Which run, and the signed input that started it. */
export interface RestoreRef {
  input: RestoreInput;
  run: string;
}

/** From this attempt on, destinations that do not answer count as not having a pack. */
const lastPatientAttempt = 6;
const beatMs = 500;

/** A restore's activities on this host. Each is thin: check the caller, call the engine, heartbeat. */
export function createRestoreActivities(deps: RestoreDeps) {
  const alone = oneAtATime();

  const scratchOf = (run: string): string => path.join(deps.scratch, run.replace(/[^A-Za-z0-9._-]+/g, '_'));

  const step = <T>(
    { input, run }: RestoreRef,
    phase: RestorePhase,
    slice: number | undefined,
    work: (step: RestoreStep, attempt: { retry: boolean; patient: boolean }) => Promise<T>,
  ): Promise<T> => {
    deps.verify(input);
    const context = Context.current();
    const signal = context.cancellationSignal;
    const { attempt } = context.info;
    return alone(`${run} ${phase} ${slice ?? ''}`, async () => {
      signal.throwIfAborted();
      const tasks = new TaskGroup(signal);
      const beat = (): void => {
        const { files, failed, new: bytes } = tasks.counts;
        const details: RestoreHeartbeat = { phase, files, failed, bytes, ...(slice === undefined ? {} : { slice }) };
        context.heartbeat(details);
      };
      const timer = setInterval(beat, beatMs);
      try {
        return await work(
          { input, run, scratch: scratchOf(run), tasks, signal },
          { retry: attempt > 1, patient: attempt < lastPatientAttempt },
        );
      } finally {
        clearInterval(timer);
      }
    });
  };

  return {
    async restorePlan(ref: RestoreRef): Promise<RestorePlanAnswer> {
      return step(ref, 'plan', undefined, async (at, { patient }) => {
        if (ref.input.database?.load !== undefined) noteOwner(at);
        return planStep(at, await deps.open(ref.input, { sync: true, signal: at.signal }), patient);
      });
    },

    async restorePacks(ref: RestoreRef & { slice: number }): Promise<RestoreCounts> {
      return step(ref, 'files', ref.slice, async (at, attempt) =>
        packsStep({ ...at, slice: ref.slice }, await deps.open(ref.input, { sync: false, signal: at.signal }), attempt),
      );
    },

    async restoreFinish(ref: RestoreRef & { startedAt: string }): Promise<RestoreDocument> {
      return step(ref, 'finish', undefined, (at) => finishStep(at, ref.startedAt));
    },

    async restoreDatabase(ref: RestoreRef & { startedAt: string }): Promise<RestoreDocument> {
      return step(ref, 'database', undefined, (at) =>
        databaseStep(at, () => deps.openDatabase(ref.input), deps.targetUrl, deps.log, ref.startedAt),
      );
    },

    /** After the end, whatever it was: nothing unfinished stays at the target or in the scratch folder. */
    async restoreCleanUp(ref: RestoreRef): Promise<void> {
      deps.verify(ref.input);
      const scratch = scratchOf(ref.run);
      const filling = unfinishedFilling(scratch);
      cleanUp(scratch);
      if (filling !== undefined)
        await dropFilling({
          state: deps.state,
          log: deps.log,
          open: () => deps.openDatabase(ref.input),
          into: filling.into,
          run: ref.run,
        }).catch((error: unknown) => {
          deps.log(`what the restore into ${filling.into} left is not dropped yet`, { err: error, run: ref.run });
          // For a later sweep.
          noteOwner({ scratch, ...ref }, filling);
        });
      if (ref.input.database?.load !== undefined && isBelow(ref.input.target, deps.scratch))
        rmSync(ref.input.target, { recursive: true, force: true });
    },
  };
}

export type RestoreActivities = ReturnType<typeof createRestoreActivities>;
