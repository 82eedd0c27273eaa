import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RestoreDocument } from '../../src/workflows/restore-types.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { type TestConfig, TestHost } from '../support/cli.js';
import { until } from '../workflows/harness.js';

let host: TestHost;
const config = () =>
  ({
    destinations: { disk: { type: 'local', path: host.path('repository') } },
    jobs: {
      site: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['disk'], schedule: { every: '6h' } },
      other: { sources: [{ type: 'files', paths: [host.path('other')] }], destinations: ['disk'] },
      gone: { sources: [{ type: 'files', paths: [host.path('missing')] }], destinations: ['disk'] },
    },
  }) satisfies TestConfig;
beforeAll(async () => {
  host = await TestHost.make();
  writeFileSync(join(host.source, 'a.txt'), 'first');
  mkdirSync(join(host.source, 'deep'));
  writeFileSync(join(host.source, 'deep', 'b.txt'), 'second');
  mkdirSync(host.path('other'));
  writeFileSync(host.path('other', 'c.txt'), 'third');
  await host.configure(config());
});
afterEach(() => host.killCommands());
afterAll(() => host?.remove());

describe('without `up`', () => {
  it('backs up, leaves nothing running, and answers with the document of the contract', async () => {
    const document = await host.json<RunDocument>(['backup', 'site']);
    expect(document).toMatchObject({
      job: 'site',
      status: 'succeeded',
      mode: 'full',
      files: { total: 2, new: 2, changed: 0, unreadable: 0 },
      destinations: [{ name: 'disk', status: 'stored', error: null }],
      warnings: [],
    });
    expect(document.run).toMatch(/^backup\/fault-host\/site\/\d{8}T\d{6}\.\d{3}Z$/);
    expect(document.bytes.source).toBe(11);
    expect(host.temporalPid()).toBeUndefined();
  });

  it('runs several jobs at once: an array in argument order, the worst exit code', async () => {
    const documents = await host.json<RunDocument[]>(['backup', 'gone', 'other', 'site'], [1]);
    expect(documents.map(({ job, status }) => [job, status])).toEqual([
      ['gone', 'failed'],
      ['other', 'succeeded'],
      ['site', 'succeeded'],
    ]);
  });

  it('restores, lists, finds and compares', async () => {
    const out = host.path('out');
    const restored = await host.json<RestoreDocument>(['restore', 'site', '--to', out]);
    expect(restored).toMatchObject({ job: 'site', status: 'succeeded', files: { restored: 2, skipped: 0, failed: 0 } });
    expect(readFileSync(join(out, host.source, 'deep', 'b.txt'), 'utf8')).toBe('second');

    const snapshots = await host.json<{ id: string; complete: boolean }[]>(['snapshots', 'site']);
    expect(snapshots.length).toBeGreaterThanOrEqual(2);
    const entries = await host.json<{ path: string }[]>(['ls', 'site', host.source]);
    expect(entries.map(({ path }) => path)).toEqual([join(host.source, 'a.txt'), join(host.source, 'deep')]);
    const found = await host.json<{ path: string }[]>(['find', 'site', 'b.*', '--snapshot', 'latest']);
    expect(found.map(({ path }) => path)).toEqual([join(host.source, 'deep', 'b.txt')]);
    expect(await host.json(['diff', 'site'])).toEqual([]);
  });

  it('keeps what differs at the target: exit code 3', async () => {
    const out = host.path('out');
    const file = join(out, host.source, 'a.txt');
    writeFileSync(file, 'mine');
    const kept = await host.json<RestoreDocument>(['restore', 'site', '--to', out], [3]);
    expect(kept.files.skipped).toBeGreaterThan(0);
    expect(readFileSync(file, 'utf8')).toBe('mine');
    await host.json<RestoreDocument>(['restore', 'site', '--to', out, '--overwrite', 'changed']);
    expect(readFileSync(file, 'utf8')).toBe('first');
  });

  it('says what is wrong with a restore', async () => {
    const at = ['--to', host.path('nowhere')];
    const unknown = await host.json<{ error: { code: string } }>(
      ['restore', 'site', '--snapshot', 'bogus', ...at],
      [1],
    );
    expect(unknown.error.code).toBe('SnapshotUnknown');
    const path = await host.json<{ error: { code: string } }>(['restore', 'site', '/no/such', ...at], [1]);
    expect(path.error.code).toBe('PathUnknown');
  });

  it('reads a lost catalog again from the destinations', async () => {
    rmSync(join(host.state, 'catalog'), { recursive: true });
    const rebuilt = await host.json<{ snapshots: number; packs: number }>(['catalog', 'rebuild', 'site']);
    expect(rebuilt.snapshots).toBeGreaterThanOrEqual(2);
    expect(rebuilt.packs).toBeGreaterThan(0);
    const next = await host.json<RunDocument>(['backup', 'site']);
    expect(next).toMatchObject({ mode: 'incremental', files: { new: 0 } });
  });

  it('leaves a detached run to the next `up`, and says so', async () => {
    const { code, stdout, stderr } = await host.run(['backup', 'other', '--detach', '--json']);
    expect(code).toBe(0);
    expect(stderr).toMatch(/waits for the next `holdfast up`/);
    const { run, job, status } = JSON.parse(stdout);
    expect({ job, status }).toEqual({ job: 'other', status: 'running' });
    const up = await host.up();
    expect((await host.finished(run)).status).toBe('succeeded');
    expect((await up.kill('SIGTERM')).code).toBe(0);
    expect(host.temporalPid()).toBeUndefined();
  });
});

describe('with `up`', () => {
  it('refuses a second `up`, serves backups, and tells of its schedules', async () => {
    const up = await host.up();
    expect(up.stdout + up.stderr).toMatch(/http:\/\/127\.0\.0\.1:\d+/);
    const second = await host.json<{ error: { code: string; message: string } }>(['up'], [1]);
    expect(second.error.code).toBe('AlreadyRunning');
    expect(second.error.message).toContain(String(up.pid));
    expect((await host.json<RunDocument>(['backup', 'site'])).status).toBe('succeeded');
    const schedules = await host.json<{ job: string; schedule: string }[]>(['schedule', 'list']);
    expect(schedules).toMatchObject([{ job: 'site', schedule: 'every 6h' }]);
    const applied = await host.json<{ changes: { action: string }[] }>(['schedule', 'apply']);
    expect(applied.changes.map(({ action }) => action)).toEqual(['keep']);
    expect((await up.kill('SIGINT')).code).toBe(0);
  });

  it('restores in its own worker where that is asked for, and goes on without the command', async () => {
    await host.up();
    const out = host.path('by-host');
    const asked = ['restore', 'site', '--to', out, '--host', '--json'];
    const lone = host.start(asked);
    await until(() => /started restore\//.test(lone.stderr), 'it started');
    await lone.kill('SIGKILL');
    await until(() => existsSync(join(out, host.source, 'deep', 'b.txt')), 'the worker went on without the command');
    const restored = await host.json<RestoreDocument>(asked.slice(0, -1));
    expect(restored).toMatchObject({ status: 'succeeded', files: { skipped: 0, failed: 0 }, target: out });
    const url = ['--database', 'x', '--target-url', 'postgres://u:p@h/d', '--host'];
    const refused = await host.json<{ error: { code: string } }>(['restore', 'site', ...url], [2]);
    expect(refused.error.code).toBe('UsageInvalid');
  });

  it('restores for a command that may do the same, and stops with it', async () => {
    const up = await host.up();
    const restoring = () => up.stderr.match(/restoring for a command/g)?.length ?? 0;
    const asked = (name: string) => ['restore', 'site', '--to', host.path(name), '--json'];
    const begun = () => readdirSync(join(host.state, 'run')).some((name) => /^restore-.*\.lock\.json$/.test(name));
    const interrupted = host.start(asked('by-up'));
    await until(begun, 'it began');
    const left = await interrupted.kill('SIGINT');
    expect(left).toMatchObject({ code: 130, stderr: expect.stringContaining('the same command goes on') });
    expect(begun()).toBe(false);
    const again = await host.run(asked('by-up'));
    expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining('left unfinished') });
    expect(JSON.parse(again.stdout)).toMatchObject({ status: 'succeeded', files: { skipped: 0, failed: 0 } });
    expect(readFileSync(join(host.path('by-up'), host.source, 'a.txt'), 'utf8')).toBe('first');
    expect(restoring()).toBe(2);

    const umask = process.umask(0o007);
    try {
      expect((await host.run(asked('by-itself'))).code).toBe(0);
    } finally {
      process.umask(umask);
    }
    expect(restoring()).toBe(2);

    const orphan = host.start(asked('alone'));
    await until(begun, 'it began');
    await up.kill('SIGKILL');
    const ended = await orphan.ended;
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(ended.stdout)).toMatchObject({ status: 'succeeded', files: { skipped: 0, failed: 0 } });
  });

  it('takes orders from its user alone, and none that it does not understand', async () => {
    const up = await host.up();
    const path = join(host.state, 'run', 'up.sock');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const tell = async (line: string): Promise<string> => {
      const socket = connect(path);
      socket.end(line);
      return (await text(socket)).trim();
    };
    const orders = ['{"jobs":["site"],"options":{}}\n', '{"restore":null,"rights":""}\n', '{"restore":{}}\n'];
    for (const line of ['', '\n', 'nonsense\n', ...orders, '[]\n', 'null\n']) {
      expect(JSON.parse(await tell(line))).toHaveProperty('refused');
    }
    // More than any order is.
    expect(await tell('x'.repeat(1 << 20)).catch(() => '')).toBe('');
    expect((await host.json<RunDocument>(['backup', 'site'])).status).toBe('succeeded');
    const unknown = await host.json<{ error: { code: string } }>(['backup', 'nothing'], [2]);
    expect(unknown.error.code).toBe('JobUnknown');
    // Who says nothing holds nothing up.
    const silent = connect(path);
    await once(silent, 'connect');
    await up.kill('SIGTERM');
    silent.destroy();
    expect(existsSync(path)).toBe(false);
  });

  it('leaves it to the command where the config is another one by now', async () => {
    const up = await host.up();
    await host.configure({ ...config(), jobs: { ...config().jobs, late: config().jobs.other } });
    try {
      expect((await host.json<RunDocument>(['backup', 'late'])).status).toBe('succeeded');
    } finally {
      await host.configure(config());
    }
    await up.kill('SIGTERM');
  });

  it('goes on in the command when `up` dies', async () => {
    const up = await host.up();
    writeFileSync(join(host.source, 'big'), Buffer.alloc(40_000_000, Math.random().toString()));
    const backup = host.start(['backup', 'site', '--full', '--json']);
    while (!existsSync(host.spool) || host.locks().length === 0) await sleep(5);
    await up.kill('SIGKILL');
    const { code, stdout, stderr } = await backup.ended;
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(JSON.parse(stdout)).toMatchObject({ status: 'succeeded', mode: 'full' });
  });
});

describe('Ctrl-C', () => {
  it('detaches, says how to go on, and the run goes on with the next command', async () => {
    writeFileSync(join(host.source, 'big'), Buffer.alloc(60_000_000, Math.random().toString()));
    const backup = host.start(['backup', 'site', '--full', '--json']);
    while (host.locks().length === 0) await sleep(5);
    const { code, stdout, stderr } = await backup.kill('SIGINT');
    expect(code).toBe(130);
    const { run } = JSON.parse(stdout);
    expect(stderr).toContain(`holdfast runs watch ${run}`);
    const watched = await host.run(['runs', 'watch', run, '--json']);
    expect(watched.code).toBe(0);
    const lines = watched.stdout.trim().split('\n');
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ run, status: 'succeeded' });
  });
});
