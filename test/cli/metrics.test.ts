import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { readRecord, serverPaths } from '../../src/worker/temporal/state.js';
import { type Running, TestHost } from '../support/cli.js';
import { freePort } from '../support/free-port.js';
import { Receiver } from '../support/receiver.js';
import { spansOf, type TestSpan } from '../support/spans.js';

/** The real program serves its metrics and sends its traces, also after it was started anew. */
let host: TestHost;
let port: number;
let collector: Receiver;
let up: Running;
const token = 'a long token for scrapers';
const header = 'Bearer PLANTED-collector-token';

beforeAll(async () => {
  [host, port, collector] = await Promise.all([TestHost.make(), freePort(), Receiver.start()]);
  collector.usual = { status: 200, body: '{}' };
  writeFileSync(join(host.source, 'a'), 'content');
  writeFileSync(host.path('token'), `${token}\n`, { mode: 0o600 });
  writeFileSync(host.path('collector'), header, { mode: 0o600 });
  await host.configure({
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    metrics: { listen: `127.0.0.1:${port}`, token: `\${file:${host.path('token')}}` },
    traces: {
      endpoint: `${collector.url}/v1/traces`,
      headers: { authorization: `\${file:${host.path('collector')}}` },
    },
    jobs: {
      site: {
        sources: [{ type: 'files', paths: [host.source] }],
        destinations: ['nas'],
        schedule: { cron: '0 0 1 1 *' },
      },
    },
  });
  up = await host.up();
});
afterAll(async () => {
  await host?.remove();
  await collector?.stop();
});

const scrape = (authorization?: string) =>
  fetch(`http://127.0.0.1:${port}/metrics`, authorization === undefined ? {} : { headers: { authorization } });

const success = (text: string) =>
  Number(/^holdfast_last_success_timestamp_seconds\{job="site"\} (\S+)$/m.exec(text)?.[1]);
let scraped: string;
let run: string;

test('a backup is in the metrics, with the SDK’s own', async () => {
  const before = Date.now() / 1000;
  run = (await host.json<{ run: string }>(['backup', 'site'])).run;
  expect((await scrape()).status).toBe(401);
  expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  scraped = await (await scrape(`Bearer ${token}`)).text();
  expect(success(scraped)).toBeGreaterThan(before);
  expect(scraped).toContain('holdfast_last_run_status{job="site",status="succeeded"} 1\n');
  expect(scraped).toContain('holdfast_runs_total{job="site",status="succeeded"} 1\n');
  expect(scraped).toMatch(/^holdfast_last_files\{job="site"\} [1-9]/m);
  expect(scraped).toMatch(/^holdfast_destination_free_bytes\{job="site",destination="nas"\} [1-9]/m);
  expect(scraped).toMatch(/^holdfast_queue_lag_seconds\{queue="holdfast.fault-host"\} /m);
  expect(scraped).toMatch(
    /^temporal_activity_schedule_to_start_latency_seconds_bucket\{.*task_queue="holdfast.fault-host"/m,
  );
  expect(scraped).not.toContain(token);
});

/** Every expression of the dashboard and the alert rules, and what its texts say of labels. */
function expressions(): { where: string; expr: string; labels: string[] }[] {
  const docs = (name: string): string => readFileSync(join(import.meta.dirname, '../../docs', name), 'utf8');
  const { panels } = JSON.parse(docs('grafana-dashboard.json')) as {
    panels: { title: string; targets?: { expr: string; legendFormat?: string }[] }[];
  };
  const { groups } = parse(docs('alerts.yml')) as {
    groups: { rules: { alert: string; expr: string; annotations: { summary: string } }[] }[];
  };
  return [
    ...panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr, legendFormat = '' }) => ({
        where: title,
        expr,
        labels: [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, name = '']) => name),
      })),
    ),
    ...groups
      .flatMap(({ rules }) => rules)
      .map(({ alert, expr, annotations }) => ({
        where: alert,
        expr,
        labels: [...annotations.summary.matchAll(/\$labels\.(\w+)/g)].map(([, name = '']) => name),
      })),
  ];
}

test('the dashboard and the alerts ask for series and labels that are served', () => {
  const served = new Map<string, Set<string>>([['up', new Set(['job', 'instance'])]]);
  for (const [, name = '', labels = ''] of scraped.matchAll(/^([a-z_]+)(?:\{(.*)\})? \S+$/gm)) {
    const names = [...labels.matchAll(/(\w+)="/g)].map(([, label = '']) => label);
    // Prometheus adds the instance.
    served.set(name, new Set([...(served.get(name) ?? []), ...names, 'instance']));
  }
  const all = expressions();
  expect(all.length).toBeGreaterThan(25);
  for (const { where, expr, labels } of all) {
    const series = [...expr.matchAll(/\b(up|(?:holdfast|temporal)_[a-z_]+)\b(?:\{([^}]*)\})?/g)];
    expect(series.length, where).toBeGreaterThan(0);
    for (const [, name = '', matchers = ''] of series) {
      expect([...served.keys()], where).toContain(name);
      const asked = [...matchers.matchAll(/(\w+)=/g)].map(([, label = '']) => label);
      const grouped = [...expr.matchAll(/\b(?:by|on) \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/));
      const unknown = [...asked, ...grouped, ...labels].filter((label) => !served.get(name)?.has(label));
      expect(unknown, `${where}: ${name}`).toEqual([]);
    }
  }
});

/** The trace with the workflow of `workflowId`, once its workflow has ended and is told of. */
async function traceOf(workflowId: string): Promise<TestSpan[]> {
  for (const deadline = Date.now() + 60_000; ; await sleep(50)) {
    const spans = spansOf(collector.received);
    const own = spans.find(
      ({ name, attributes }) => name === 'RunWorkflow:backup' && attributes['holdfast.run'] === workflowId,
    );
    if (own !== undefined) return spans.filter(({ traceId }) => traceId === own.traceId);
    if (Date.now() > deadline) throw new Error(`no trace of ${workflowId}:\n${up.stderr}`);
  }
}

test('and it is one trace, from the command to the last activity, which another bundle can replay', async () => {
  const spans = await traceOf(run);
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const above = (span: TestSpan): string[] => {
    const parent = byId.get(span.parentSpanId ?? '');
    return parent === undefined ? [] : [parent.name, ...above(parent)];
  };
  const upload = spans.find(({ name }) => name === 'RunActivity:upload');
  if (upload === undefined) throw new Error('no upload');
  expect(above(upload)).toEqual([
    'StartActivity:upload',
    'RunWorkflow:backup',
    'StartWorkflow:backup',
    'holdfast backup',
  ]);
  expect(upload.attributes).toMatchObject({
    'holdfast.host': 'fault-host',
    'holdfast.job': 'site',
    'holdfast.run': run,
    'holdfast.destination': 'nas',
    'holdfast.attempt': 1,
  });
  expect(spans.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['begin', 'snapshot', 'compress', 'encrypt', 'commit'].map((step) => `RunActivity:${step}`)),
  );
  expect(spans.filter(({ name }) => name.includes('Query') || name.includes('watch'))).toEqual([]);
  expect(collector.last().headers.authorization).toBe(header);
  const bodies = collector.received.map(({ body }) => body).join('\n');
  for (const secret of [token, header, 'correct horse battery staple', 'PLANTED']) expect(bodies).not.toContain(secret);

  const record = await readRecord(serverPaths(host.state).record);
  const connection = await Connection.connect({ address: record?.address ?? '' });
  const history = await new Client({ connection }).workflow.getHandle(run).fetchHistory();
  await connection.close();
  const codePath = join(import.meta.dirname, '../../dist/workflow-bundle.js');
  await expect(Worker.runReplayHistory({ workflowBundle: { codePath } }, history)).resolves.toBeUndefined();
});

test('a scheduled run begins a trace of its own', async () => {
  const triggered = await host.json<{ run: string }>(['schedule', 'trigger', 'site']);
  const spans = await traceOf(triggered.run);
  expect(spans.find(({ name }) => name === 'RunWorkflow:backup')?.parentSpanId ?? '').toBe('');
  expect(spans.map(({ name }) => name)).toContain('RunActivity:commit');
});

test('after a restart the metrics are the same, and backups go on while the collector hangs', async () => {
  await up.kill('SIGTERM');
  collector.usual = 'hang';
  up = await host.up();
  expect(success(await (await scrape(`Bearer ${token}`)).text())).toBeGreaterThanOrEqual(success(scraped));
  const backup = await host.run(['backup', 'site']);
  expect(backup.code).toBe(0);
  expect(backup.stderr.match(/traces cannot be sent/g)).toHaveLength(1);
  expect((await up.kill('SIGTERM')).code).toBe(0);
  expect(up.stderr.match(/traces cannot be sent/g)).toHaveLength(1);
  for (const secret of [token, header]) expect(up.stderr + host.logTail(1e6)).not.toContain(secret);
});
