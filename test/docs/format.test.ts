import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { setTimes } from '../../src/platform/times.js';
import { listXattrs, setXattr } from '../../src/platform/xattrs.js';
import { cutPoint } from '../../src/repository/chunker.js';
import { packLimit } from '../../src/repository/pack-writer.js';
import { tarEndSize } from '../../src/repository/tar.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { TestHost } from '../support/cli.js';
import { makeTree, Random } from '../support/tree.js';
import { ensurePython, restorer, runPython } from './python.js';

const page = readFileSync(resolve(import.meta.dirname, '../../docs/format.md'), 'utf8');
const passphrase = 'pässwörd of the format test';

let host: TestHost;
beforeAll(async () => {
  host = await TestHost.make();
  await ensurePython();
});
afterAll(() => host?.remove());

/** What the test's tree has beside makeTree's: names and targets that are not UTF-8, holes, FIFOs, odd times, attributes. */
function makeOddities(folder: string): void {
  const bytes = (name: string): Buffer => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, 'latin1')]);
  writeFileSync(bytes('not \xff UTF-8'), 'name');
  linkSync(bytes('not \xff UTF-8'), bytes('zz \xff second name'));
  symlinkSync(Buffer.from('to \xfe', 'latin1'), bytes('odd link'));
  writeFileSync(join(folder, 'a-b'), 'after the folder a');
  mkdirSync(join(folder, 'a'));
  writeFileSync(join(folder, 'a', 'ü😀\n'), 'name with a line end');
  const sparse = openSync(join(folder, 'sparse'), 'w');
  writeSync(sparse, 'in the middle', 3_000_000);
  closeSync(sparse);
  truncateSync(join(folder, 'sparse'), 6_000_000);
  writeFileSync(join(folder, 'only a hole'), '');
  truncateSync(join(folder, 'only a hole'), 2_000_000);
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  setXattr(join(folder, 'a'), 'user.plain', Buffer.from([0, 255]));
  setXattr(join(folder, 'a-b'), Buffer.from('user.\xff', 'latin1'), Buffer.from('value'));
  chmodSync(join(folder, 'a-b'), 0o4751);
  setTimes(join(folder, 'a-b'), { atimeNs: -1n, mtimeNs: -123_456_789n });
}

/** One line for every entry; paths as latin1, so that every byte counts. */
function describe(folder: string): string[] {
  const lines: string[] = [];
  const names = new Map<bigint, string>();
  const visit = (path: Buffer, name: string): void => {
    const info = lstatSync(path, { bigint: true });
    const parts = [name, info.mode.toString(8), `${info.uid}:${info.gid}`, info.mtimeNs];
    for (const [key, value] of listXattrs(path))
      parts.push(`${Buffer.from(key).toString('latin1')}=${value.toString('hex')}`);
    if (info.isSymbolicLink()) parts.push(readlinkSync(path, 'latin1'));
    if (info.isFile()) {
      if (!names.has(info.ino)) names.set(info.ino, name);
      parts.push(info.size, names.get(info.ino) ?? '', createHash('sha256').update(readFileSync(path)).digest('hex'));
    }
    lines.push(parts.join('|'));
    if (!info.isDirectory()) return;
    for (const child of readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)) {
      visit(Buffer.concat([path, Buffer.from('/'), child]), `${name}/${child.toString('latin1')}`);
    }
  };
  visit(Buffer.from(folder), '');
  return lines;
}

const destination = (): string => host.path('destination');
const repository = (job: string): string => join(destination(), 'fault-host', job);
const sources = () => [
  { type: 'files' as const, name: 'tree', paths: [host.source] },
  { type: 'sqlite' as const, name: 'app', path: host.path('app.db') },
];
const words = ['one', 'two'];

function makeDatabase(): void {
  const database = new Database(host.path('app.db'));
  // What is written stands in the log beside the file.
  database.pragma('journal_mode = WAL');
  database.exec('CREATE TABLE t (word TEXT)');
  for (const word of words) database.prepare('INSERT INTO t VALUES (?)').run(word);
  database.close();
}

async function backup(...jobs: string[]): Promise<void> {
  const said = await host.json<RunDocument | RunDocument[]>(['backup', ...jobs]);
  for (const document of [said].flat())
    expect(document).toMatchObject({ status: 'succeeded', warnings: expect.anything() });
}

async function restored(job: string, ...secret: string[]): Promise<string[]> {
  const target = host.path(`out-${job}`);
  await runPython(restorer, [repository(job), target, ...secret]);
  const database = new Database(target + host.path('app.db'), { readonly: true });
  expect(database.prepare('SELECT word FROM t').pluck().all()).toEqual(words);
  database.close();
  return describe(target + host.source);
}

test('an encrypted repository of two snapshots is restored by the Python program that follows docs/format.md', async () => {
  makeTree(host.source, new Random(3), { small: 300, big: 2 });
  makeOddities(host.source);
  makeDatabase();
  const secret = host.path('passphrase');
  writeFileSync(secret, `${passphrase}\n`);
  await host.configure({
    encryption: { passphrase: `\${file:${secret}}` },
    destinations: { disk: { type: 'local', path: destination() } },
    jobs: { secret: { sources: sources(), destinations: ['disk'] } },
  });
  await backup('secret');
  const changed = join(host.source, 'big-0');
  writeFileSync(changed, Buffer.concat([Buffer.from('inserted'), readFileSync(changed)]));
  rmSync(join(host.source, 'big-1'));
  await backup('secret');
  expect(readdirSync(join(repository('secret'), 'snapshots'))).toHaveLength(2);
  expect(await restored('secret', secret)).toEqual(describe(host.source));

  // The same rules, applied by a program that knows only the page, find the same chunks.
  const target = host.path('out-secret');
  const recut = JSON.parse(await runPython('recut.py', [repository('secret'), target, secret])) as Record<
    string,
    unknown
  >;
  expect(recut).toMatchObject({ differ: [], largeFiles: 1 });
  expect(recut.manifestChunks).toBeGreaterThan(5);
  expect(recut.cuts).toEqual(documentedCuts());
});

test('so it is with the recovery sheet in place of the passphrase, and with an RSA key', async () => {
  const sheet = host.path('sheet');
  await host.run(['key', 'export', 'secret', '--output', sheet]);
  rmSync(host.path('out-secret'), { recursive: true });
  expect(await restored('secret', sheet)).toEqual(describe(host.source));
  writeFileSync(
    sheet,
    readFileSync(sheet, 'utf8').replace(
      /( {4}2\. {2}.{5})(.)/,
      (_, before, digit) => before + (digit === 'A' ? 'B' : 'A'),
    ),
  );
  await expect(restored('secret', sheet)).rejects.toThrow(/line 2 of the sheet/);

  const pair = [
    'key',
    'generate',
    host.path('pair'),
    '--bits',
    '3072',
    '--new-passphrase-file',
    host.path('passphrase'),
  ];
  await host.json(pair);
  await host.configure({
    state: host.path('rsa-state'),
    encryption: { publicKey: `\${file:${host.path('pair.pub')}}` },
    destinations: { disk: { type: 'local', path: destination() } },
    jobs: { rsa: { sources: sources(), destinations: ['disk'] } },
  });
  await backup('rsa');
  expect(await restored('rsa', host.path('pair'), host.path('passphrase'))).toEqual(describe(host.source));
});

test('repositories in the clear, compressed with gzip or not at all, are restored by it too', async () => {
  const base = { sources: sources(), destinations: ['disk'] };
  await host.configure({
    encryption: undefined,
    state: host.path('clear-state'),
    destinations: { disk: { type: 'local', path: destination() } },
    jobs: { gz: { ...base, compression: { type: 'gzip' } }, plain: { ...base, compression: { type: 'none' } } },
  });
  await backup('gz', 'plain');
  const tree = describe(host.source);
  const [gz, plain] = await Promise.all([restored('gz'), restored('plain')]);
  expect(gz).toEqual(tree);
  expect(plain).toEqual(tree);
});

test('the Python restorer refuses a damaged pack', async () => {
  const packs = readdirSync(join(repository('plain'), 'packs'), { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.length > 60,
  );
  for (const pack of packs) {
    const file = join(repository('plain'), 'packs', pack);
    const stored = readFileSync(file);
    stored[700] = (stored[700] ?? 0) ^ 1;
    writeFileSync(file, stored);
  }
  await expect(runPython(restorer, [repository('plain'), host.path('out-damaged')])).rejects.toThrow(/is damaged/);
});

test('the Python restorer is short', () => {
  expect(readFileSync(restorer, 'utf8').split('\n').length).toBeLessThan(151);
});

function documentedCuts(): number[] {
  const text = /are cut into chunks of\s+([\d,\s]+ and [\d,]+) bytes/.exec(page)?.[1] ?? '';
  return text.split(/, | and /).map((number) => Number(number.replaceAll(',', '')));
}

test('the cuts that the page lists are those of the chunker', () => {
  const data = Buffer.concat(
    Array.from({ length: 262_144 }, (_, i) => createHash('sha256').update(String(i)).digest()),
  );
  const cuts: number[] = [];
  for (let at = 0; at < data.length; at += cuts.at(-1) ?? 1) cuts.push(cutPoint(data, at, data.length, true));
  expect(documentedCuts()).toEqual(cuts);
});

test('the limits that the page lists are those of the code', () => {
  const number = (value: number): string => value.toLocaleString('en-US');
  expect(page).toContain(`| pack's tar | ${number(packLimit + tarEndSize)} bytes |`);
  expect(page).toContain(`| pack as stored | ${number(packLimit + (packLimit >> 3) + (1 << 20))} bytes |`);
});
