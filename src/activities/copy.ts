import { Context } from '@temporalio/activity';
import type { CopyCounts, CopyHeartbeat, CopyInput, CopyPhase, CopyPlan } from '../workflows/copy-types.js';
import { oneAtATime } from './alone.js';
import { verifyInput } from './auth.js';
import { type CopyFinished, copyMissing, finishCopy, planCopy } from './copy-run.js';
import type { Host } from './host.js';
import { isAuth } from './waiting.js';

/** Which run, and the signed input that started it. */
export interface CopyRef {
  input: CopyInput;
  run: string;
}

const beatMs = 500;

/** The activities of a copy between destinations. Each is thin: check the caller, call a module, heartbeat. */
export function createCopyActivities(host: Host) {
  const alone = oneAtATime();

  const step = <T>(
    { input, run }: CopyRef,
    phase: CopyPhase,
    work: (signal: AbortSignal, onPack: (bytes: number) => void) => Promise<T>,
  ): Promise<T> => {
    verifyInput(host.state, 'copy', input);
    const context = Context.current();
    const signal = context.cancellationSignal;
    return alone(`${run} ${phase}`, async () => {
      signal.throwIfAborted();
      const details: CopyHeartbeat = { phase, packs: 0, bytes: 0 };
      const timer = setInterval(() => context.heartbeat({ ...details }), beatMs);
      try {
        return await work(signal, (bytes) => {
          details.packs++;
          details.bytes += bytes;
        });
      } catch (error) {
        if (isAuth(error)) for (const name of [input.from, input.to]) host.doubt(name);
        throw error;
      } finally {
        clearInterval(timer);
      }
    });
  };

  return {
    async copyPlan(ref: CopyRef): Promise<CopyPlan> {
      return step(ref, 'plan', (signal) => planCopy(host, ref.input, signal));
    },

    async copyPacks(ref: CopyRef): Promise<CopyCounts> {
      return step(ref, 'packs', (signal, onPack) => copyMissing(host, ref.input, ref.run, signal, onPack));
    },

    async copyFinish(ref: CopyRef & { damaged: CopyCounts['damaged'] }): Promise<CopyFinished> {
      return step(ref, 'finish', (signal) => finishCopy(host, ref.input, ref.damaged, signal));
    },
  };
}

export type CopyActivities = ReturnType<typeof createCopyActivities>;
