import { cpSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import {
  bundleWorkflowCode,
  DefaultLogger,
  NativeConnection,
  Runtime,
  Worker,
  type WorkflowBundleWithSourceMap,
} from '@temporalio/worker';
import type { BackupActivities } from '../../src/activities/backup.js';
import type { BeginAnswer } from '../../src/activities/begin.js';
import type { FinishRequest } from '../../src/activities/finish.js';
import type { ControlActivities } from '../../src/activities/watch-activities.js';
import { type BackupInput, controlQueue, hostQueue, type RunDocument } from '../../src/workflows/types.js';
import { startTestTemporal, type TestTemporal } from '../support/temporal.js';

export const historyFolder = fileURLToPath(new URL('../histories/', import.meta.url));
/** Set by scripts/record-histories.sh: the histories that the scenarios leave are saved. */
const recording = process.env.HOLDFAST_RECORD_HISTORIES === '1';

export const host = 'web-1';
export const input: BackupInput = { host, job: 'site', configHash: 'c0ffee', options: {}, sig: '00' };
export const started = (change: Partial<Extract<BeginAnswer, { state: 'started' }>> = {}): BeginAnswer => ({
  state: 'started',
  snapshot: '00112233445566aa',
  mode: 'full',
  minimumDestinations: 1,
  destinations: [
    { name: 'nas', giveUpAfterMs: 3000 },
    { name: 'offsite', giveUpAfterMs: 3000 },
  ],
  retention: true,
  notify: ['ops'],
  ...change,
});
export const planOf = (batches: number) => ({
  batches,
  files: 10,
  entries: 12,
  bytes: 1000,
  newFiles: 10,
  changedFiles: 0,
  toRead: 10,
  unreadable: 0,
  failedSources: [] as { name: string; code: string; message: string }[],
  sources: 1,
});

export type Mocks = {
  [Name in keyof BackupActivities]: (...args: Parameters<BackupActivities[Name]>) => ReturnType<BackupActivities[Name]>;
};
export interface Calls {
  /** Names of the activities as they began, with what tells them apart. */
  log: string[];
  finished: FinishRequest[];
}

/** Activities of a host on which all goes well, but for what `change` says; `calls` tells what was asked of them. */
export function mocks(calls: Calls, change: Partial<Mocks> = {}, batches = 2): Mocks {
  const note = (name: string): void => void calls.log.push(name);
  const all: Mocks = {
    async begin() {
      return started();
    },
    async listDatabases() {
      return { databases: [] };
    },
    async dump() {
      return { bytes: 0, tables: 0 };
    },
    async snapshot() {
      return planOf(batches);
    },
    async compress() {
      return { packs: 1, read: 500, fresh: 400, unreadable: 0 };
    },
    async encrypt() {
      return { packs: 1, bytes: 300 };
    },
    async archive() {
      return { bytes: 200, warnings: [] };
    },
    async upload() {
      return { packs: 1, bytes: 300 };
    },
    async manifest() {
      return { packs: 1, unreadable: 0 };
    },
    async commit() {
      return { healed: 0, healedBytes: 0 };
    },
    async assess() {
      return { warnings: [], hold: false };
    },
    async prune() {
      return { removed: 0, marked: 0, deleted: 0, freed: 0, repacked: 0 };
    },
    async finish(request) {
      return documentOf(request);
    },
    async notify() {
      return { sent: true };
    },
    async noteUnsent() {},
    async jobNotifiers() {
      return ['ops'];
    },
    async observe() {
      return { jobs: [], flushAt: null };
    },
    async flush() {
      return { sent: 0, failed: 0 };
    },
    async tellNotice() {
      return 'sent';
    },
    async noteWaiting() {},
    async noteDeliveryWaiting() {},
    async deliver() {
      return { delivered: [], left: 0 };
    },
    async deliverInput({ input: { host: own, job }, destination }) {
      return { host: own, job, destination, sig: '00' };
    },
    ...change,
  };
  const logged = Object.entries(all).map(([name, run]) => [
    name,
    async (request: {
      batch?: number;
      group?: string;
      destination?: string;
      name?: string;
      restart?: number;
      status?: string;
    }) => {
      const which = [request.batch, request.group, request.destination, request.name, request.status].filter(
        (part) => part !== undefined,
      );
      note([name, ...which].join(' '));
      if (name === 'finish') calls.finished.push(request as FinishRequest);
      return (run as (request: unknown) => Promise<unknown>)(request);
    },
  ]);
  return Object.fromEntries(logged) as Mocks;
}

export function documentOf(request: FinishRequest): RunDocument {
  const { totals } = request;
  return {
    run: request.run,
    job: request.input.job,
    snapshot: null,
    status: request.status,
    mode: 'full',
    files: { total: totals.files, new: totals.newFiles, changed: totals.changedFiles, unreadable: totals.unreadable },
    bytes: { source: totals.sourceBytes, read: totals.readBytes, new: totals.newBytes, stored: totals.storedBytes },
    destinations: request.destinations.map(({ name, state, packs, bytes, error }) => ({
      name,
      status: state,
      packs,
      bytes,
      error: error ?? null,
    })),
    warnings: request.warnings,
    startedAt: request.startedAt,
    endedAt: request.endedAt,
    durationMs: 1,
    ...(request.error ? { error: request.error } : {}),
  };
}

let installed = false;

export class Harness {
  private runs = 0;
  private controlling: Promise<void>;

  private constructor(
    readonly temporal: TestTemporal,
    private readonly native: NativeConnection,
    readonly workflowBundle: WorkflowBundleWithSourceMap,
    private control: Worker,
    private readonly makeControl: () => Promise<Worker>,
  ) {
    this.controlling = control.run();
  }

  /** @param control the activities of the control role's worker. */
  static async start(
    control: ControlActivities = { pausedJobs: async () => [], tellElsewhere: async () => [] },
    made: Promise<WorkflowBundleWithSourceMap> = bundle(),
  ): Promise<Harness> {
    if (!installed) Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
    installed = true;
    const [temporal, workflowBundle] = await Promise.all([startTestTemporal(), made]);
    const native = await NativeConnection.connect({ address: temporal.server.address });
    const make = (): Promise<Worker> =>
      Worker.create({
        connection: native,
        identity: 'worker',
        workflowBundle,
        activities: control,
        taskQueue: controlQueue,
        stickyQueueScheduleToStartTimeout: '500ms',
      });
    return new Harness(temporal, native, workflowBundle, await make(), make);
  }

  async stop(): Promise<void> {
    this.control.shutdown();
    await this.controlling;
    await this.native.close();
    await this.temporal.cleanup();
  }

  /** Runs a backup with these activities beside it; `during` may send signals and ask. */
  async with<T>(
    activities: Mocks,
    work: (start: (change?: Partial<BackupInput>) => Promise<Handle>) => Promise<T>,
  ): Promise<T> {
    // Each scenario has a host of its own, so that none takes another's tasks.
    const own = `${host}${this.runs === 0 ? '' : `-${this.runs}`}`;
    this.runs++;
    return this.serve(own, activities, () =>
      work((change = {}) =>
        this.temporal.client.workflow.start<Backup>('backup', {
          workflowId: `backup/${own}/site/${this.runs}`,
          taskQueue: controlQueue,
          args: [{ ...input, host: own, ...change }],
        }),
      ),
    );
  }

  /** Runs no workflow for so long. */
  async pauseControl(ms: number): Promise<void> {
    this.control.shutdown();
    await this.controlling;
    await new Promise((resolve) => setTimeout(resolve, ms));
    this.control = await this.makeControl();
    this.controlling = this.control.run();
  }

  /** Takes a host's work with these activities for as long as `work` takes; on request workflows on its queue, too. */
  async serve<T>(own: string, activities: object, work: () => Promise<T>, workflows = false): Promise<T> {
    const { workflowBundle } = this;
    const bundled = workflows ? { workflowBundle } : {};
    const common = { connection: this.native, identity: 'worker', shutdownGraceTime: '1s', ...bundled };
    const worker = await Worker.create({ ...common, activities, taskQueue: hostQueue(own) });
    const running = worker.run();
    try {
      return await work();
    } finally {
      worker.shutdown();
      await running;
    }
  }

  /** The history of a workflow's last (or a given) execution, saved under `name` when recording. */
  async history(name: string, workflowId: string, runId?: string): Promise<string> {
    const history = await this.temporal.client.workflow.getHandle(workflowId, runId).fetchHistory();
    const text = JSON.stringify(neutral(JSON.parse(historyToJSON(history))));
    if (recording) {
      mkdirSync(historyFolder, { recursive: true });
      writeFileSync(path.join(historyFolder, `${name}.json`), `${text}\n`);
    }
    return text;
  }
}

type Backup = (input: BackupInput) => Promise<RunDocument>;
export type Handle = WorkflowHandleWithFirstExecutionRunId<Backup>;

export function bundle(
  source = new URL('../../src/workflows/index.ts', import.meta.url),
  interceptors: readonly URL[] = [],
): Promise<WorkflowBundleWithSourceMap> {
  return bundleWorkflowCode({
    workflowsPath: fileURLToPath(source),
    workflowInterceptorModules: interceptors.map((module) => fileURLToPath(module)),
    logger: new DefaultLogger('ERROR'),
  });
}

/** The bundle of the workflows after edits of one of their files; copies go below `folder`. */
export async function editedBundle(
  folder: string,
  name: string,
  edits: readonly (readonly [from: string, to: string])[],
): Promise<WorkflowBundleWithSourceMap> {
  const copy = mkdtempSync(path.join(folder, 'src-'));
  const root = fileURLToPath(new URL('../../', import.meta.url));
  cpSync(path.join(root, 'src', 'workflows'), path.join(copy, 'workflows'), { recursive: true });
  symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
  const file = path.join(copy, 'workflows', name);
  let text = readFileSync(file, 'utf8');
  for (const [from, to] of edits) {
    const after = text.replace(from, to);
    if (after === text) throw new Error(`the edit of ${JSON.stringify(from)} changes nothing`);
    text = after;
  }
  writeFileSync(file, text);
  return bundle(pathToFileURL(path.join(copy, 'workflows', 'index.ts')));
}

/** Without what tells of the machine it was recorded on. */
function neutral(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(neutral);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => {
      if (name === 'stackTrace') return [name, ''];
      if (name === 'identity') return [name, member === 'worker' ? 'worker' : 'client'];
      if (name === 'buildId' || name === 'binaryChecksum') return [name, 'build'];
      return [name, neutral(member)];
    }),
  );
}

/** Resolves once `condition` holds; fails loudly when it never does. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 15_000): Promise<void> {
  const limit = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > limit) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A gate that activities wait at. */
export function gate(): { open: () => void; passed: Promise<void> } {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, passed };
}
