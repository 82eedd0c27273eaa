import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { jobOfRun } from '../../src/run-document.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { TestHost } from '../support/cli.js';

let host: TestHost;
beforeAll(async () => {
  host = await TestHost.make();
  for (let n = 0; n < 20; n++) writeFileSync(join(host.source, `${n}`), Buffer.alloc(30_000_000, `${n} `));
  await host.configure({
    destinations: { disk: { type: 'local', path: host.path('repository') } },
    jobs: {
      site: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['disk'], schedule: { every: '6h' } },
    },
  });
});
afterEach(() => host.killCommands());
afterAll(() => host?.remove());

const list = () => host.json<RunDocument[]>(['runs', 'list']);

describe("a run's id", () => {
  it.each([
    ['backup/web-1/site/20261122T030000.123Z', 'site'],
    ['backup/web-1/site-2026-11-22T03:00:00Z', 'site'],
    ['backup/web-1/my-site-2/20261122T030000.123Z', 'my-site-2'],
  ])('%s names the job %s', (run, job) => expect(jobOfRun(run)).toBe(job));
});

it('lists nothing before there is anything', async () => {
  expect(await list()).toEqual([]);
});

it('pauses between batches, survives a restart paused, goes on when told to', async () => {
  let up = await host.up();
  const run = await host.startRun('site', '--reread');
  expect(await host.json(['runs', 'pause', run])).toEqual({ run, status: 'paused' });
  await up.kill('SIGTERM');
  up = await host.up();
  expect((await list())[0]).toMatchObject({ run, status: 'paused' });
  await sleep(1500);
  expect(host.document(run)?.endedAt).toBeNull();
  expect(await host.json(['runs', 'resume', run])).toEqual({ run, status: 'running' });
  expect((await host.finished(run)).status).toBe('succeeded');
  expect((await list())[0]).toMatchObject({ run, status: 'succeeded' });
  expect((await host.run(['runs', 'show', run])).stdout).toMatch(/site: succeeded in/);
  await up.kill('SIGTERM');
});

it('cancels a run, which then holds no lock', async () => {
  const up = await host.up();
  const run = await host.startRun('site', '--full');
  while (host.locks().length === 0) await sleep(5);
  expect(await host.json(['runs', 'cancel', run])).toEqual({ run, status: 'cancelled' });
  expect(await host.finished(run)).toMatchObject({ status: 'cancelled' });
  expect(host.locks()).toEqual([]);
  const again = await host.json<{ error: { code: string; message: string } }>(['runs', 'cancel', run], [1]);
  expect(again.error).toMatchObject({ code: 'RunUnknown' });
  expect(again.error.message).toMatch(/not in progress/);
  await up.kill('SIGTERM');
});

it('answers from the history when nothing is up, and says so', async () => {
  const { code, stdout, stderr } = await host.run(['runs', 'list', '--json']);
  expect(code).toBe(0);
  expect(stderr).toMatch(/no Temporal server is up/);
  const runs: RunDocument[] = JSON.parse(stdout);
  expect(runs.map(({ status }) => status)).toEqual(['cancelled', 'succeeded']);
  expect((await host.run(['runs', 'show', runs[0]?.run ?? ''])).stdout).toMatch(/cancelled/);
});

it('takes a signal while no worker is up, and says that it waits', async () => {
  const run = await host.startRun('site');
  const { stdout, stderr } = await host.run(['runs', 'pause', run, '--json']);
  expect(JSON.parse(stdout)).toEqual({ run, status: 'paused' });
  expect(stderr).toMatch(/no worker is up/);
  const cancelled = await host.run(['runs', 'cancel', run, '--json']);
  expect(JSON.parse(cancelled.stdout)).toEqual({ run, status: 'running' });
  const up = await host.up();
  expect((await host.run(['runs', 'watch', run])).code).toBe(1);
  await up.kill('SIGTERM');
});

it('knows no run of another name, and says which is near', async () => {
  const { error } = await host.json<{ error: { code: string } }>(['runs', 'show', 'backup/fault-host/site/x'], [1]);
  expect(error.code).toBe('RunUnknown');
});
