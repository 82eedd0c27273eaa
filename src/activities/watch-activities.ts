import { Context } from '@temporalio/activity';
import { ScheduleNotFoundError } from '@temporalio/client';
import { HoldfastError } from '../errors.js';
import { hostQueue } from '../workflows/types.js';
import type { MissedNotice, Notice, Observation, WatchInput } from '../workflows/watch-types.js';
import { verifyInput } from './auth.js';
import { guarded } from './guarded.js';
import type { Host } from './host.js';
import { isMessenger, type Told, wants } from './tell.js';
import { flush, observe, tellNotice } from './watch.js';

export interface TellRequest {
  input: WatchInput;
  name: string;
  notice: Notice;
}

/** The activities of `watch` on the host that is watched. */
export function createWatchActivities(host: Host) {
  return guarded(host, {
    async observe(input: WatchInput): Promise<Observation> {
      verifyInput(host.state, 'watch', input);
      return observe(host);
    },

    async flush(input: WatchInput): Promise<{ sent: number; failed: number }> {
      verifyInput(host.state, 'watch', input);
      return flush(host, Context.current().cancellationSignal);
    },

    async tellNotice({ input, name, notice }: TellRequest): Promise<Told> {
      verifyInput(host.state, 'watch', input);
      return tellNotice(host, host.config.host, name, notice, Context.current().cancellationSignal);
    },
  });
}
export type WatchActivities = ReturnType<typeof createWatchActivities>;

export interface ElsewhereRequest {
  input: WatchInput;
  /** The notifiers' names on the host that is gone. */
  names: string[];
  notice: MissedNotice;
}

/** The activities of `watch` on the control role's worker, which may be on another machine with a config of its own. */
export function createControlActivities(host: Host) {
  return guarded(host, {
    /** Those of the jobs whose schedules are paused. */
    async pausedJobs({ host: owner, jobs }: { host: string; jobs: string[] }): Promise<string[]> {
      const paused: string[] = [];
      for (const job of jobs) {
        const handle = host.client?.schedule.getHandle(`holdfast/${owner}/${job}`);
        try {
          if ((await handle?.describe())?.state.paused === true) paused.push(job);
        } catch (error) {
          // A job that is run by hand, or by another program's schedule.
          if (!(error instanceof ScheduleNotFoundError)) throw error;
        }
      }
      return paused;
    },

    /**
     * Tells of a missed job of a host that takes no work: the notifiers of the same names in this worker's config, or where
     * it has none of them every one that wants to hear of misses.
     *
     * @returns whom it told.
     */
    async tellElsewhere({ input, names, notice }: ElsewhereRequest): Promise<string[]> {
      await checkGone(host, input);
      const signal = Context.current().cancellationSignal;
      const all = Object.entries(host.config.notify).filter(
        ([, config]) => isMessenger(config) && wants(config, 'missed'),
      );
      const same = all.filter(([name]) => names.includes(name));
      const told: string[] = [];
      let failure: unknown;
      const telling = (same.length > 0 ? same : all).map(async ([name]) => {
        try {
          await tellNotice(host, input.host, name, notice, signal);
          told.push(name);
        } catch (error) {
          failure = error;
          host.log.error({ err: error, notifier: name, job: notice.job }, 'notification not delivered');
        }
      });
      await Promise.all(telling);
      if (told.length === 0 && failure !== undefined) throw failure;
      if (told.length === 0)
        host.log.warn({ job: notice.job, host: input.host }, 'a job was missed, and no notifier here is to be told');
      return told;
    },
  });
}
export type ControlActivities = ReturnType<typeof createControlActivities>;

const activityQueue = 2;
const pollingMs = 90_000;

/** This worker can't check another host's signature. It can see for itself whether that host takes work, and says no more than that. */
async function checkGone(host: Host, input: WatchInput): Promise<void> {
  if (input.host === host.config.host) {
    verifyInput(host.state, 'watch', input);
    return;
  }
  const { client } = host;
  const refuse = (why: string) => new HoldfastError('InputRefused', `${why}: nothing is told of it`);
  if (client === undefined || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(input.host)) throw refuse('no such host');
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace: client.options.namespace,
    taskQueue: { name: hostQueue(input.host) },
    taskQueueType: activityQueue,
  });
  const seen = Math.max(0, ...(pollers ?? []).map(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1000));
  if (Date.now() - seen < pollingMs) throw refuse(`${input.host} takes work`);
}
