import { Context } from '@temporalio/activity';
import type { CheckDocument, CheckInput, PruneDestination, PruneInput } from '../workflows/care-types.js';
import type { DrillProblem, DrillReport } from '../workflows/drill-types.js';
import type { HeartbeatDetails } from '../workflows/types.js';
import { oneAtATime } from './alone.js';
import { verifyInput } from './auth.js';
import { checkCleanUp, checkFinish, checkList, checkRead, checkRepair } from './check-run.js';
import {
  type DrillAttempt,
  type DrillRef,
  drillAssert,
  drillCleanUp,
  drillDatabase,
  drillFiles,
  drillFinish,
  drillPlan,
} from './drill-run.js';
import { asFailure } from './failures.js';
import type { Host } from './host.js';
import { pruneAt, pruneBegin, pruneEnd } from './prune-run.js';

export interface PruneRef {
  input: PruneInput;
  run: string;
}
export interface CheckRef {
  input: CheckInput;
  run: string;
}

const beatMs = 500;

const attemptOf = (signal: AbortSignal, onProgress: (bytes: number) => void): DrillAttempt => ({
  signal,
  onProgress,
  attempt: Context.current().info.attempt,
});

/** The activities of `prune`, `check` and `drill` on this host. Each is thin: check the caller, call a module, heartbeat. */
export function createCareActivities(host: Host) {
  const alone = oneAtATime();

  const working = <T>(
    type: 'prune' | 'check' | 'drill',
    { input, run }: PruneRef | CheckRef | DrillRef,
    work: (signal: AbortSignal, onProgress: (bytes: number) => void) => Promise<T>,
    destination?: string,
  ): Promise<T> => {
    const context = Context.current();
    const signal = context.cancellationSignal;
    return alone(run, async () => {
      verifyInput(host.state, type, input);
      signal.throwIfAborted();
      let read = 0;
      const beat = (): void => {
        const details: HeartbeatDetails = { phase: 'prune', files: 0, read, new: 0, stored: 0 };
        context.heartbeat(destination === undefined ? details : { ...details, destination });
      };
      const timer = setInterval(beat, beatMs);
      try {
        return await work(signal, (bytes) => {
          read += bytes;
        });
      } catch (error) {
        throw asFailure(error);
      } finally {
        clearInterval(timer);
      }
    });
  };

  return {
    async pruneBegin(ref: PruneRef): Promise<{ destinations: string[]; skipped: PruneDestination[] }> {
      return working('prune', ref, (signal) => pruneBegin(host, ref.input, ref.run, signal));
    },
    async pruneAt(ref: PruneRef & { destination: string }): Promise<PruneDestination> {
      const { input, run, destination } = ref;
      return working('prune', ref, (signal, on) => pruneAt(host, input, run, destination, signal, on), destination);
    },
    async pruneEnd(ref: PruneRef): Promise<void> {
      return working('prune', ref, async () => pruneEnd(host, ref.input, ref.run));
    },
    async checkList(ref: CheckRef): Promise<{ slices: { destination: string; slice: number }[] }> {
      return working('check', ref, (signal, on) => checkList(host, ref.input, ref.run, signal, () => on(0)));
    },
    async checkRead(ref: CheckRef & { destination: string; slice: number }): Promise<{ packs: number; bytes: number }> {
      const { input, run, destination, slice } = ref;
      return working(
        'check',
        ref,
        (signal, on) => checkRead(host, input, run, { destination, slice }, signal, on),
        destination,
      );
    },
    async checkRepair(ref: CheckRef): Promise<{ repaired: number; left: number }> {
      return working('check', ref, (signal, on) => checkRepair(host, ref.input, ref.run, signal, on));
    },
    async checkFinish(ref: CheckRef & { startedAt: string }): Promise<CheckDocument> {
      return working('check', ref, (signal) => checkFinish(host, ref.input, ref.run, ref.startedAt, signal));
    },
    async drillPlan(ref: DrillRef): Promise<{ databases: number }> {
      return working('drill', ref, (signal, on) => drillPlan(host, ref, attemptOf(signal, on)));
    },
    async drillFiles(ref: DrillRef): Promise<void> {
      return working('drill', ref, (signal, on) => drillFiles(host, ref, attemptOf(signal, on)));
    },
    async drillDatabase(ref: DrillRef & { database: number }): Promise<void> {
      return working('drill', ref, (signal, on) => drillDatabase(host, ref, attemptOf(signal, on)));
    },
    async drillAssert(ref: DrillRef): Promise<void> {
      return working('drill', ref, (signal, on) => drillAssert(host, ref, attemptOf(signal, on)));
    },
    async drillFinish(ref: DrillRef & { startedAt: string; failure?: DrillProblem }): Promise<DrillReport> {
      return working('drill', ref, async () => drillFinish(host, ref));
    },
    async drillCleanUp(ref: DrillRef): Promise<void> {
      return working('drill', ref, () => drillCleanUp(host, ref));
    },
    async checkCleanUp(ref: CheckRef): Promise<void> {
      return working('check', ref, async () => checkCleanUp(host, ref.input, ref.run));
    },
  };
}

export type CareActivities = ReturnType<typeof createCareActivities>;
