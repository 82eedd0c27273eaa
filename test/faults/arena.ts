import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, vi } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import { freeze, TestHost } from '../support/cli.js';
import { type S3Server, startS3 } from '../support/s3-server.js';
import { describeTree } from '../support/tree.js';
import { type Moment, moments } from './moments.js';

export interface ArenaOptions {
  /** Destinations' throughput: slower uploads are easier to hit. */
  bandwidth?: string;
  giveUpAfter?: string;
  /** More of the job's config. */
  job?: Partial<ConfigInput['jobs'][string]>;
}

/** A host with one job `site` and two destinations: the folder `near` and a real S3 server's bucket `far`. */
export class Arena {
  private constructor(
    readonly host: TestHost,
    readonly s3: S3Server,
    private readonly options: ArenaOptions,
  ) {}

  static async make(options: ArenaOptions = {}): Promise<Arena> {
    const host = await TestHost.make();
    const s3 = await startS3();
    await s3.bucket('far');
    const arena = new Arena(host, s3, options);
    mkdirSync(arena.near);
    await host.configure(arena.config());
    return arena;
  }

  async remove(): Promise<void> {
    await this.host.remove();
    await this.s3.stop();
  }

  get near(): string {
    return this.host.path('near');
  }
  /** The bucket's folder: its files are the objects. */
  get far(): string {
    return join(this.s3.dir, 'far');
  }

  config(): Pick<ConfigInput, 'destinations' | 'jobs'> {
    const { bandwidth = '25MB/s', giveUpAfter = '1m', job = {} } = this.options;
    const { endpoint, region, accessKeyId, secretAccessKey } = this.s3;
    const both = { bandwidth, giveUpAfter };
    return {
      destinations: {
        near: { type: 'local', path: this.near, ...both },
        far: {
          type: 's3',
          bucket: 'far',
          endpoint,
          region,
          forcePathStyle: true,
          accessKeyId,
          secretAccessKey,
          ...both,
        },
      },
      jobs: {
        site: {
          sources: [{ type: 'files', name: 'files', paths: [this.host.source] }],
          destinations: ['near', 'far'],
          ...job,
        },
      },
    };
  }

  /** Waits for a moment of the run; false when it was over before. */
  async reached(run: string, moment: Moment): Promise<boolean> {
    for (const deadline = Date.now() + 60_000; ; await sleep(2)) {
      if (this.host.document(run)?.endedAt) return false;
      if (moments[moment](this, run)) return true;
      if (Date.now() > deadline) throw new Error(`${run} never got to ${moment}\n${this.host.logTail()}`);
    }
  }

  /** Waits until the run's document says that `destination` has what it missed. */
  async delivered(run: string, destination: string): Promise<void> {
    for (const deadline = Date.now() + 60_000; ; await sleep(20)) {
      const entry = this.host.document(run)?.destinations.find(({ name }) => name === destination);
      if (entry?.status === 'healed') return;
      if (Date.now() > deadline) throw new Error(`${destination} never got ${run}\n${this.host.logTail()}`);
    }
  }

  /** What a run that is over for good leaves behind: nothing. */
  async expectNothingLeft(): Promise<void> {
    // The document is there a moment before the spool is cleared.
    await vi.waitFor(() => expect(readdirSync(this.host.spool)).toEqual([]), 5000);
    expect(this.host.locks()).toEqual([]);
  }

  /** A run's spool folder. */
  spoolOf(run: string): string {
    return join(this.host.spool, run.replace(/[^A-Za-z0-9._-]+/g, '_'));
  }

  spoolHas(run: string, name: string): boolean {
    return existsSync(join(this.spoolOf(run), name));
  }

  private seen = new Set<string>();

  /** Objects of one kind that were not there when the last watch began, at both destinations. */
  newObjects(kind: 'index' | 'snapshots' | 'packs'): number {
    return this.objects(kind).filter((name) => !this.seen.has(name)).length;
  }

  fresh(): number {
    return this.newObjects('packs');
  }

  /** Bytes of all packs at each destination. */
  storedBytes(): { near: number; far: number } {
    const sum = (folder: string): number =>
      this.objects('packs')
        .filter((path) => path.startsWith(folder))
        .reduce((total, path) => total + statSync(path).size, 0);
    return { near: sum(this.near), far: sum(this.far) };
  }

  /** Names of one kind of objects at one destination, `near` or `far`. */
  namesOf(folder: string, kind: 'index' | 'snapshots' | 'packs'): string[] {
    return this.objects(kind).filter((path) => path.startsWith(folder));
  }

  private objects(kind: string): string[] {
    return [this.near, this.far].flatMap((folder) => {
      const path = join(folder, 'fault-host', 'site', kind);
      if (!existsSync(path)) return [];
      return readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((name) => /^[0-9a-f]{64}$|\.(ndjson|json)$/.test(name.split('/').at(-1) ?? ''))
        .map((name) => join(path, name));
    });
  }

  /** Takes a picture of both destinations at the moment a success is first reported, to be restored from later. */
  watchForSuccess(run: string, name: string): { restorable: (destination: 'near' | 'far') => Promise<void> } {
    this.seen = new Set([...this.objects('index'), ...this.objects('snapshots'), ...this.objects('packs')]);
    const picture = this.host.path(`picture-${name}`);
    const watching = (async () => {
      for (;;) {
        const document = this.host.document(run);
        if (document !== undefined && document.endedAt !== null) break;
        await sleep(5);
      }
      mkdirSync(picture);
      for (const folder of [this.near, this.far])
        if (existsSync(folder)) freeze(folder, join(picture, basename(folder)));
    })();
    watching.catch(() => undefined);
    return {
      restorable: async (destination) => {
        await watching;
        await this.restoreFrom(join(picture, destination), picture);
        rmSync(picture, { recursive: true });
      },
    };
  }

  /** Restores the newest snapshot of one repository's copy on a new host, and compares. */
  async restoreFrom(repository: string, work: string, expected = describeTree(this.host.source)): Promise<void> {
    const { host } = this;
    const config = join(work, 'elsewhere.json');
    const state = join(work, 'state');
    const target = join(work, 'target');
    const { jobs } = this.config();
    await host.configure(
      {
        state,
        spool: { path: join(work, 'spool') },
        destinations: { copy: { type: 'local', path: repository } },
        jobs: { site: { ...jobs.site!, destinations: ['copy'] } },
      },
      config,
    );
    await host.json(['restore', 'site', '--to', target], [0], config);
    expect(describeTree(join(target, host.source))).toEqual(expected);
    rmSync(target, { recursive: true });
    rmSync(state, { recursive: true });
  }
}
