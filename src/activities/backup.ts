import { Context } from '@temporalio/activity';
import { errnoOf, HoldfastError } from '../errors.js';
import type { BackupInput, Phase, RunDocument } from '../workflows/types.js';
import type { Unsent } from '../workflows/unsent.js';
import { oneAtATime } from './alone.js';
import { type ArchiveAnswer, makeArchive } from './archive.js';
import { type AssessAnswer, type AssessRequest, assess } from './assess.js';
import { signInput, verifyInput } from './auth.js';
import { type CompressAnswer, compressBatch, encryptGroup, type UploadAnswer, uploadGroup } from './batch.js';
import { type BeginAnswer, type BeginRequest, begin } from './begin.js';
import { type CommitAnswer, commitRun, type SendProgress } from './commit.js';
import { type DeliverAnswer, deliver } from './deliver.js';
import { type DumpAnswer, dumpDatabase, type ListAnswer, listDatabases } from './dump.js';
import { asFailure } from './failures.js';
import { type FinishRequest, finish } from './finish.js';
import { guarded } from './guarded.js';
import { heartbeating } from './heartbeat.js';
import type { Host } from './host.js';
import { type MergeAnswer, mergeManifests, prepareObjects } from './manifest.js';
import { noteUnsent, notifyOne } from './notify.js';
import { type PruneAnswer, pruneDestination } from './prune.js';
import { RunContext } from './run-context.js';
import { type SnapshotAnswer, snapshot } from './snapshot.js';
import type { Told } from './tell.js';
import { TaskGroup } from './threads/pool.js';
import { isAuth, isAway, noteWaiting } from './waiting.js';
import { alertWatch } from './watch.js';
import { createWatchActivities } from './watch-activities.js';

/** What every activity of a backup is given: which run, and the signed input that started it. */
export interface RunRef {
  input: BackupInput;
  run: string;
}
export interface DeliverInput {
  host: string;
  job: string;
  destination: string;
  sig: string;
}

/** The activities of `backup` and `deliver` on this host. Each is thin: check the caller, call a module, heartbeat. */
export function createBackupActivities(host: Host) {
  const contexts = new Map<string, RunContext>();

  const load = (ref: RunRef): RunContext => {
    verifyInput(host.state, 'backup', ref.input);
    const known = contexts.get(ref.run);
    if (known) return known;
    const context = RunContext.load(host, ref.run);
    contexts.set(ref.run, context);
    return context;
  };

  const alone = oneAtATime();

  const threaded = <T>(
    ref: RunRef,
    phase: Phase,
    what: string,
    work: (context: RunContext, group: TaskGroup, signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const context = load(ref);
    const signal = Context.current().cancellationSignal;
    return alone(`${ref.run} ${what}`, async () => {
      signal.throwIfAborted();
      const group = new TaskGroup(signal);
      return heartbeating(
        phase,
        group,
        () => ({}),
        () => work(context, group, signal),
      );
    }).catch((error: unknown) => {
      throw orSpoolLost(error, context.folder);
    });
  };

  const dumping = <T>(
    ref: RunRef,
    what: string,
    work: (context: RunContext, signal: AbortSignal, onProgress: (bytes: number) => void) => Promise<T>,
  ): Promise<T> => {
    const context = load(ref);
    const signal = Context.current().cancellationSignal;
    let read = 0;
    return alone(`${ref.run} ${what}`, async () => {
      signal.throwIfAborted();
      return heartbeating(
        'dump',
        undefined,
        () => ({ read }),
        () =>
          work(context, signal, (bytes) => {
            read += bytes;
          }),
      );
    }).catch((error: unknown) => {
      throw orSpoolLost(error, context.folder);
    });
  };

  const sending = <T>(
    phase: Phase,
    destination: string,
    what: string,
    work: (signal: AbortSignal, onProgress: SendProgress) => Promise<T>,
  ): Promise<T> => {
    const signal = Context.current().cancellationSignal;
    let stored = 0;
    let landed = 0;
    return alone(what, async () => {
      signal.throwIfAborted();
      return heartbeating(
        phase,
        undefined,
        () => ({ destination, stored }),
        () =>
          work(signal, (bytes, whole = 0) => {
            stored += bytes;
            landed += whole;
          }),
      );
    }).catch((error: unknown) => {
      if (isAuth(error)) host.doubt(destination);
      // Half an object is no progress: a full disk takes half of one again and again.
      throw asFailure(error, { progress: landed, away: isAway(host, destination, error) });
    });
  };

  const activities = {
    async begin(request: BeginRequest): Promise<BeginAnswer> {
      verifyInput(host.state, 'backup', request.input);
      contexts.get(request.run)?.ahead.stop();
      contexts.delete(request.run);
      const signal = Context.current().cancellationSignal;
      return alone(`${request.run} begin`, () =>
        heartbeating(
          'begin',
          undefined,
          () => ({}),
          () => begin(host, request, signal),
        ),
      );
    },

    async listDatabases(ref: RunRef & { source: number }): Promise<ListAnswer> {
      return dumping(ref, `list ${ref.source}`, (context, signal) => listDatabases(context, ref.source, signal));
    },

    async dump(ref: RunRef & { source: number; database: number }): Promise<DumpAnswer> {
      return dumping(ref, `dump ${ref.source} ${ref.database}`, (context, signal, onProgress) =>
        dumpDatabase(context, ref.source, ref.database, signal, onProgress),
      );
    },

    async snapshot(ref: RunRef): Promise<SnapshotAnswer> {
      return threaded(ref, 'snapshot', 'snapshot', snapshot);
    },

    async compress(ref: RunRef & { batch: number }): Promise<CompressAnswer> {
      return threaded(ref, 'store', `compress ${ref.batch}`, (context, group) =>
        compressBatch(context, ref.batch, group),
      );
    },

    async encrypt(ref: RunRef & { group: string }): Promise<{ packs: number; bytes: number }> {
      return threaded(ref, 'store', `encrypt ${ref.group}`, async (context, group) => {
        const answer = await encryptGroup(context, ref.group, group);
        if (ref.group === 'manifest') await prepareObjects(context);
        return answer;
      });
    },

    async archive(ref: RunRef): Promise<ArchiveAnswer> {
      return threaded(ref, 'archive', 'archive', (context, group) => makeArchive(context, group));
    },

    async upload(ref: RunRef & { group: string; destination: string }): Promise<UploadAnswer> {
      const context = load(ref);
      const first = Context.current().info.attempt === 1;
      return sending(
        'store',
        ref.destination,
        `${ref.run} upload ${ref.group} ${ref.destination}`,
        (signal, onProgress) => uploadGroup(context, ref.group, ref.destination, first, signal, onProgress),
      );
    },

    async manifest(ref: RunRef): Promise<MergeAnswer> {
      return threaded(ref, 'manifest', 'manifest', (context, group) => mergeManifests(context, group));
    },

    async commit(ref: RunRef & { destination: string }): Promise<CommitAnswer> {
      const context = load(ref);
      return sending('commit', ref.destination, `${ref.run} commit ${ref.destination}`, (signal, onProgress) =>
        commitRun(context, ref.destination, signal, onProgress),
      );
    },

    async assess(request: RunRef & AssessRequest): Promise<AssessAnswer> {
      const context = load(request);
      const signal = Context.current().cancellationSignal;
      return alone(`${request.run} assess`, () => assess(context, request, signal));
    },

    async prune(ref: RunRef & { destination: string }): Promise<PruneAnswer> {
      const context = load(ref);
      return sending('prune', ref.destination, `${ref.run} prune ${ref.destination}`, (signal, onProgress) =>
        pruneDestination(context, ref.destination, signal, onProgress),
      );
    },

    async finish(request: FinishRequest): Promise<RunDocument> {
      verifyInput(host.state, 'backup', request.input);
      contexts.get(request.run)?.ahead.stop();
      contexts.delete(request.run);
      const document = await alone(`${request.run} finish`, () =>
        heartbeating(
          'done',
          undefined,
          () => ({}),
          () => finish(host, request),
        ),
      );
      await alertWatch(host.client, host.config.host);
      return document;
    },

    async notify(ref: RunRef & { name: string }): Promise<{ sent: boolean; told?: Told }> {
      verifyInput(host.state, 'backup', ref.input);
      const answer = await notifyOne(host, ref.input.job, ref.run, ref.name, Context.current().cancellationSignal);
      if (answer.told === 'held') await alertWatch(host.client, host.config.host);
      return answer;
    },

    /** Whom the job notifies, as the config says now. */
    async jobNotifiers(ref: RunRef): Promise<string[]> {
      verifyInput(host.state, 'backup', ref.input);
      return host.config.jobs[ref.input.job]?.notify ?? [];
    },

    async noteWaiting(ref: RunRef & { destination: string; reason: string }): Promise<void> {
      verifyInput(host.state, 'backup', ref.input);
      await noteWaiting(host, ref, Context.current().cancellationSignal);
    },

    /** Tells that what a run could not store waits for new credentials; what the run itself told is not told again. */
    async noteDeliveryWaiting({ reason, ...input }: DeliverInput & { reason: string }): Promise<void> {
      verifyInput(host.state, 'deliver', input);
      const [run] = host.history.owed(input.job, input.destination);
      if (run === undefined) return;
      const { job, destination } = input;
      const waiting = { input: { job }, run, destination, reason };
      await noteWaiting(host, waiting, Context.current().cancellationSignal);
    },

    async noteUnsent({ input, run, ...unsent }: RunRef & Unsent): Promise<void> {
      verifyInput(host.state, 'backup', input);
      noteUnsent(host, run, unsent);
      if (unsent.start !== true) await alertWatch(host.client, host.config.host);
    },

    async deliver(input: DeliverInput): Promise<DeliverAnswer> {
      verifyInput(host.state, 'deliver', input);
      return sending('commit', input.destination, `deliver ${input.job} ${input.destination}`, (signal, onProgress) =>
        deliver(host, input.job, input.destination, signal, onProgress),
      );
    },

    /** The signed input of the `deliver` workflow that looks after one destination. */
    async deliverInput(ref: RunRef & { destination: string }): Promise<DeliverInput> {
      verifyInput(host.state, 'backup', ref.input);
      const fields = { host: host.config.host, job: ref.input.job, destination: ref.destination };
      return { ...fields, sig: signInput(host.state, 'deliver', fields) };
    },
  };
  return { ...guarded(host, activities), ...createWatchActivities(host) };
}

/** A file of the spool that is not there is a spool that is lost, wherever that shows. */
function orSpoolLost(error: unknown, folder: string): unknown {
  const path = error instanceof Error && 'path' in error ? error.path : undefined;
  if (errnoOf(error) !== 'ENOENT' || typeof path !== 'string' || !path.startsWith(folder)) return error;
  return new HoldfastError('SpoolLost', `${path} is gone from the spool`, { cause: error });
}

export type BackupActivities = ReturnType<typeof createBackupActivities>;
