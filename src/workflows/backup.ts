import { ActivityFailure, ApplicationFailure, defineSearchAttributeKey, TimeoutFailure } from '@temporalio/common';
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  isCancellation,
  log,
  ParentClosePolicy,
  patched,
  setCurrentDetails,
  setHandler,
  sleep,
  startChild,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { FinishRequest } from '../activities/finish.js';
import { activitiesOf, type HostActivities } from './activities.js';
import { startDelivery } from './deliver.js';
import { detailsText } from './details.js';
import { SendQueue } from './send-queue.js';
import { sideBySide } from './side-by-side.js';
import {
  type BackupInput,
  type BackupStatusAnswer,
  backupIdPrefix,
  type DestinationProgress,
  type Phase,
  type RunDocument,
  type RunStatus,
  signalNames,
  statusQuery,
  type Totals,
  type Warning,
  workerGone,
} from './types.js';
import { type Unsent, unsentWarning, withUnsent } from './unsent.js';

export const pauseSignal = defineSignal(signalNames.pause);
export const resumeSignal = defineSignal(signalNames.resume);
export const triggerSignal = defineSignal(signalNames.trigger);
export const retrySignal = defineSignal(signalNames.retry);
export const backupStatus = defineQuery<BackupStatusAnswer>(statusQuery);

const outcomeKey = defineSearchAttributeKey('HoldfastOutcome', 'KEYWORD');
const scheduledKey = defineSearchAttributeKey('TemporalScheduledById', 'KEYWORD');

/** Batches between which the pipeline keeps every core and the network busy; and groups on their way to one destination. */
const inFlight = 3;
/** Of small groups, as the first ones are, more are sent at once: as long as there are fewer packs on their way. */
const packsInFlight = 6;
/** What is on its way when a run continues as new may take so long to get there; then it is sent again. */
const drainMs = 10_000;
const batchesPerExecution = 100;
/** The queues' name for the file that an archive job makes. */
const archiveGroup = 'archive';
/** A destination that failed is tried again with a batch only so often; what it missed is healed at commit. */
const retryDestinationMs = 30_000;

/** Phases in or after which a pause holds the run; a commit that has begun is finished. */
const holdable: ReadonlySet<Phase> = new Set(['queued', 'begin', 'dump', 'snapshot', 'store', 'manifest', 'archive']);

/** One run of a job: begin, snapshot, batches, manifest, commit, prune, finish, notify. */
export async function backup(input: BackupInput): Promise<RunDocument> {
  return new BackupRun(input).run();
}

interface Target extends DestinationProgress {
  giveUpAfterMs: number;
  /** Set while it fails: not tried before this time, ms. */
  notBefore: number;
  /** Its last commit failed. */
  failing?: boolean;
  /** It was told that the credentials have expired. */
  expired?: boolean;
  queue: SendQueue;
  /** Why nothing more can be sent: the spool is lost. */
  sendFailure?: unknown;
}

class BackupRun {
  private readonly info = workflowInfo();
  private readonly id = this.info.workflowId;
  private readonly activities: HostActivities;
  private readonly startedAt: string;
  private paused: boolean;
  private triggered: boolean;
  private phase: Phase = 'begin';
  private queued = false;
  private done = 0;
  private batches = 0;
  private restarts: number;
  private targets: Target[] = [];
  private totals: Totals;
  /** One file is made of all that was read, in place of packs that are sent as they come. */
  private archive = false;
  private archiveWarnings: Warning[] = [];
  private minimum = 1;
  private retention = false;
  private notifiers: string[] = [];
  private begun = false;
  private status: RunStatus = 'running';
  private dumps: { source: number; name: string }[] = [];
  private dumpWarnings: Warning[] = [];
  private failedSources: { name: string; code: string; message: string }[] = [];
  private readonly warnings: Warning[];
  /** Telling that the run began, which the rest of it does not wait for. */
  private announced: Promise<void> | undefined;
  /** The same for each who hears of it, by the notifier's name. */
  private readonly announcements = new Map<string, Promise<void>>();
  private readonly unannounced: Unsent[] = [];
  /** The id of the snapshot that the spool holds. */
  private snapshot: string | undefined;
  /** Each destination has a queue of its own. Off in runs that began when a batch waited for all of them. */
  private readonly queues = patched('destination-queues');
  private readonly packsInFlight = patched('small-groups') ? packsInFlight : 0;
  private sending = new CancellationScope();
  private readonly sends = new Set<Promise<void>>();
  /** Starting no more groups: the run is about to continue as new. */
  private draining = false;
  /** How often somebody said that a destination may work again. */
  private nudges = 0;

  constructor(private readonly input: BackupInput) {
    const { carried } = input;
    this.activities = activitiesOf(input.host);
    this.startedAt = carried?.startedAt ?? this.info.startTime.toISOString();
    this.paused = carried?.paused ?? false;
    this.triggered = carried?.triggered ?? false;
    this.restarts = carried?.restarts ?? 0;
    this.done = carried?.nextBatch ?? 0;
    this.snapshot = carried?.snapshot;
    this.warnings = [...(carried?.warnings ?? [])];
    this.totals = carried?.totals ?? {
      files: 0,
      newFiles: 0,
      changedFiles: 0,
      unreadable: 0,
      sourceBytes: 0,
      readBytes: 0,
      newBytes: 0,
      storedBytes: 0,
    };
    setHandler(pauseSignal, () => {
      this.paused = true;
      this.describe();
    });
    setHandler(resumeSignal, () => {
      this.paused = false;
      for (const target of this.targets) this.pump(target);
      this.describe();
    });
    setHandler(triggerSignal, () => {
      this.triggered = true;
    });
    setHandler(retrySignal, () => {
      this.nudges++;
    });
    setHandler(backupStatus, () => this.answer());
  }

  private get ref(): { input: BackupInput; run: string } {
    const { carried: _, ...input } = this.input;
    return { input, run: this.id };
  }

  async run(): Promise<RunDocument> {
    let end: Partial<FinishRequest> & { status: RunStatus };
    let cancellation: unknown;
    try {
      end = (await this.begin()) ?? (await this.work());
    } catch (error) {
      if (error instanceof Error && error.name === 'ContinueAsNew') throw error;
      if (isCancellation(error)) cancellation = error;
      end = isCancellation(error) ? { status: 'cancelled' } : { status: 'failed', error: reasonOf(error) };
    }
    await CancellationScope.nonCancellable(() => this.stopSending());
    // From here on a request to cancel comes too late: what is stored is recorded as it is.
    const document = await CancellationScope.nonCancellable(() => this.finish(end));
    if (cancellation !== undefined) throw cancellation;
    return document;
  }

  private async work(): Promise<{ status: RunStatus }> {
    await this.storeUntilSpoolHolds();
    const assessed = this.assess();
    await this.commitAll();
    if (!(await assessed)) await this.prune();
    return { status: this.outcome() };
  }

  /** Takes the job's lock; a value means that the run ends here. */
  private async begin(): Promise<(Partial<FinishRequest> & { status: RunStatus }) | undefined> {
    const scheduled = this.info.typedSearchAttributes.get(scheduledKey) !== undefined;
    const request = { ...this.ref, startedAt: this.startedAt, scheduled, restart: this.restarts };
    let answer = await this.activities.begin({ ...request, wait: false });
    if (answer.state === 'busy' && !scheduled) {
      this.queued = true;
      this.enter('queued');
      answer = await this.activities.beginWaiting({ ...request, wait: true });
      this.queued = false;
    }
    if (answer.state === 'busy') return { status: 'skipped', joined: answer.owner };
    if (answer.state === 'joined') return { status: 'skipped', joined: answer.queued };
    if (this.snapshot !== undefined && this.snapshot !== answer.snapshot) {
      // The spool went away: there is a new plan, and what the batches of the old one did counts no more.
      this.done = 0;
      this.warnings.push({ code: 'SpoolLost', message: 'the spool was lost; the run began anew from its sources' });
    }
    this.snapshot = answer.snapshot;
    const carried = this.input.carried?.destinations;
    // Of a plan that counts no more nothing is sent; what was sent of it is found by the listing at commit.
    const queues = this.done === 0 ? undefined : this.input.carried?.queues;
    this.targets = answer.destinations.map(({ name, giveUpAfterMs, error }) => ({
      ...(carried?.find((known) => known.name === name) ?? { name, state: 'pending', packs: 0, bytes: 0, misses: 0 }),
      ...(error === undefined ? {} : { error }),
      giveUpAfterMs,
      notBefore: error === undefined ? 0 : Date.now() + retryDestinationMs,
      queue: new SendQueue(queues?.[name]),
    }));
    for (const target of this.targets) this.pump(target);
    this.archive = answer.archive ?? false;
    this.minimum = answer.minimumDestinations;
    this.retention = answer.retention;
    this.notifiers = answer.notify;
    this.dumps = answer.dumps ?? [];
    this.begun = true;
    const { notifyStart = [] } = answer;
    if (this.input.carried === undefined && notifyStart.length > 0) this.announced ??= this.announce(notifyStart);
    this.enter('snapshot');
    return undefined;
  }

  /** Snapshot, batches and manifest; once more from the start when the spool was lost on the way. */
  private async storeUntilSpoolHolds(): Promise<void> {
    for (;;) {
      try {
        await this.store();
        return;
      } catch (error) {
        const reason = reasonOf(error);
        if (reason.code !== 'SpoolLost' || (this.restarts > 0 && !reason.stale)) throw error;
        this.restarts++;
        await this.beginAnew();
      }
    }
  }

  /** Databases first, one after the other: a dump that fails is named by `snapshot`, and the others go on. */
  private async dumpAll(): Promise<void> {
    // What the batches of an earlier execution read was dumped before.
    if (this.dumps.length === 0 || this.done > 0) return;
    this.enter('dump');
    for (const { source, name } of this.dumps) {
      const list = await this.dumpStep(() =>
        this.activities.listDatabases.executeWithOptions({ summary: `of ${name}` }, [{ ...this.ref, source }]),
      );
      for (const [database, title] of (list?.databases ?? []).entries()) {
        await this.hold();
        const summary = `${name}: ${title}`.slice(0, 200);
        await this.dumpStep(() =>
          this.activities.dump.executeWithOptions({ summary }, [{ ...this.ref, source, database }]),
        );
      }
    }
  }

  private async dumpStep<T>(step: () => Promise<T>): Promise<T | undefined> {
    for (;;) {
      try {
        return await step();
      } catch (error) {
        const reason = reasonOf(error);
        if (isCancellation(error) || reason.code === 'SpoolLost') throw error;
        if (!reason.workerLost) return undefined;
      }
    }
  }

  private async beginAnew(): Promise<void> {
    await this.stopSending();
    // Only now: the sends of the lost spool have ended.
    this.sending = new CancellationScope();
    this.draining = false;
    await this.begin();
  }

  private async store(): Promise<void> {
    await this.dumpAll();
    this.enter('snapshot');
    const plan = await this.activities.snapshot(this.ref);
    this.batches = plan.batches;
    this.failedSources = plan.failedSources;
    this.dumpWarnings = plan.dumpWarnings ?? [];
    if (plan.empty ?? plan.failedSources.length === plan.sources) {
      const [first] = plan.failedSources;
      throw ApplicationFailure.nonRetryable(first?.message ?? 'no source could be read', first?.code ?? 'SourceFailed');
    }
    Object.assign(this.totals, {
      files: plan.files,
      newFiles: plan.newFiles,
      changedFiles: plan.changedFiles,
      sourceBytes: plan.bytes,
    });
    if (this.done === 0) this.totals.unreadable = plan.unreadable;
    this.enter('store');
    await this.storeBatches();
    await this.hold();
    this.enter('manifest');
    const manifest = await this.activities.manifest(this.ref);
    this.totals.unreadable += manifest.unreadable;
    if (this.archive) await this.makeArchive();
    if (manifest.packs > 0 || this.archive) await this.sealAndSend('manifest');
  }

  /** Waits no longer than for the file: it is sent while the rest goes on. */
  private async makeArchive(): Promise<void> {
    await this.hold();
    this.enter('archive');
    const made = await this.activities.archive(this.ref);
    this.totals.storedBytes += made.bytes;
    this.archiveWarnings = made.warnings;
    for (const target of this.targets) {
      target.queue.add(archiveGroup);
      this.pump(target);
    }
  }

  private async storeBatches(): Promise<void> {
    const first = this.done;
    const running = new Set<Promise<void>>();
    let failure: unknown;
    let next = first;
    await CancellationScope.cancellable(async () => {
      const scope = CancellationScope.current();
      for (; next < this.batches && failure === undefined; next++) {
        while (running.size >= inFlight) await Promise.race(running);
        failure ??= this.sendFailure();
        if (this.paused) {
          await Promise.all(running);
          await this.hold();
        }
        if (failure !== undefined) break;
        if (next - first >= batchesPerExecution || (next > first && workflowInfo().continueAsNewSuggested)) break;
        const batch: Promise<void> = this.storeBatch(next)
          .catch((error) => {
            failure ??= error;
            scope.cancel();
          })
          .finally(() => running.delete(batch));
        running.add(batch);
      }
      await Promise.all(running);
    }).catch((error) => {
      failure ??= error;
    });
    if (failure !== undefined) throw failure;
    // A request to cancel the run reaches the batches first; none of them may swallow it.
    if (CancellationScope.current().consideredCancelled) await sleep(0);
    if (next < this.batches) {
      await this.announced;
      await this.drain();
      await condition(allHandlersFinished);
      await continueAsNew<typeof backup>({
        ...this.input,
        carried: {
          startedAt: this.startedAt,
          nextBatch: next,
          batches: this.batches,
          destinations: this.progress(),
          paused: this.paused,
          triggered: this.triggered,
          restarts: this.restarts,
          totals: this.totals,
          warnings: this.warnings,
          ...(this.snapshot === undefined ? {} : { snapshot: this.snapshot }),
          ...(this.queues
            ? { queues: Object.fromEntries(this.targets.map(({ name, queue }) => [name, queue.ranges()])) }
            : {}),
        },
      });
    }
  }

  /** Waits for as long as the run is paused. */
  private async hold(): Promise<void> {
    if (!this.paused) return;
    this.describe();
    await condition(() => !this.paused);
    this.describe();
  }

  private async storeBatch(batch: number): Promise<void> {
    const compressed = await this.activities.compress.executeWithOptions(
      { summary: `batch ${batch + 1} of ${this.batches}` },
      [{ ...this.ref, batch }],
    );
    this.totals.readBytes += compressed.read;
    this.totals.newBytes += compressed.fresh;
    this.totals.unreadable += compressed.unreadable;
    if (compressed.packs > 0 && !this.archive) await this.sealAndSend(String(batch));
    this.done++;
    this.describe();
  }

  private async sealAndSend(group: string): Promise<void> {
    const sealed = await this.activities.encrypt.executeWithOptions({ summary: groupText(group) }, [
      { ...this.ref, group },
    ]);
    this.totals.storedBytes += sealed.bytes;
    if (!this.queues) {
      await Promise.all(this.targets.map((target) => this.send(target, group)));
      return;
    }
    for (const target of this.targets) {
      target.queue.add(group, sealed.packs);
      this.pump(target);
    }
  }

  /** Keeps a destination busy with what waits for it, whatever the others do. */
  private pump(target: Target): void {
    const { queue } = target;
    const hasRoom = (): boolean => queue.sending.size < inFlight || queue.load < this.packsInFlight;
    while (!this.draining && !this.isHeld() && target.sendFailure === undefined && hasRoom()) {
      const group = queue.take();
      if (group === undefined) return;
      const send: Promise<void> = this.sending
        .run(() => this.send(target, group))
        .then(() => queue.done(group))
        .catch((error: unknown) => {
          // Cancelled, it stays in the queue: whoever cancelled knows what becomes of it.
          if (!isCancellation(error)) target.sendFailure ??= error;
        })
        .finally(() => {
          this.sends.delete(send);
          if (!this.sending.consideredCancelled) this.pump(target);
        });
      this.sends.add(send);
    }
  }

  private isHeld(): boolean {
    return this.paused && holdable.has(this.phase);
  }

  private sendFailure(): unknown {
    return this.targets.find((target) => target.sendFailure !== undefined)?.sendFailure;
  }

  /** Waits until a destination was sent, or has missed, all there is. */
  private async sent(target: Target): Promise<void> {
    const over = (): boolean => target.queue.isEmpty || target.sendFailure !== undefined;
    if (!over()) await condition(over);
    if (target.sendFailure !== undefined) throw target.sendFailure;
  }

  /** Before continuing as new: what is on its way arrives, or goes back to its queue. */
  private async drain(): Promise<void> {
    if (!this.queues) return;
    this.draining = true;
    if (this.sends.size > 0) await condition(() => this.sends.size === 0, drainMs);
    await this.stopSending();
    const failure = this.sendFailure();
    if (failure !== undefined) throw failure;
  }

  /** Cancels what is on its way and waits for its end. */
  private async stopSending(): Promise<void> {
    if (this.sends.size === 0) return;
    this.sending.cancel();
    await Promise.all(this.sends);
  }

  /** A destination that fails holds nobody back: what it missed is healed when the others are done. */
  private async send(target: Target, group: string): Promise<void> {
    if (target.state === 'failed') return;
    if (target.notBefore > Date.now()) {
      target.misses++;
      return;
    }
    try {
      const upload = target.misses > 0 ? this.activities.uploadOnce : this.activities.upload;
      const sent = await upload.executeWithOptions({ summary: `${groupText(group)} to ${target.name}` }, [
        { ...this.ref, group, destination: target.name },
      ]);
      target.packs += sent.packs;
      target.bytes += sent.bytes;
      target.notBefore = 0;
    } catch (error) {
      const reason = reasonOf(error);
      if (isCancellation(error) || reason.code === 'SpoolLost') throw error;
      if (reason.workerLost) return this.send(target, group);
      target.misses++;
      target.error = `${reason.code}: ${reason.message}`;
      target.notBefore = Date.now() + retryDestinationMs;
      this.describe();
      // Now, while somebody may still renew them before they are waited for.
      if (reason.code === 'AuthExpired' && patched('note-expired-at-once')) await this.noteExpired(target);
    }
  }

  private async commitAll(): Promise<void> {
    await this.hold();
    this.enter('commit');
    for (let again = true; again; ) {
      again = false;
      const failures = await Promise.all(
        this.targets.map((target) =>
          this.commit(target).then(
            () => undefined,
            (error: unknown) => error,
          ),
        ),
      );
      const failure = failures.find((error) => error !== undefined);
      if (failure === undefined) return;
      const reason = reasonOf(failure);
      if (isCancellation(failure) || reason.code !== 'SpoolLost' || (this.restarts > 0 && !reason.stale)) throw failure;
      if (this.targets.some((target) => target.state === 'stored' || target.state === 'healed')) throw failure;
      this.restarts++;
      await this.beginAnew();
      await this.store();
      this.enter('commit');
      again = true;
    }
  }

  /** Tries until the destination holds the snapshot, or `giveUpAfter` has passed without progress. */
  private async commit(target: Target): Promise<void> {
    let deadline = Date.now() + target.giveUpAfterMs;
    for (let attempt = 0; ; attempt++) {
      try {
        await this.sent(target);
        const committed = await this.activities.commit.executeWithOptions({ summary: `to ${target.name}` }, [
          { ...this.ref, destination: target.name },
        ]);
        target.state = target.misses > 0 || committed.healed > 0 ? 'healed' : 'stored';
        target.packs += committed.healed;
        target.bytes += committed.healedBytes;
        target.error = undefined;
        target.retryUntil = undefined;
        if (committed.warnings) this.warnings.push(...committed.warnings);
        this.describe();
        return;
      } catch (error) {
        if (isCancellation(error)) throw error;
        const reason = reasonOf(error);
        if (reason.code === 'SpoolLost') {
          if (this.targets.every((other) => other === target || other.state === 'pending')) throw error;
          target.state = 'missed';
          target.error = `${reason.code}: ${reason.message}`;
          return;
        }
        if (reason.workerLost) {
          // The time this host was off is not the destination's failure.
          deadline = Date.now() + target.giveUpAfterMs;
          continue;
        }
        target.error = `${reason.code}: ${reason.message}`;
        target.failing = true;
        const othersWork = this.targets.some(
          (other) => other !== target && other.state === 'pending' && !other.failing,
        );
        if (reason.progress > 0 || othersWork) deadline = Date.now() + target.giveUpAfterMs;
        const wait = Math.min(1000 * 2 ** Math.min(attempt, 5), 30_000);
        const left = deadline - Date.now();
        if (!reason.retryable || reason.away || left <= 0) {
          target.state = reason.lost ? 'failed' : 'missed';
          target.retryUntil = undefined;
          this.describe();
          return;
        }
        target.retryUntil = new Date(deadline).toISOString();
        this.describe();
        if (reason.code === 'AuthExpired') await this.noteExpired(target);
        const { nudges } = this;
        await condition(() => this.nudges !== nudges, Math.min(wait, left));
      }
    }
  }

  /** Tells, once, that the run will wait for new credentials. */
  private async noteExpired(target: Target): Promise<void> {
    if (target.expired) return;
    target.expired = true;
    const note = { ...this.ref, destination: target.name, reason: (target.error ?? '').slice(0, 500) };
    await this.activities.noteWaiting(note).catch(() => undefined);
  }

  private outcome(): RunStatus {
    const stored = this.targets.filter(({ state }) => state === 'stored' || state === 'healed').length;
    if (this.failedSources.length > 0 || stored < this.minimum) return 'failed';
    const less = stored < this.targets.length || this.totals.unreadable > 0 || this.dumpWarnings.length > 0;
    return less ? 'partial' : 'succeeded';
  }

  /** Compares the run with earlier ones, while it is committed; true when retention is held because of what was found. */
  private async assess(): Promise<boolean> {
    if (!patched('assess')) return false;
    try {
      const { totals, startedAt } = this;
      const answer = await this.activities.assess({ ...this.ref, totals, startedAt, destinations: this.progress() });
      this.warnings.push(...answer.warnings);
      return answer.hold;
    } catch (error) {
      log.warn('the run was not compared with earlier ones', { error });
      return false;
    }
  }

  /** Only a run that succeeded removes anything, and only where it committed. */
  private async prune(): Promise<void> {
    if (!this.retention || this.outcome() !== 'succeeded') return;
    this.enter('prune');
    for (const target of this.targets) {
      try {
        const pruned = await this.activities.prune.executeWithOptions({ summary: `at ${target.name}` }, [
          { ...this.ref, destination: target.name },
        ]);
        if (pruned.warnings) this.warnings.push(...pruned.warnings);
      } catch (error) {
        if (isCancellation(error)) throw error;
        const { message } = reasonOf(error);
        const named = message.startsWith(`${target.name}: `) ? message : `${target.name}: ${message}`;
        this.warnings.push({ code: 'PruneFailed', message: named });
      }
    }
  }

  /** Runs in a scope that nobody cancels. */
  private async finish(end: Partial<FinishRequest> & { status: RunStatus }): Promise<RunDocument> {
    // A run is not over the later because somebody cannot be told that it began.
    const aside = this.announced !== undefined && patched('start-told-aside');
    if (!aside) await this.announced;
    if (end.status === 'failed' && !this.begun) await this.askNotifiers();
    for (const { name, code, message } of this.failedSources)
      this.warnings.push({ code, message: `source ${name}: ${message}` });
    this.warnings.push(...this.dumpWarnings, ...this.archiveWarnings);
    for (const target of this.targets) {
      if ((target.state === 'missed' || target.state === 'failed') && target.error !== undefined) {
        this.warnings.push({ code: 'DestinationMissed', message: `${target.name}: ${target.error}` });
      }
    }
    const [source] = this.failedSources;
    const error = end.error ?? (end.status === 'failed' ? (source ?? this.destinationsError()) : undefined);
    this.status = end.status;
    const document = await this.activities.finish({
      ...this.ref,
      ...end,
      ...(error ? { error: briefly(error) } : {}),
      startedAt: this.startedAt,
      endedAt: new Date().toISOString(),
      destinations: this.progress(),
      totals: this.totals,
      warnings: this.warnings,
    });
    this.enter('done');
    if (this.info.typedSearchAttributes.get(outcomeKey) !== undefined) {
      upsertSearchAttributes([{ key: outcomeKey, value: end.status }]);
    }
    // The run is over and recorded: nothing of what follows may change how it ended.
    await this.startDeliveries(end.status).catch((error: unknown) => log.warn('a delivery was not started', { error }));
    if (this.triggered)
      await this.startNext().catch((error: unknown) => log.warn('the next run was not started', { error }));
    // Whoever watches pings has to hear of the start before the end; nobody waits for another who cannot be reached.
    const each = aside && patched('start-told-each');
    const tell = end.status !== 'skipped' && end.status !== 'cancelled';
    if (!each || !tell) {
      await this.announced;
      if (aside) await this.noteLateStarts(document);
    }
    const unsent = tell ? await this.notify(each ? document : undefined) : [];
    if (each && tell) {
      await this.announced;
      for (const name of this.announcements.keys())
        if (!this.notifiers.includes(name)) await this.noteLateStarts(document, name);
    }
    unsent.unshift(...this.unannounced);
    return unsent.length === 0 ? document : { ...document, warnings: withUnsent(document.warnings, unsent) };
  }

  private destinationsError(): { code: string; message: string } {
    const stored = this.targets.filter(({ state }) => state === 'stored' || state === 'healed').length;
    return {
      code: 'DestinationMissing',
      message: `stored at ${stored} of ${this.targets.length} destinations, at least ${this.minimum} are needed`,
    };
  }

  private async startDeliveries(status: RunStatus): Promise<void> {
    if (status === 'cancelled') return;
    for (const target of this.targets) {
      if (target.state !== 'missed') continue;
      const input = await this.activities.deliverInput({ ...this.ref, destination: target.name });
      await startDelivery(input);
    }
  }

  private async startNext(): Promise<void> {
    const { carried: _, ...input } = this.input;
    const stamp = new Date().toISOString().replace(/[-:]/g, '');
    await startChild(backup, {
      args: [input],
      workflowId: `${backupIdPrefix(input.host, input.job)}/${stamp}-triggered`,
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `backup of ${input.job} on ${input.host}, triggered while another one ran`,
    });
  }

  /** Tells that the run began; that somebody could not be reached is a warning of it. */
  private async announce(names: string[]): Promise<void> {
    await CancellationScope.nonCancellable(() =>
      sideBySide(names, (name) => {
        const announcement = this.announceTo(name);
        this.announcements.set(name, announcement);
        return announcement;
      }),
    );
  }

  private async announceTo(name: string): Promise<void> {
    try {
      await this.activities.notifyStart.executeWithOptions({ summary: `${name}, of the start` }, [
        { ...this.ref, name },
      ]);
    } catch (error) {
      const unsent = { name, reason: unsentReason(error), start: true };
      this.unannounced.push(unsent);
      this.warnings.push(unsentWarning(unsent));
    }
  }

  /** A run that could not even begin, such as for want of a passphrase, has not been told whom to notify. */
  private async askNotifiers(): Promise<void> {
    if (!patched('ask-notifiers')) return;
    this.notifiers = await this.activities.jobNotifiers(this.ref).catch(() => []);
  }

  /** Who could not be told of the start until the run's document was written; `only`: this one of them. */
  private async noteLateStarts({ warnings }: RunDocument, only?: string): Promise<void> {
    for (const unsent of this.unannounced) {
      if (only !== undefined && unsent.name !== only) continue;
      const { message } = unsentWarning(unsent);
      if (warnings.some((warning) => warning.message === message)) continue;
      await this.activities.noteUnsent({ ...this.ref, ...unsent }).catch(() => undefined);
    }
  }

  /**
   * @param document of the run, where whoever is to hear of its start may still be being told of it.
   * @returns who could not be told.
   */
  private async notify(document?: RunDocument): Promise<Unsent[]> {
    this.phase = 'notify';
    const unsent: Unsent[] = [];
    await sideBySide(this.notifiers, async (name) => {
      if (document !== undefined) {
        await this.announcements.get(name);
        await this.noteLateStarts(document, name);
      }
      try {
        await this.activities.notify.executeWithOptions({ summary: name }, [{ ...this.ref, name }]);
      } catch (error) {
        const reason = unsentReason(error);
        unsent.push({ name, reason });
        await this.activities.noteUnsent({ ...this.ref, name, reason }).catch(() => undefined);
      }
    });
    this.phase = 'done';
    return unsent;
  }

  private progress(): DestinationProgress[] {
    return this.targets.map(({ name, state, packs, bytes, misses, error, retryUntil }) => ({
      name,
      state,
      packs,
      bytes,
      misses,
      ...(error === undefined ? {} : { error }),
      ...(retryUntil === undefined ? {} : { retryUntil }),
    }));
  }

  private enter(phase: Phase): void {
    this.phase = phase;
    this.describe();
  }

  private answer(): BackupStatusAnswer {
    const status: RunStatus =
      this.status !== 'running' ? this.status : this.queued ? 'queued' : this.isHeld() ? 'paused' : 'running';
    return {
      run: this.id,
      job: this.input.job,
      host: this.input.host,
      status,
      phase: this.phase,
      batches: { done: this.done, total: this.batches },
      totals: this.totals,
      destinations: this.progress(),
      startedAt: this.startedAt,
    };
  }

  private describe(): void {
    setCurrentDetails(detailsText(this.answer()));
  }
}

const briefly = ({ code, message, hint }: { code: string; message: string; hint?: string }) => ({
  code,
  message,
  ...(hint === undefined ? {} : { hint }),
});

interface Reason {
  code: string;
  message: string;
  hint?: string;
  retryable: boolean;
  /** Bytes that got through before it failed. */
  progress: number;
  /** The destination is not, or no longer, this job's. */
  lost: boolean;
  /** It is one that comes and goes, and is not here: a delivery waits for it. */
  away: boolean;
  /** The worker died or was stopped; the step itself did not fail. */
  workerLost: boolean;
  /** The system was restarted: beginning anew does not count as a second loss. */
  stale: boolean;
}

/** What is behind an activity's failure. */
export function reasonOf(error: unknown): Reason {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure) {
    const details = (cause.details?.[0] ?? {}) as { hint?: string; progress?: number; away?: boolean };
    const stale = cause.type === 'SpoolStale';
    const code = stale ? 'SpoolLost' : (cause.type ?? 'Internal');
    return {
      code,
      stale,
      message: cause.message,
      hint: details.hint,
      retryable: cause.nonRetryable !== true,
      progress: details.progress ?? 0,
      away: details.away === true,
      lost: code === 'DestinationLost' || code === 'RepositoryMismatch' || code === 'RepositoryOwned',
      workerLost: workerGone.includes(code),
    };
  }
  const message = cause instanceof Error ? cause.message : String(cause);
  return {
    code: 'Internal',
    message,
    retryable: true,
    progress: 0,
    lost: false,
    away: false,
    workerLost: cause instanceof TimeoutFailure,
    stale: false,
  };
}

/** Why somebody could not be told; of an attempt that ran out of time, what is known of the ones before. */
function unsentReason(error: unknown): string {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  const known = cause instanceof TimeoutFailure && cause.cause instanceof Error ? cause.cause : error;
  return reasonOf(known).message.slice(0, 300);
}

/** A group of packs as the Web UI names it. */
const groupText = (group: string): string =>
  group === 'manifest' || group === archiveGroup ? group : `batch ${Number(group) + 1}`;
