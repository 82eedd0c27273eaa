import { chmodSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Check } from '../../src/control/doctor.js';
import { TestHost } from '../support/cli.js';

let host: TestHost;
const jobs = () => ({ site: { sources: [{ type: 'files' as const, paths: [host.source] }], destinations: ['disk'] } });
beforeAll(async () => {
  host = await TestHost.make();
  await host.configure({ destinations: { disk: { type: 'local', path: host.path('repository') } }, jobs: jobs() });
});
afterAll(() => host?.remove());

async function doctor(codes: number[]): Promise<Map<string, Check>> {
  const { checks } = await host.json<{ checks: Check[] }>(['doctor'], codes);
  for (const check of checks) if (check.status === 'fail') expect(check.hint, check.name).toBeTruthy();
  return new Map(checks.map((check) => [check.name, check]));
}

it('finds a good host good, and leaves nothing behind', async () => {
  mkdirSync(host.path('repository'));
  const checks = await doctor([0]);
  for (const name of ['config', 'temporal', 'encryption', 'destination disk', 'source site/source', 'state space']) {
    expect(checks.get(name), name).toMatchObject({ status: 'ok' });
  }
  expect(readdirSync(host.path('repository'))).toEqual([]);
});

it('says that the first backup makes a folder that is not there yet', async () => {
  rmSync(host.path('repository'), { recursive: true });
  expect((await doctor([0])).get('destination disk')).toMatchObject({ status: 'warn' });
});

it('names each failure with a hint: exit code 1', async () => {
  await host.configure({
    encryption: { passphrase: `\${env:HOLDFAST_NOT_SET}` },
    destinations: {
      disk: { type: 'local', path: host.path('not', 'mounted') },
      bucket: {
        type: 's3',
        bucket: 'b',
        endpoint: 'http://127.0.0.1:1',
        accessKeyId: 'x',
        secretAccessKey: 'sesame-open',
      },
    },
    jobs: {
      site: {
        sources: [{ type: 'files', name: 'gone', paths: [host.path('gone')] }],
        destinations: ['disk', 'bucket'],
      },
    },
  });
  mkdirSync(host.state, { recursive: true });
  chmodSync(host.state, 0o755);
  const checks = await doctor([1]);
  for (const name of ['encryption', 'destination disk', 'destination bucket', 'source site/gone', 'state folder']) {
    expect(checks.get(name), name).toMatchObject({ status: 'fail' });
  }
  expect(JSON.stringify([...checks.values()])).not.toContain('sesame-open');
});

it('tests one destination alone', async () => {
  await host.configure({ destinations: { disk: { type: 'local', path: host.path('repository') } }, jobs: jobs() });
  mkdirSync(host.path('repository'));
  const { checks } = await host.json<{ checks: Check[] }>(['destinations', 'test', 'disk']);
  expect(checks[0]).toMatchObject({ name: 'destination disk', status: 'ok' });
  expect(readdirSync(host.path('repository'))).toEqual([]);
  const { error } = await host.json<{ error: { hint: string } }>(['destinations', 'test', 'dsk'], [2]);
  expect(error.hint).toContain('disk');

  const keeping = { type: 'local', path: host.path('repository'), deletes: false } as const;
  await host.configure({ destinations: { disk: keeping }, jobs: jobs() });
  for (const round of [1, 2]) {
    const kept = await host.json<{ checks: Check[] }>(['destinations', 'test', 'disk']);
    expect(kept.checks[0], String(round)).toMatchObject({
      status: 'ok',
      message: expect.stringContaining('`deletes: false`'),
    });
    expect(readdirSync(host.path('repository')), String(round)).toEqual([expect.stringMatching(/^\.holdfast-probe-/)]);
  }
});
