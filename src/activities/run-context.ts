import path from 'node:path';
import type { Config, DestinationConfig, JobConfig } from '../config/schema.js';
import { HoldfastError } from '../errors.js';
import { bootId } from '../platform/boot.js';
import type { Catalog } from '../repository/catalog.js';
import type { ArchiveFormat } from '../repository/export/member.js';
import type { KeyFile } from '../repository/keys.js';
import type { SnapshotMode } from '../repository/root.js';
import type { RepositoryKey } from '../repository/seal.js';
import { Store } from '../repository/store.js';
import type { BackupOptions, Warning } from '../workflows/types.js';
import type { Host } from './host.js';
import { stateKeyFile } from './key-file.js';
import { ReadAhead } from './read-ahead.js';
import { readJson } from './threads/line-writer.js';
import { type BatchPlan, spoolFiles } from './threads/spool-files.js';
import type { WalkResult } from './threads/walk-task.js';

/** The archive that a run is to make. */
export interface BegunArchive {
  /** In `archives/`; no other archive has it. */
  name: string;
  type: ArchiveFormat;
  encrypted: boolean;
  /** Of a differential one: the full one that it builds on. */
  base?: { snapshot: string; name: string };
}

/** What `begin` decided; durable in the spool. */
export interface Begun {
  run: string;
  /** How often the run had begun anew when this was decided. */
  restart: number;
  job: string;
  host: string;
  startedAt: string;
  options: BackupOptions;
  mode: SnapshotMode;
  snapshot: string;
  seq: number;
  generation: string;
  /** When the generation began, ISO. Absent in what an earlier version left. */
  began?: string;
  /** Indexes this snapshot may refer to. */
  indexes: string[];
  /** The index this run writes. */
  ownIndex: string;
  /** Whether every pack of those indexes is at some destination. */
  allPresent: boolean;
  /** Per source: the snapshot its files are compared with. */
  parents: Record<string, string>;
  /** Of jobs with `format: archive`. */
  archive?: BegunArchive;
  keyFile: KeyFile;
  /** Destinations that answered, or why not. */
  destinations: { name: string; error?: string }[];
  warnings: Warning[];
}

export interface SourcePlan {
  name: string;
  walk?: Omit<WalkResult, 'batches'>;
  firstBatch: number;
  batches: number;
  parent?: string;
  error?: { code: string; message: string };
}

export interface RunPlan {
  /** The system's boot id: the plan and what was read by it count only until the next boot. */
  boot: string;
  sources: SourcePlan[];
  batches: BatchPlan[];
}

/** A run's spool folder. */
export const runFolder = (spool: string, run: string): string =>
  path.join(spool, run.replace(/[^A-Za-z0-9._-]+/g, '_'));

/** One run as its activities see it: the frozen config, what `begin` decided, its stores. */
export class RunContext {
  readonly folder: string;
  readonly config: Config;
  readonly job: JobConfig;
  /** Lanes that are read while the walk still goes on. */
  ahead = new ReadAhead();

  constructor(
    readonly host: Host,
    readonly run: string,
    readonly begun: Begun,
    config: Config,
  ) {
    this.folder = runFolder(host.config.spool.path, run);
    this.config = config;
    const job = config.jobs[begun.job];
    if (!job) throw new HoldfastError('SpoolLost', `the config kept in ${this.folder} has no job ${begun.job}`);
    this.job = job;
  }

  /** @throws HoldfastError SpoolLost when the run's spool is gone. */
  static load(host: Host, run: string): RunContext {
    const folder = runFolder(host.config.spool.path, run);
    const begun = readJson<Begun>(spoolFiles.begun(folder));
    const config = readJson<Config>(spoolFiles.config(folder));
    if (!begun || !config) throw new HoldfastError('SpoolLost', `the spool of ${run} is gone from ${folder}`);
    return new RunContext(host, run, begun, config);
  }

  get jobName(): string {
    return this.begun.job;
  }

  get catalog(): Catalog {
    return this.host.catalog(this.begun.job);
  }

  get catalogFile(): string {
    return this.host.catalogFile(this.begun.job);
  }

  plan(): RunPlan {
    const plan = readJson<RunPlan>(spoolFiles.plan(this.folder));
    if (!plan) throw new HoldfastError('SpoolLost', `the plan of ${this.run} is gone from ${this.folder}`);
    // It was never fsynced: after a power cut its files may be there without their content.
    if (plan.boot !== bootId()) {
      throw new HoldfastError('SpoolStale', `the system was restarted since ${this.run} planned its work`);
    }
    return plan;
  }

  /** Where a source's stored paths begin: empty for files, the folder of its dumps for databases. */
  base(source: number): string {
    return this.job.sources[source]?.type === 'files' ? '' : spoolFiles.dumps(this.folder, source);
  }

  destinationConfig(name: string): DestinationConfig {
    const config = this.config.destinations[name];
    if (!config) throw new HoldfastError('ConfigInvalid', `there is no destination ${name} in the run's config`);
    return config;
  }

  async store(name: string): Promise<Store> {
    return new Store(await this.host.destination(name, this.destinationConfig(name)), this.begun.host, this.begun.job);
  }

  async key(): Promise<RepositoryKey | undefined> {
    const { keyFile } = this.begun;
    const passphrase = await this.host.passphrase(this.config.encryption?.passphrase);
    try {
      return await this.host.unlock(keyFile, passphrase);
    } catch (error) {
      // The passphrase may have been changed since the run began.
      const now = stateKeyFile(this.host, this.begun.job);
      if (now?.repository !== keyFile.repository || now.revision === keyFile.revision) throw error;
      return this.host.unlock(now, passphrase);
    }
  }
}
