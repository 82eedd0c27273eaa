import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestHost } from '../support/cli.js';
import { freePort } from '../support/free-port.js';

/** The real program serves its metrics, also after it was started anew. */
let host: TestHost;
let port: number;
const token = 'a long token for scrapers';

beforeAll(async () => {
  [host, port] = await Promise.all([TestHost.make(), freePort()]);
  writeFileSync(join(host.source, 'a'), 'content');
  writeFileSync(host.path('token'), `${token}\n`, { mode: 0o600 });
  await host.configure({
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    metrics: { listen: `127.0.0.1:${port}`, token: `\${file:${host.path('token')}}` },
    jobs: { site: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['nas'] } },
  });
});
afterAll(() => host?.remove());

const scrape = (authorization?: string) =>
  fetch(`http://127.0.0.1:${port}/metrics`, authorization === undefined ? {} : { headers: { authorization } });

test('a backup is in the metrics, with the SDK’s own, and still after a restart', async () => {
  let up = await host.up();
  const before = Date.now() / 1000;
  await host.json(['backup', 'site']);
  expect((await scrape()).status).toBe(401);
  expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  const first = await (await scrape(`Bearer ${token}`)).text();
  const success = (text: string) =>
    Number(/^holdfast_last_success_timestamp_seconds\{job="site"\} (\S+)$/m.exec(text)?.[1]);
  expect(success(first)).toBeGreaterThan(before);
  expect(first).toContain('holdfast_last_run_status{job="site",status="succeeded"} 1\n');
  expect(first).toContain('holdfast_runs_total{job="site",status="succeeded"} 1\n');
  expect(first).toMatch(/^holdfast_last_files\{job="site"\} [1-9]/m);
  expect(first).toMatch(/^holdfast_destination_free_bytes\{job="site",destination="nas"\} [1-9]/m);
  expect(first).toMatch(/^holdfast_queue_lag_seconds\{queue="holdfast.fault-host"\} /m);
  expect(first).toMatch(
    /^temporal_activity_schedule_to_start_latency_seconds_bucket\{.*task_queue="holdfast.fault-host"/m,
  );
  expect(first).not.toContain(token);
  await up.kill('SIGTERM');

  up = await host.up();
  expect(success(await (await scrape(`Bearer ${token}`)).text())).toBe(success(first));
  expect(up.stderr + host.logTail(1e6)).not.toContain(token);
  expect((await up.kill('SIGTERM')).code).toBe(0);
});
