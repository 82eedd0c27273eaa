import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ExportDocument } from '../../src/workflows/export-types.js';
import type { RestoreDocument } from '../../src/workflows/restore-types.js';
import { TestHost } from '../support/cli.js';
import { mountTmpfs } from '../support/mounts.js';
import { until } from '../workflows/harness.js';

let host: TestHost;
const longName = `${'long '.repeat(40)}name.txt`;
const deep = Array.from({ length: 8 }, (_, at) => `${at}-${'d'.repeat(40)}`).join('/');
const password = 'Spätburgunder 17';

beforeAll(async () => {
  host = await TestHost.make();
  const { source } = host;
  const put = (name: string, content: string | Buffer, mode = 0o644): void => {
    writeFileSync(join(source, name), content);
    chmodSync(join(source, name), mode);
    utimesSync(join(source, name), 1_700_000_001.25, 1_700_000_001.25);
  };
  mkdirSync(join(source, 'empty folder'), { mode: 0o750 });
  mkdirSync(join(source, deep), { recursive: true });
  put('plain.txt', 'plain');
  put('nothing', '');
  put('größe – 大きさ 😀.txt', 'unicode');
  put(longName, 'long');
  put(`${deep}/inner.sh`, '#!/bin/sh\n', 0o755);
  put('secret', 'private', 0o600);
  put('large.bin', randomBytes(33 << 20));
  put('sparse.bin', 'start');
  truncateSync(join(source, 'sparse.bin'), 3_000_000);
  put('old', 'from 1970');
  utimesSync(join(source, 'old'), 7, 7);
  linkSync(join(source, 'plain.txt'), join(source, 'zz other name.txt'));
  symlinkSync('größe – 大きさ 😀.txt', join(source, 'link'));
  symlinkSync(`../${'t'.repeat(150)}`, join(source, 'dangling'));
  lutimesSync(join(source, 'link'), 1_700_000_001, 1_700_000_001);
  utimesSync(join(source, 'empty folder'), 1_600_000_000, 1_600_000_000);
  await host.configure({
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    jobs: {
      site: { sources: [{ type: 'files', paths: [source] }], destinations: ['nas'] },
      data: { sources: [{ type: 'sqlite', name: 'shop', path: host.path('shop.db') }], destinations: ['nas'] },
    },
  });
  const shop = new Database(host.path('shop.db'));
  shop.exec("CREATE TABLE t (x TEXT); INSERT INTO t VALUES ('one')");
  shop.close();
  // One server for all commands.
  await host.up();
  await host.json(['backup', 'site', 'data']);
});
afterAll(() => host?.remove());

/** Each entry below a folder: kind, permissions, mtime in seconds, and content or target. */
const lister = `
import hashlib, os, stat, sys, json
out = {}
for folder, dirs, files in os.walk(sys.argv[1]):
    for name in dirs + files:
        path = os.path.join(folder, name)
        at = os.lstat(path)
        if stat.S_ISLNK(at.st_mode): what = ['link', os.readlink(path)]
        elif stat.S_ISDIR(at.st_mode): what = ['dir', oct(stat.S_IMODE(at.st_mode))]
        else: what = ['file', oct(stat.S_IMODE(at.st_mode)), int(at.st_mtime), hashlib.sha256(open(path, 'rb').read()).hexdigest()]
        out[os.path.relpath(path, sys.argv[1])] = what
print(json.dumps(out, sort_keys=True))
`;
const list = (folder: string): unknown =>
  JSON.parse(execFileSync('python3', ['-c', lister, folder], { encoding: 'utf8' }));

function unpack(name: string, command: string, args: string[]): string {
  const folder = host.path(`out-${name}`);
  mkdirSync(folder);
  execFileSync(command, args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  return join(folder, host.source);
}

test('a zip file that unzip and Python open', async () => {
  const file = host.path('site.zip');
  const document = await host.json<ExportDocument>(['export', 'site', '-o', file]);
  expect(document).toMatchObject({ status: 'succeeded', format: 'zip', file, damaged: [], encrypted: false });
  expect(document.archiveBytes).toBe(statSync(file).size);
  expect(document.files).toEqual({ exported: 10, failed: 0 });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(existsSync(`${file}.partial`)).toBe(false);
  execFileSync('python3', [
    '-c',
    'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None',
    file,
  ]);
  expect(list(unpack('zip', 'unzip', ['-q', file]))).toEqual(list(host.source));
});

test.each([
  ['tar.gz', '-xzpf'],
  ['tar.zst', '--zstd'],
])('a %s file that tar and Python open', async (format, option) => {
  const file = host.path(`site.${format}`);
  expect(await host.json<ExportDocument>(['export', 'site', '-o', file])).toMatchObject({
    status: 'succeeded',
    files: { exported: 10 },
  });
  const out = unpack(format, 'tar', option === '--zstd' ? ['--zstd', '-xpf', file] : [option, file]);
  expect(list(out)).toEqual(list(host.source));
  // To the nanosecond, and one file under two names.
  expect(statSync(join(out, 'large.bin'), { bigint: true }).mtimeNs).toBe(
    statSync(join(host.source, 'large.bin'), { bigint: true }).mtimeNs,
  );
  expect(statSync(join(out, 'plain.txt')).ino).toBe(statSync(join(out, 'zz other name.txt')).ino);
  const plain = host.path(`python-${format}.tar`);
  if (format === 'tar.zst') execFileSync('zstd', ['-q', '-d', file, '-o', plain]);
  const names = execFileSync(
    'python3',
    ['-c', 'import sys, tarfile; print(len(tarfile.open(sys.argv[1]).getmembers()))', existsSync(plain) ? plain : file],
    { encoding: 'utf8' },
  );
  expect(Number(names)).toBeGreaterThan(15);
});

test('paths alone, an encrypted zip, and its password', async () => {
  const file = host.path('secret.zip');
  const key = host.path('zip-password');
  writeFileSync(key, `${password}\n`, { mode: 0o600 });
  const document = await host.json<ExportDocument>([
    ...['export', 'site', join(host.source, 'plain.txt'), join(host.source, 'link')],
    ...['-o', file, '--password-file', key],
  ]);
  expect(document).toMatchObject({ encrypted: true, files: { exported: 1, failed: 0 } });
  const methods = execFileSync(
    'python3',
    [
      '-c',
      'import sys, zipfile; print({i.compress_type for i in zipfile.ZipFile(sys.argv[1]).infolist() if not i.is_dir()})',
      file,
    ],
    { encoding: 'utf8' },
  );
  expect(methods.trim()).toBe('{99}');
  expect(readFileSync(file).includes('plain.txt')).toBe(true);
  const { BlobReader, configure, TextWriter, ZipReader } = await import('@zip.js/zip.js');
  configure({ useWebWorkers: false });
  const entries = await new ZipReader(new BlobReader(new Blob([readFileSync(file)]))).getEntries();
  const plain = entries.find(({ filename }) => filename.endsWith('/plain.txt'));
  if (plain === undefined || plain.directory) throw new Error('plain.txt is not there');
  expect(await plain.getData(new TextWriter(), { password })).toBe('plain');
  await expect(plain.getData(new TextWriter(), { password: 'wrong' })).rejects.toThrow(/password/i);
  const tar = await host.run(['export', 'site', '-o', host.path('x.tar.gz'), '--password-file', key]);
  expect([tar.code, existsSync(host.path('x.tar.gz'))]).toEqual([2, false]);
});

test('to stdout, and nothing else there', async () => {
  const archive = host.path('piped.tar.zst');
  const program = resolve(import.meta.dirname, '../../bin/holdfast.js');
  const out = execFileSync(
    process.execPath,
    [program, '--config', host.configFile, 'export', 'site', '--format', 'tar.zst', '-o', '-'],
    {
      env: { ...process.env, HOLDFAST_TEST_PASSPHRASE: 'correct horse battery staple' },
      maxBuffer: 256 << 20,
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  writeFileSync(archive, out);
  execFileSync('zstd', ['-q', '-t', archive]);
  expect(list(unpack('piped', 'tar', ['--zstd', '-xpf', archive]))).toEqual(list(host.source));
  expect((await host.run(['export', 'site', '--format', 'zip', '-o', '-', '--json'])).code).toBe(2);
});

test('a file that is there is kept, unless it is to be replaced', async () => {
  const file = host.path('there.zip');
  writeFileSync(file, 'mine');
  const path = join(host.source, 'plain.txt');
  const refused = await host.run(['export', 'site', path, '-o', file]);
  expect([refused.code, readFileSync(file, 'utf8')]).toEqual([1, 'mine']);
  expect(refused.stderr).toContain('there already');
  await host.json(['export', 'site', path, '-o', file, '--overwrite']);
  expect(readFileSync(file).subarray(0, 2).toString()).toBe('PK');
  const unknown = await host.run(['export', 'site', '/not/there', '-o', host.path('unknown.zip')]);
  expect([unknown.code, existsSync(host.path('unknown.zip')), existsSync(host.path('unknown.zip.partial'))]).toEqual([
    ...[1, false, false],
  ]);
});

test('databases come as the files that they were dumped to', async () => {
  await host.json(['export', 'data', '--format', 'tar.gz', '-o', host.path('data.tar.gz')]);
  const folder = host.path('out-data');
  mkdirSync(folder);
  execFileSync('tar', ['-xzf', host.path('data.tar.gz'), '-C', folder]);
  const shop = new Database(folder + host.path('shop.db'), { readonly: true });
  expect(shop.prepare('SELECT x FROM t').pluck().all()).toEqual(['one']);
  shop.close();
  expect(readdirSync(join(folder, '.holdfast'))).toEqual(['shop']);
});

test('a full disk is told, and nothing is left there', async () => {
  const disk = await mountTmpfs(host.path('small'), '64k');
  try {
    const { error } = await host.json<{ error: { code: string; message: string } }>(
      ['export', 'site', '-o', join(disk.path, 'site.zip')],
      [1],
    );
    expect(error).toMatchObject({ code: 'TargetFull', message: expect.stringContaining('site.zip') });
    expect(readdirSync(disk.path)).toEqual([]);
  } finally {
    await disk.remove();
  }
});

test('an interrupted export leaves nothing', async () => {
  const file = host.path('interrupted.zip');
  const command = host.start(['export', 'site', '-o', file]);
  const partial = `${file}.partial`;
  for (
    const deadline = Date.now() + 60_000;
    (statSync(partial, { throwIfNoEntry: false })?.size ?? 0) < 1;
    await sleep(1)
  ) {
    if (Date.now() > deadline) throw new Error(`no export began: ${command.stderr}`);
  }
  const ended = await command.kill('SIGINT');
  expect(ended.code, ended.stderr).toBe(130);
  expect([existsSync(file), existsSync(partial)]).toEqual([false, false]);
});

test('in the host’s own worker it goes on without the command, and is published once', async () => {
  const file = host.path('by-host.tar.zst');
  const asked = ['export', 'site', '-o', file, '--host', '--overwrite'];
  const lone = host.start(asked);
  await until(() => /started export\//.test(lone.stderr), 'it started');
  await lone.kill('SIGKILL');
  const document = await host.json<ExportDocument>(asked);
  expect(document).toMatchObject({ status: 'succeeded', format: 'tar.zst', file, encrypted: false });
  await until(() => !existsSync(`${file}.partial`), 'nothing is being written');
  expect(list(unpack('by-host', 'tar', ['--zstd', '-xf', file]))).toEqual(list(host.source));
  const refused = await host.json<{ error: { code: string } }>(
    ['export', 'site', '-o', '-', '--format', 'zip', '--host'],
    [2],
  );
  expect(refused.error.code).toBe('UsageInvalid');
});

test('files of a damaged pack are named and left out, others are whole', async () => {
  const packs = host.path('nas', 'fault-host', 'site', 'packs');
  const files = readdirSync(packs, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  const largest = files
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort((a, b) => statSync(b).size - statSync(a).size)[0];
  const whole = readFileSync(largest ?? '');
  const bytes = Buffer.from(whole);
  bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
  rmSync(largest ?? '');
  writeFileSync(largest ?? '', bytes);
  for (const format of ['zip', 'tar.gz']) {
    const file = host.path(`damaged.${format}`);
    const document = await host.json<ExportDocument>(['export', 'site', '-o', file], [3]);
    expect(document).toMatchObject({ status: 'partial', warnings: [{ code: 'PackDamaged' }] });
    expect(document.damaged.map(({ path }) => path)).toContain(join(host.source, 'large.bin'));
    expect(document.files.failed).toBe(document.damaged.length);
    const out = unpack(`damaged-${format}`, format === 'zip' ? 'unzip' : 'tar', [
      ...(format === 'zip' ? ['-q'] : ['-xzf']),
      file,
    ]);
    const expected = list(host.source) as Record<string, unknown>;
    for (const { path } of document.damaged) delete expected[path.slice(host.source.length + 1)];
    expect(list(out)).toEqual(expected);
  }
  writeFileSync(largest ?? '', whole);
});

test('where the latest snapshot cannot be read, an older one is not the whole answer', async () => {
  const other = host.path('other.json');
  const written = JSON.parse(readFileSync(host.configFile, 'utf8')) as object;
  writeFileSync(other, JSON.stringify({ ...written, state: host.path('other-state') }), { mode: 0o600 });
  const folder = host.path('nas', 'fault-host', 'site', 'snapshots');
  const [first = ''] = readdirSync(folder);
  writeFileSync(join(folder, '20990101T000000Z-00000000000000aa.json'), readFileSync(join(folder, first)));
  const file = host.path('older.zip');
  const document = await host.json<ExportDocument>(['export', 'data', '-o', file], [0], other);
  expect(document.status).toBe('succeeded');
  const asked = ['restore', 'site', '--to', host.path('older'), host.path('source', 'secret')];
  const restored = await host.json<RestoreDocument>(asked, [3], other);
  expect(restored).toMatchObject({ status: 'partial', files: { restored: 1 } });
  expect(restored.warnings.map(({ code }) => code)).toContain('SnapshotOlder');
});
