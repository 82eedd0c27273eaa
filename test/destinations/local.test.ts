import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LocalDestination } from '../../src/destinations/local.js';
import { looksUnmounted } from '../../src/destinations/local-mount.js';
import { openDestination } from '../../src/destinations/open.js';
import { mayMount, mountTmpfs } from '../support/mounts.js';
import { conformance, drain, failure, type Subject, sha256 } from './conformance.js';

const isRoot = process.getuid?.() === 0;

async function temporaryFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  return names.filter((name) => /(^|\/)\.tmp-/.test(name));
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

async function setUp(): Promise<Subject> {
  const base = await mkdtemp(join(tmpdir(), 'holdfast-local-'));
  const path = join(base, 'nas');
  const open = (at: string) => openDestination('nas', { type: 'local', path: at, presence: 'required' });
  return {
    open: () => open(path),
    async seed(keys, bytes) {
      for (const folder of new Set(keys.map((key) => dirname(join(path, key)))))
        await mkdir(folder, { recursive: true });
      await Promise.all(keys.map((key) => writeFile(join(path, key), bytes)));
    },
    leftovers: async () => (await temporaryFiles(path)).length,
    away: () => rename(path, `${path}-unplugged`),
    back: () => rename(`${path}-unplugged`, path),
    awayCode: 'DestinationMissing',
    async denied() {
      await chmod(path, 0o000);
      if (isRoot) {
        await chmod(base, 0o755);
        process.seteuid?.('nobody');
      }
      return {
        destination: await open(path),
        secrets: [],
        async done() {
          if (isRoot) process.seteuid?.(0);
          await chmod(path, 0o700);
        },
      };
    },
    async readOnly() {
      const sealed = join(base, 'sealed');
      if (!mayMount) {
        await mkdir(sealed, { mode: 0o500 });
        return { destination: await open(sealed), codes: ['AuthDenied'], done: async () => {} };
      }
      const mount = await mountTmpfs(sealed, '8m');
      mount.remount('ro');
      return { destination: await open(sealed), codes: ['DestinationReadOnly'], done: () => mount.remove() };
    },
    async nearlyFull() {
      const small = join(base, 'small');
      if (mayMount) {
        const mount = await mountTmpfs(small, '8m');
        return { destination: await open(small), codes: ['DestinationFull'], done: () => mount.remove() };
      }
      // Without the right to mount: a file system that refuses what is larger than it.
      await mkdir(small);
      class Small extends LocalDestination {
        protected override async writePiece(...args: Parameters<LocalDestination['writePiece']>): Promise<void> {
          if ((await args[0].stat()).size > 4 * 1024 * 1024) throw systemError('ENOSPC');
          await super.writePiece(...args);
        }
      }
      const destination = new Small('nas', { type: 'local', path: small });
      return { destination, codes: ['DestinationFull'], done: async () => {} };
    },
    async readCutShort(key) {
      const stream = await (await open(path)).get(key);
      await once(stream, 'readable');
      await truncate(join(path, key), 4096);
      return stream;
    },
    stop: () => rm(base, { recursive: true, force: true }),
  };
}

conformance('a local folder', setUp);

describe('a local destination', () => {
  let base: string;

  beforeAll(async () => {
    base = await mkdtemp(join(tmpdir(), 'holdfast-local-'));
  });

  afterAll(() => rm(base, { recursive: true, force: true }));

  it('creates its own folder, but not what is above it', async () => {
    const unmounted = new LocalDestination('usb', {
      type: 'local',
      path: join(base, 'not-mounted', 'backups'),
      presence: 'optional',
    });
    const error = await failure(unmounted.ensureRoot());
    expect(error.code).toBe('DestinationMissing');
    expect(error.retryable).toBe(true);
    expect(error.hint).toContain('Plug');
    const here = new LocalDestination('here', { type: 'local', path: join(base, 'backups') });
    expect((await failure(here.put('a', { bytes: Buffer.from('x') }))).code).toBe('DestinationMissing');
    await here.ensureRoot();
    await here.ensureRoot();
    await here.put('a', { bytes: Buffer.from('x') });
    expect((await here.stat('a'))?.size).toBe(1);
  });

  it('does not take the empty folder below an unmounted disk for the disk', async () => {
    const mountPoint = join(base, 'disk');
    await mkdir(mountPoint);
    const disk = new LocalDestination('disk', { type: 'local', path: join(mountPoint, 'a', 'b'), mountPoint });
    expect((await failure(disk.ensureRoot())).code).toBe('DestinationMissing');
    expect((await failure(disk.put('key', { bytes: Buffer.from('x') }))).code).toBe('DestinationMissing');
    expect(await readdir(mountPoint)).toEqual([]);
    const root = new LocalDestination('root', { type: 'local', path: join(base, 'on-root'), mountPoint: '/' });
    await root.ensureRoot();
    await root.put('key', { bytes: Buffer.from('x') });
    if (!mayMount) return;
    const mount = await mountTmpfs(mountPoint, '1m');
    await disk.ensureRoot();
    await disk.put('key', { bytes: Buffer.from('x') });
    await mount.remove();
    expect((await failure(disk.stat('key'))).code).toBe('DestinationMissing');
  });

  it.runIf(mayMount)('does not go on below a disk that is unmounted in the middle', async () => {
    const point = join(base, 'pulled');
    const below = join(point, 'nas');
    await mkdir(below, { recursive: true });
    const mount = await mountTmpfs(point, '8m');
    const nas = await openDestination('nas', { type: 'local', path: below });
    try {
      await nas.ensureRoot();
      await nas.put('host/job/holdfast.json', { bytes: Buffer.from('{}') });
      execFileSync('umount', [point]);
      const error = await failure(nas.put('host/job/packs/aa/a', { bytes: Buffer.from('x') }));
      expect(error.code).toBe('DestinationMissing');
      expect((await failure(nas.read('host/job/holdfast.json', { maxBytes: 10 }))).code).toBe('ObjectMissing');
      // What looks for the repository first finds none; whoever does not is still kept from writing.
      expect((await failure(nas.put('host/job/packs/aa/a', { bytes: Buffer.from('x') }))).code).toBe(
        'DestinationMissing',
      );
      expect(await readdir(below)).toEqual([]);
      expect(await looksUnmounted(below, [base])).toBe(true);
    } finally {
      await nas.close();
      await mount.remove().catch(() => undefined);
    }
  });

  it('is private', async () => {
    const path = join(base, 'private');
    const destination = new LocalDestination('nas', { type: 'local', path });
    await destination.ensureRoot();
    await destination.put('a/b/object', { bytes: Buffer.from('x') });
    for (const folder of ['', 'a', 'a/b']) expect((await stat(join(path, folder))).mode & 0o777).toBe(0o700);
    expect((await stat(join(path, 'a/b/object'))).mode & 0o777).toBe(0o600);
  });

  it('links a file of the same file system and leaves it alone', async () => {
    const path = join(base, 'linked');
    const file = join(base, 'spooled');
    await writeFile(file, 'content');
    const destination = new LocalDestination('nas', { type: 'local', path });
    await destination.ensureRoot();
    await destination.put('object', { file });
    expect((await stat(join(path, 'object'))).ino).toBe((await stat(file)).ino);
  });

  it('copies where links do not work, checks what it copies, and stays exclusive', async () => {
    class Fat extends LocalDestination {
      protected override link(): Promise<void> {
        return Promise.reject(systemError('EPERM'));
      }
    }
    const path = join(base, 'fat');
    const file = join(base, 'to-copy');
    const bytes = randomBytes(9 * 1024 * 1024);
    await writeFile(file, bytes);
    const fat = new Fat('usb', { type: 'local', path });
    await fat.ensureRoot();
    const steps: number[] = [];
    await fat.put('object', { file }, { sha256: sha256(bytes), exclusive: true, onProgress: (n) => steps.push(n) });
    expect(steps.length).toBeGreaterThan(2);
    expect((await fat.read('object', { maxBytes: bytes.length })).equals(bytes)).toBe(true);
    expect((await failure(fat.put('object', { file }, { exclusive: true }))).code).toBe('ObjectExists');
    expect((await failure(fat.put('other', { file }, { sha256: sha256(Buffer.from('x')) }))).code).toBe(
      'IntegrityMismatch',
    );
    const race = await Promise.allSettled(
      Array.from({ length: 6 }, (_, n) => fat.put('race', { bytes: Buffer.from(`writer ${n}`) }, { exclusive: true })),
    );
    const winners = race.flatMap(({ status }, n) => (status === 'fulfilled' ? [n] : []));
    expect(winners).toHaveLength(1);
    expect((await fat.read('race', { maxBytes: 100 })).toString()).toBe(`writer ${winners[0]}`);
    expect(await temporaryFiles(path)).toEqual([]);
  });

  it('sweeps temporary files by age and never lists them', async () => {
    const path = join(base, 'swept');
    const destination = new LocalDestination('nas', { type: 'local', path });
    await destination.ensureRoot();
    await destination.put('packs/ab/object', { bytes: Buffer.from('x') });
    const left = join(path, 'packs/ab/.tmp-1-deadbeef');
    await writeFile(left, 'half');
    // An old mtime says nothing: a linked spool file brings its own.
    await utimes(left, 1, 1);
    const keys: string[] = [];
    for await (const { key } of destination.list('')) keys.push(key);
    expect(keys).toEqual(['packs/ab/object']);
    expect(await destination.sweep('', 3_600_000)).toBe(0);
    expect(await destination.sweep('other/', -1000)).toBe(0);
    expect(await destination.sweep('packs/', -1000)).toBe(1);
    expect(await temporaryFiles(path)).toEqual([]);
    expect((await destination.stat('packs/ab/object'))?.size).toBe(1);
  });

  it('writes into a folder that vanished since it was last used', async () => {
    const path = join(base, 'tidied');
    const destination = new LocalDestination('nas', { type: 'local', path });
    await destination.ensureRoot();
    await destination.put('packs/ab/one', { bytes: Buffer.from('x') });
    await rm(join(path, 'packs'), { recursive: true });
    await destination.put('packs/ab/two', { bytes: Buffer.from('y') });
    expect((await drain(await destination.get('packs/ab/two'))).toString()).toBe('y');
  });
});
