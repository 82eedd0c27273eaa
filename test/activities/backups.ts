import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { MockActivityEnvironment } from '@temporalio/testing';
import type * as AuthModule from '../../src/activities/auth.js';
import type * as BackupModule from '../../src/activities/backup.js';
import type { BeginAnswer } from '../../src/activities/begin.js';
import type * as HostModule from '../../src/activities/host.js';
import type * as PoolModule from '../../src/activities/threads/pool.js';
import type * as ConfigModule from '../../src/config/load.js';
import type { ConfigInput } from '../../src/config/schema.js';
import { LocalDestination } from '../../src/destinations/local.js';
import { Catalog } from '../../src/repository/catalog.js';
import { entryPath, parseEntry } from '../../src/repository/entry.js';
import { unlock } from '../../src/repository/keys.js';
import { snapshotIdOf } from '../../src/repository/layout.js';
import { PackReader, readManifest, scopeOf } from '../../src/repository/reader.js';
import type { Root } from '../../src/repository/root.js';
import { Store } from '../../src/repository/store.js';
import { syncFrom } from '../../src/repository/sync.js';
import type {
  BackupInput,
  BackupOptions,
  DestinationProgress,
  RunDocument,
  RunStatus,
  Totals,
} from '../../src/workflows/types.js';

// The built program: threads need files that Node itself can load.
const built = <T>(file: string): Promise<T> =>
  import(pathToFileURL(path.resolve(import.meta.dirname, '../../dist', file)).href) as Promise<T>;

export const passphrase = 'open sesame, four words long';
type Activities = BackupModule.BackupActivities;
type Name = keyof Activities;

/** A host's activities without Temporal: each is called as a workflow would, in the test's own process. */
export class Backups {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'holdfast-activities-'));
  readonly source = path.join(this.folder, 'source');
  readonly logs: string[] = [];
  host!: HostModule.Host;
  activities!: Activities;
  heartbeats: unknown[] = [];
  private runs = 0;
  private modules!: {
    backup: typeof BackupModule;
    host: typeof HostModule;
    config: typeof ConfigModule;
    auth: typeof AuthModule;
    pool: typeof PoolModule;
  };

  /** Unencrypted unless `change` says otherwise: scrypt takes its time by design. */
  static async make(change: (config: ConfigInput, folder: string) => void = () => undefined): Promise<Backups> {
    const made = new Backups();
    made.modules = {
      backup: await built('activities/backup.js'),
      host: await built('activities/host.js'),
      config: await built('config/load.js'),
      auth: await built('activities/auth.js'),
      pool: await built('activities/threads/pool.js'),
    };
    mkdirSync(made.source);
    made.configure(change);
    await made.restart();
    return made;
  }

  configure(change: (config: ConfigInput, folder: string) => void = () => undefined): void {
    const { folder } = this;
    const config: ConfigInput = {
      host: 'web-1',
      state: path.join(folder, 'state'),
      destinations: {
        nas: { type: 'local', path: path.join(folder, 'nas') },
        offsite: { type: 'local', path: path.join(folder, 'offsite') },
      },
      jobs: {
        site: { sources: [{ type: 'files', name: 'www', paths: [this.source] }], destinations: ['nas', 'offsite'] },
      },
    };
    change(config, folder);
    writeFileSync(path.join(folder, 'holdfast.json'), JSON.stringify(config, null, 2), { mode: 0o600 });
    if (this.host) this.host.reload();
  }

  /** As a worker that is started anew. */
  async restart(): Promise<void> {
    await this.host?.close();
    await this.modules.pool.closePool();
    const { backup, host, config } = this.modules;
    const { default: pino } = await import('pino');
    const log = pino({ level: 'debug' }, { write: (line: string) => void this.logs.push(line) });
    this.host = new host.Host(config.loadConfig(path.join(this.folder, 'holdfast.json')), undefined, log);
    this.activities = backup.createBackupActivities(this.host);
  }

  /** As on a host that knows nothing of the repository but its key. */
  async forget(): Promise<void> {
    await this.host.close();
    rmSync(path.join(this.folder, 'state', 'catalog'), { recursive: true });
    await this.restart();
  }

  /** Ends the threads; once per test file is enough. */
  static async end(): Promise<void> {
    await (await built<typeof PoolModule>('activities/threads/pool.js')).closePool();
  }

  async remove(): Promise<void> {
    await this.host.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  write(name: string, content: string | Buffer): void {
    const file = path.join(this.source, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, content);
  }

  input(options: BackupOptions = {}): BackupInput {
    const fields = { host: 'web-1', job: 'site', configHash: this.host.configHash, options };
    return { ...fields, sig: this.modules.auth.signInput(this.host.state, 'backup', fields) };
  }

  newRun(): string {
    return `backup/web-1/site/${++this.runs}`;
  }

  /** The folder of a run's spool. */
  spool(run: string): string {
    return path.join(this.host.config.spool.path, run.replaceAll('/', '_'));
  }

  async call<N extends Name>(
    name: N,
    request: Parameters<Activities[N]>[0],
    attempt = 1,
  ): Promise<Awaited<ReturnType<Activities[N]>>> {
    const environment = new MockActivityEnvironment({ attempt });
    environment.on('heartbeat', (details: unknown) => this.heartbeats.push(details));
    type Call = (request: Parameters<Activities[N]>[0]) => Promise<Awaited<ReturnType<Activities[N]>>>;
    const answer = await environment.run(this.activities[name] as Call, request);
    return answer as Awaited<ReturnType<Activities[N]>>;
  }

  async begin(
    run: string,
    options: BackupOptions = {},
    restart = 0,
  ): Promise<Extract<BeginAnswer, { state: 'started' }>> {
    const answer = await this.call('begin', {
      input: this.input(options),
      run,
      startedAt: new Date().toISOString(),
      scheduled: false,
      wait: false,
      restart,
    });
    if (answer.state !== 'started') throw new Error(`the run is ${answer.state}`);
    return answer;
  }

  /** Everything up to commit. */
  async store(run: string, options: BackupOptions = {}): Promise<Totals> {
    const ref = { input: this.input(options), run };
    const names = Object.keys(this.host.config.jobs.site?.destinations ?? {}).map(
      (at) => this.host.config.jobs.site?.destinations[Number(at)] ?? '',
    );
    const plan = await this.call('snapshot', ref);
    const totals: Totals = {
      files: plan.files,
      newFiles: plan.newFiles,
      changedFiles: plan.changedFiles,
      unreadable: plan.unreadable,
      sourceBytes: plan.bytes,
      readBytes: 0,
      newBytes: 0,
      storedBytes: 0,
    };
    const isArchive = this.host.config.jobs.site?.format === 'archive';
    const send = async (group: string): Promise<void> => {
      if (group === 'archive') totals.storedBytes += (await this.call('archive', ref)).bytes;
      else totals.storedBytes += (await this.call('encrypt', { ...ref, group })).bytes;
      for (const destination of names) await this.call('upload', { ...ref, group, destination }).catch(() => undefined);
    };
    for (let batch = 0; batch < plan.batches; batch++) {
      const answer = await this.call('compress', { ...ref, batch });
      totals.readBytes += answer.read;
      totals.newBytes += answer.fresh;
      totals.unreadable += answer.unreadable;
      if (answer.packs > 0 && !isArchive) await send(String(batch));
    }
    const merged = await this.call('manifest', ref);
    totals.unreadable += merged.unreadable;
    if (isArchive) await send('archive');
    if (merged.packs > 0 || isArchive) await send('manifest');
    return totals;
  }

  finish(run: string, totals: Totals, destinations: DestinationProgress[], status: RunStatus): Promise<RunDocument> {
    const now = new Date().toISOString();
    return this.call('finish', {
      input: this.input(),
      run,
      status,
      startedAt: now,
      endedAt: now,
      destinations,
      totals,
      warnings: [],
    });
  }

  /** A whole run, as the workflow goes about it when nothing fails. */
  async run(options: BackupOptions = {}, restart = 0): Promise<RunDocument> {
    const run = this.newRun();
    const begun = await this.begin(run, options, restart);
    const totals = await this.store(run, options);
    const progress: DestinationProgress[] = [];
    for (const { name } of begun.destinations) {
      const state = await this.call('commit', { input: this.input(options), run, destination: name }).then(
        ({ healed }) => (healed > 0 ? ('healed' as const) : ('stored' as const)),
        () => 'missed' as const,
      );
      progress.push({ name, state, packs: 0, bytes: 0, misses: 0 });
    }
    const all = progress.every(({ state }) => state !== 'missed') && totals.unreadable === 0;
    if (all)
      for (const { name } of begun.destinations)
        await this.call('prune', { input: this.input(options), run, destination: name });
    return this.finish(run, totals, progress, all ? 'succeeded' : 'partial');
  }

  /** Object names and their bytes at a destination. */
  objects(destination: string): Map<string, Buffer> {
    const root = path.join(this.folder, destination, 'web-1', 'site');
    const names = readdirSync(root, { recursive: true, withFileTypes: true });
    return new Map(
      names
        .filter((each) => each.isFile())
        .map((each) => path.join(each.parentPath, each.name))
        .map((file): [string, Buffer] => [path.relative(root, file), readFileSync(file)])
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  }

  objectPath(destination: string, name: string): string {
    return path.join(this.folder, destination, 'web-1', 'site', name);
  }

  /** Reads every snapshot that a destination holds, with nothing but that destination and the passphrase: newest first. */
  async readBack(destination: string): Promise<{ root: Root; files: Map<string, Buffer> }[]> {
    const store = new Store(
      new LocalDestination(destination, { type: 'local', path: path.join(this.folder, destination) }),
      'web-1',
      'site',
    );
    const file = await store.keyFile();
    if (!file) throw new Error('no repository');
    const key = await unlock(file, passphrase);
    const scratch = mkdtempSync(path.join(this.folder, 'read-'));
    const catalog = new Catalog(path.join(scratch, 'catalog.db'));
    try {
      await syncFrom(store, key, catalog);
      const reader = new PackReader({ stores: [store], key });
      const found: { root: Root; files: Map<string, Buffer> }[] = [];
      for (const { root } of catalog.snapshots()) {
        const scope = scopeOf(catalog, root);
        const files = new Map<string, Buffer>();
        for (const source of root.sources) {
          for await (const line of readManifest(reader, catalog, root, source.name)) {
            const entry = parseEntry(line);
            if (entry.type !== 'file') continue;
            const chunks: Buffer[] = [];
            for (const id of entry.chunks ?? []) chunks.push(await reader.chunk(id, scope.locate(id)));
            files.set(path.relative(this.source, entryPath(entry)), Buffer.concat(chunks));
          }
        }
        found.push({ root, files });
      }
      return found;
    } finally {
      catalog.close();
      rmSync(scratch, { recursive: true });
    }
  }

  snapshotNames(destination: string): string[] {
    return [...this.objects(destination).keys()].filter((name) => snapshotIdOf(name) !== undefined);
  }
}
