import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import type { SnapshotDocument } from '../../src/control/snapshots.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { ensurePython, runPython } from '../docs/python.js';
import { describeTree, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';

vi.setConfig({ testTimeout: 240_000 });

const password = 'Spätburgunder 17';
const random = new Random(11);
let arena: Arena;
let database: string;

beforeAll(async () => {
  arena = await Arena.make({
    giveUpAfter: '2s',
    job: { format: 'archive', mode: 'differential', archive: { type: 'zip', password }, compression: undefined },
  });
  makeTree(arena.host.source, random, { small: 80, big: 2 });
  writeFileSync(join(arena.host.source, 'large'), random.bytes(40_000_000));
  database = join(arena.host.source, 'app.db');
  const db = new Database(database);
  db.exec('CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES (1), (2)');
  db.close();
});
afterEach(() => arena.host.killCommands());
afterAll(() => arena?.remove());

const archivesOf = (folder: string): string[] => {
  const path = join(folder, 'fault-host', 'site', 'archives');
  return existsSync(path) ? readdirSync(path).filter((name) => !name.startsWith('.')) : [];
};

async function until(what: string, run: string, isSo: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 90_000; !isSo(); await sleep(2)) {
    if (arena.host.document(run)?.endedAt) throw new Error(`${run} was over before ${what}`);
    if (Date.now() > deadline) throw new Error(`${run} never came to ${what}\n${arena.host.logTail()}`);
  }
}

it('a zip, killed while it is made and while it is sent: one whole file that another tool opens', async () => {
  const { host } = arena;
  const spooled = (run: string, folder: string): string[] => {
    const path = join(arena.spoolOf(run), folder);
    return existsSync(path) ? readdirSync(path) : [];
  };
  let up = await host.up();
  const run = await host.startRun('site');
  await until('the making', run, () => spooled(run, 'packs').some((name) => name.startsWith('.archive-')));
  await up.kill('SIGKILL');
  expect([...archivesOf(arena.near), ...archivesOf(arena.far)]).toEqual([]);
  up = await host.up();
  await until('the sending', run, () => spooled(run, 'sealed').includes('archive.json'));
  await up.kill('SIGKILL');
  await host.up();
  const document = await host.finished(run, 120_000);
  expect(document).toMatchObject({ status: 'succeeded', mode: 'full', destinations: [{ status: 'stored' }, {}] });
  await arena.expectNothingLeft();

  const [name = ''] = archivesOf(arena.near);
  expect(name).toMatch(/^site-\d{4}-\d\d-\d\d-full\.zip$/);
  expect(archivesOf(arena.near)).toEqual([name]);
  expect(archivesOf(arena.far)).toEqual([name]);
  const out = host.path('unpacked');
  const file = join(arena.near, 'fault-host', 'site', 'archives', name);
  execFileSync('7zz', ['x', '-bso0', `-p${password}`, `-o${out}`, file]);
  expect(execFileSync('diff', ['-r', '--no-dereference', host.source, join(out, host.source)]).toString()).toBe('');
  expect(() => execFileSync('7zz', ['t', '-bso0', '-pwrong', file], { stdio: 'pipe' })).toThrow();
  rmSync(out, { recursive: true });
});

it('a differential: what is gone stays gone, on a host that knows nothing; a folder that was away gets it later', async () => {
  const { host } = arena;
  rmSync(join(host.source, 'large'));
  writeFileSync(join(host.source, 'only in this run'), 'x'.repeat(1000));
  writeFileSync(join(host.source, 'empty now'), '');
  const away = host.path('away');
  renameSync(arena.near, away);
  await host.up();
  const expected = describeTree(host.source);
  const document = await host.json<RunDocument>(['backup', 'site'], [3]);
  expect(document).toMatchObject({ status: 'partial', mode: 'differential' });
  expect(document.destinations).toMatchObject([{ status: 'missed' }, { status: 'stored' }]);
  rmSync(join(host.source, 'only in this run'));
  renameSync(away, arena.near);
  await arena.delivered(document.run, 'near');
  await arena.expectNothingLeft();
  const work = host.path('work');
  mkdirSync(work);
  await arena.restoreFrom(arena.near, work, expected);
  const [newest, full] = await host.json<SnapshotDocument[]>(['snapshots', 'site']);
  expect(newest?.archive).toEqual({ name: newest?.archive?.name, base: full?.archive?.name });
  expect(archivesOf(arena.near).sort()).toEqual([newest?.archive?.name, full?.archive?.name]);
});

it('an encrypted tar of files and a database opens with Python, zstd and tar', async () => {
  const { host } = arena;
  await ensurePython();
  const { destinations, jobs } = arena.config();
  const job = {
    sources: [...(jobs.site?.sources ?? []), { type: 'sqlite' as const, name: 'app', path: database }],
    destinations: ['near'],
    format: 'archive' as const,
    archive: { type: 'tar.zst' as const, name: '{host}_{job}' },
  };
  await host.configure({ destinations, jobs: { tars: job } });
  await host.up();
  expect(await host.json<RunDocument>(['backup', 'tars'])).toMatchObject({ status: 'succeeded', warnings: [] });
  const repository = join(arena.near, 'fault-host', 'tars');
  const file = join(repository, 'archives', 'fault-host_tars.tar.zst');
  const plain = host.path('plain.tar.zst');
  const secret = host.path('passphrase');
  writeFileSync(secret, 'correct horse battery staple\n');
  await runPython('../../docs/open_archive.py', [repository, file, plain, secret]);
  const out = host.path('untarred');
  mkdirSync(out);
  execFileSync('tar', ['--zstd', '--xattrs', '--xattrs-include=*', '-xpf', plain, '-C', out]);
  // The copy that SQLite made may be laid out in another way than the file.
  const db = new Database(join(out, database), { readonly: true });
  expect(db.prepare('SELECT count(*) AS count FROM notes').get()).toEqual({ count: 2 });
  db.close();
  // Opening the database there touches its folder.
  const without = (lines: string[]): string[] =>
    lines.filter((line) => !line.includes('app.db') && !line.startsWith('. '));
  expect(without(describeTree(join(out, host.source)))).toEqual(without(describeTree(host.source)));

  const target = host.path('restored');
  const one = join(host.source, 'big-1');
  const restored = await host.json<{ files: { restored: number } }>(['restore', 'tars', one, '--to', target]);
  expect(restored.files.restored).toBe(1);
  expect(readFileSync(join(target, one)).equals(readFileSync(one))).toBe(true);
  expect(await host.json(['check', 'tars', '--read-data'])).toMatchObject({ status: 'clean' });
  for (const [args, message] of [
    [['export', 'tars', '--format', 'zip', '-o', host.path('x.zip')], /export makes an archive of a snapshot/],
    [['backup', 'tars', '--reread'], /--reread reads every file and stores what a repository lacks/],
    [['drill', 'tars'], /a drill restores a sample/],
  ] as const) {
    const { code, stderr } = await host.run([...args]);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  }
});
