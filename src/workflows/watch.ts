import { ActivityFailure, TimeoutFailure } from '@temporalio/common';
import {
  condition,
  continueAsNew,
  defineSignal,
  isCancellation,
  log,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { ControlActivities, WatchActivities } from '../activities/watch-activities.js';
import { sideBySide } from './side-by-side.js';
import { controlQueue, hostQueue } from './types.js';
import {
  lookSignal,
  type MissedNotice,
  type Notice,
  type WatchCarried,
  type Watched,
  type WatchInput,
} from './watch-types.js';

/** With the signature that the host gives its inputs now: a state folder that was made anew has another key. */
export const look = defineSignal<[sig?: string]>(lookSignal);

const minuteMs = 60_000;
const retryMs = 15 * minuteMs;
/** Later than planned by more than this: the machine with the server or the control worker was off. */
const lateMs = 2 * minuteMs;
const turnsPerExecution = 200;

/**
 * Watches one host: says so when a job did not succeed within the time its config expects, also when nobody takes the host's
 * work any more, and sends what notifiers held back. Runs for ever.
 */
export async function watch(input: WatchInput): Promise<void> {
  await new Watch(input).run();
}

class Watch {
  private readonly host: WatchActivities;
  private readonly control: ControlActivities;
  private sig: string;
  private poked = false;
  private jobs: Watched[];
  private flushAt: number | null;
  private flushNotBefore = 0;
  /** No worker takes the host's work. */
  private gone = false;

  constructor(private readonly input: WatchInput) {
    const patient = { initialInterval: '1s', backoffCoefficient: 3, maximumInterval: '1m', maximumAttempts: 5 };
    this.host = proxyActivities<WatchActivities>({
      taskQueue: hostQueue(input.host),
      scheduleToStartTimeout: '2m',
      startToCloseTimeout: '2m',
      retry: patient,
    });
    this.control = proxyActivities<ControlActivities>({
      taskQueue: controlQueue,
      startToCloseTimeout: '2m',
      retry: patient,
    });
    this.sig = input.sig;
    this.jobs = input.carried?.jobs ?? [];
    this.flushAt = input.carried?.flushAt ?? null;
    setHandler(look, (sig) => {
      this.poked = true;
      if (sig !== undefined) this.sig = sig;
    });
  }

  private get ref(): WatchInput {
    return { host: this.input.host, sig: this.sig };
  }

  async run(): Promise<void> {
    for (let turn = 0; turn < turnsPerExecution && !workflowInfo().continueAsNewSuggested; turn++) {
      this.poked = false;
      await this.observe();
      await this.flush();
      await this.judge();
      this.describe();
      const wake = this.nextWake();
      if (wake === undefined) await condition(() => this.poked);
      else await condition(() => this.poked, Math.max(1000, wake - Date.now()));
      if (wake !== undefined && Date.now() - wake > lateMs) this.allowCatchingUp();
    }
    const carried: WatchCarried = { jobs: this.jobs, flushAt: this.flushAt };
    await continueAsNew<typeof watch>({ ...this.ref, carried });
  }

  /** Asks the host how its jobs stand. What it said last counts on while it is gone. */
  private async observe(): Promise<void> {
    try {
      const { jobs, flushAt } = await this.host.observe(this.ref);
      this.gone = false;
      this.flushAt = flushAt;
      this.jobs = jobs.map((job) => {
        const known = this.jobs.find((other) => other.job === job.job);
        return {
          ...job,
          since: known?.since ?? Date.now(),
          ...(known?.alarm === undefined ? {} : { alarm: known.alarm }),
        };
      });
    } catch (error) {
      if (isCancellation(error)) throw error;
      this.gone = error instanceof ActivityFailure && error.cause instanceof TimeoutFailure;
      if (!this.gone) log.warn('the host does not say how its jobs stand', { error });
    }
  }

  private async flush(): Promise<void> {
    if (this.gone || this.flushAt === null || Math.max(this.flushAt, this.flushNotBefore) > Date.now()) return;
    try {
      const { failed } = await this.host.flush(this.ref);
      this.flushNotBefore = failed > 0 ? Date.now() + retryMs : 0;
    } catch (error) {
      if (isCancellation(error)) throw error;
      this.flushNotBefore = Date.now() + retryMs;
    }
    // How it stands now, so that what was sent is not waited for.
    await this.observe();
  }

  /** Tells what is overdue, once each time, and what is back. */
  private async judge(): Promise<void> {
    for (const job of this.jobs) if (job.alarm !== undefined) await this.lookForSuccess(job);
    const overdue = this.jobs.filter((job) => this.dueOf(job) <= Date.now() && !isTold(job));
    if (overdue.length === 0) return;
    const paused = await this.pausedOf(overdue.filter((job) => job.alarm === undefined));
    for (const job of overdue) {
      if (paused.includes(job.job)) job.since = Date.now();
      else await this.alarm(job);
    }
  }

  private dueOf({ lastSuccess, since, withinMs, alarm }: Watched): number {
    return alarm?.due ?? Math.max(lastSuccess ?? 0, since) + withinMs;
  }

  private async lookForSuccess(job: Watched): Promise<void> {
    const { alarm, lastSuccess } = job;
    if (alarm === undefined || lastSuccess === null || lastSuccess <= (alarm.lastSuccess ?? 0)) return;
    // What the host told of, its runs' own notifications tell the end of.
    if (alarm.elsewhere) {
      const notice: Notice = { kind: 'back', job: job.job, due: alarm.due, lastSuccess };
      await sideBySide(job.notify, async (name) => {
        await this.tell(name, notice);
      });
    }
    delete job.alarm;
  }

  private async pausedOf(jobs: Watched[]): Promise<string[]> {
    if (jobs.length === 0) return [];
    try {
      return await this.control.pausedJobs({ host: this.input.host, jobs: jobs.map(({ job }) => job) });
    } catch (error) {
      if (isCancellation(error)) throw error;
      return [];
    }
  }

  private async alarm(job: Watched): Promise<void> {
    const due = this.dueOf(job);
    const notice: MissedNotice = {
      kind: 'missed',
      job: job.job,
      lastSuccess: job.lastSuccess,
      withinMs: job.withinMs,
      due,
      hostGone: this.gone,
      running: this.gone ? null : job.running,
    };
    job.alarm ??= { due, lastSuccess: job.lastSuccess, told: [], elsewhere: this.gone };
    const { alarm } = job;
    if (this.gone) {
      const left = job.notify.filter((name) => !alarm.told.includes(name));
      const told = await this.elsewhere(left, notice);
      if (told === undefined) return;
      alarm.elsewhere = true;
      alarm.told = [...job.notify];
      return;
    }
    const left = job.notify.filter((name) => !alarm.told.includes(name));
    await sideBySide(left, async (name) => {
      if (await this.tell(name, notice)) alarm.told.push(name);
    });
  }

  private async tell(name: string, notice: Notice): Promise<boolean> {
    try {
      await this.host.tellNotice({ input: this.ref, name, notice });
      return true;
    } catch (error) {
      if (isCancellation(error)) throw error;
      return false;
    }
  }

  private async elsewhere(names: string[], notice: MissedNotice): Promise<string[] | undefined> {
    try {
      return await this.control.tellElsewhere({ input: this.ref, names, notice });
    } catch (error) {
      if (isCancellation(error)) throw error;
      return undefined;
    }
  }

  private nextWake(): number | undefined {
    const now = Date.now();
    const times = this.jobs
      .filter((job) => !isTold(job))
      .map((job) => (job.alarm === undefined ? this.dueOf(job) : now + retryMs));
    // Nobody says so when a host is back that does not run jobs at once.
    if (this.gone) times.push(now + retryMs);
    else if (this.flushAt !== null) times.push(Math.max(this.flushAt, this.flushNotBefore));
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** What was missed while nothing could run gets some time to be made up for. */
  private allowCatchingUp(): void {
    for (const job of this.jobs) {
      if (job.alarm !== undefined || this.dueOf(job) > Date.now()) continue;
      const grace = Math.min(86_400_000, Math.max(retryMs, job.withinMs / 12));
      job.since = Date.now() + Math.round(grace) - job.withinMs;
    }
  }

  private describe(): void {
    const lines = this.jobs.map((job) => {
      const due = new Date(this.dueOf(job)).toISOString();
      return `- ${job.job}: ${job.alarm === undefined ? `due by ${due}` : `**missed**, was due by ${due}`}`;
    });
    setCurrentDetails(
      [this.gone ? `**nothing takes the work of ${this.input.host}**` : `watching ${this.input.host}`, ...lines].join(
        '\n\n',
      ),
    );
  }
}

/** Whether everybody knows already. A job nobody is told of is known to everybody it concerns. */
function isTold({ alarm, notify }: Watched): boolean {
  return alarm !== undefined && notify.every((name) => alarm.told.includes(name));
}
