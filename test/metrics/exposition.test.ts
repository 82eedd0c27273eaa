import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parse } from 'yaml';
import { History } from '../../src/activities/history.js';
import { parseConfig } from '../../src/config/load.js';
import { metricsOf } from '../../src/metrics/exposition.js';
import type { RunDocument } from '../../src/run-document.js';
import { root } from '../docs/pages.js';
import { night } from '../foresight/runs.js';

let folder: string;
let history: History;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'metrics-'));
  history = new History(folder);
});
afterEach(() => {
  history.close();
  rmSync(folder, { recursive: true, force: true });
});

const config = () =>
  parseConfig(
    JSON.stringify({
      host: 'web-1',
      state: folder,
      spool: { max: '2GB' },
      destinations: {
        nas: { type: 'local', path: '/mnt/nas' },
        usb: { type: 'local', path: '/mnt/usb' },
      },
      jobs: {
        site: {
          sources: [{ type: 'files', paths: ['/srv'] }],
          destinations: ['nas', 'usb'],
          expect: { within: '26h' },
        },
        fresh: { sources: [{ type: 'files', paths: ['/etc'] }], destinations: ['nas'] },
      },
    }),
    'test',
  ).config;

type Status = RunDocument['destinations'][number]['status'];
function ran(at: number, status: RunDocument['status'], usb: Status, job = 'site'): void {
  const begun = Date.UTC(2026, 0, 1) + at * 86_400_000;
  const over = status !== 'running';
  history.put('web-1', {
    run: `backup/web-1/${job}/${at}`,
    job,
    snapshot: null,
    status,
    mode: 'incremental',
    files: { total: 1000, new: 5, changed: 15, unreadable: 0 },
    bytes: { source: 1, read: 1, new: 1, stored: 1 },
    destinations: [
      { name: 'nas', status: status === 'failed' ? 'failed' : 'stored', packs: 1, bytes: 1, error: null },
      { name: 'usb', status: usb, packs: 1, bytes: 1, error: null },
    ],
    warnings: [],
    startedAt: new Date(begun).toISOString(),
    endedAt: over ? new Date(begun + 30_000).toISOString() : null,
    durationMs: over ? 30_000 : null,
  });
}

/** The samples, by name with labels. */
async function samples(): Promise<Map<string, number>> {
  const around = { spoolBytes: 1234, queues: [{ queue: 'holdfast.web-1', tasks: 3, ageSeconds: 12.5 }] };
  const text = await metricsOf(config(), history, around).metrics();
  return new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}
const second = (at: number): number => (Date.UTC(2026, 0, 1) + at * 86_400_000) / 1000;

test('says of each job and destination what the history knows', async () => {
  ran(0, 'succeeded', 'healed');
  ran(1, 'partial', 'missed');
  ran(2, 'failed', 'failed');
  ran(3, 'running', 'pending');
  history.owe('site', 'usb', 'backup/web-1/site/1');
  history.hold('site', 'backup/web-1/site/1', 'half the files are gone');
  history.putFigures(
    night(0, {
      destinations: [
        { name: 'nas', state: 'stored', misses: 0, free: 500, total: 1000 },
        { name: 'usb', state: 'stored', misses: 0 },
      ],
    }),
  );
  history.putFigures(
    night(1, {
      status: 'partial',
      unreadable: 7,
      destinations: [
        { name: 'nas', state: 'stored', misses: 2 },
        { name: 'usb', state: 'missed', misses: 4 },
      ],
    }),
  );
  history.putFigures(night(2, { status: 'failed', files: 0, sourceBytes: 0, destinations: [] }));

  const all = Object.fromEntries(await samples());
  expect(all).toMatchObject({
    'holdfast_last_success_timestamp_seconds{job="site"}': second(0) + 30,
    'holdfast_expected_within_seconds{job="site"}': 26 * 3600,
    'holdfast_last_run_timestamp_seconds{job="site"}': second(2),
    'holdfast_last_run_status{job="site",status="failed"}': 1,
    'holdfast_last_run_status{job="site",status="succeeded"}': 0,
    'holdfast_last_duration_seconds{job="site"}': 30,
    'holdfast_running{job="site"}': 1,
    'holdfast_retention_held{job="site"}': 1,
    // Of the newest run that stored something: a failed one says nothing of the sources.
    'holdfast_last_source_bytes{job="site"}': 100_000_000,
    'holdfast_last_files{job="site"}': 1000,
    'holdfast_last_unreadable_files{job="site"}': 7,
    'holdfast_last_read_bytes{job="site"}': night(1).readBytes,
    'holdfast_last_new_bytes{job="site"}': night(1).newBytes,
    'holdfast_last_stored_bytes{job="site"}': night(1).storedBytes,
    'holdfast_destination_last_stored_timestamp_seconds{job="site",destination="nas"}': second(1) + 30,
    'holdfast_destination_last_stored_timestamp_seconds{job="site",destination="usb"}': second(0) + 30,
    'holdfast_destination_last_stored_bytes{job="site",destination="usb"}': 1,
    'holdfast_destination_last_failed{job="site",destination="usb"}': 1,
    'holdfast_destination_last_failed{job="site",destination="nas"}': 1,
    'holdfast_destination_missed_runs{job="site",destination="usb"}': 1,
    'holdfast_destination_missed_runs{job="site",destination="nas"}': 0,
    'holdfast_destination_last_retries{job="site",destination="usb"}': 4,
    'holdfast_destination_free_bytes{job="site",destination="nas"}': 500,
    'holdfast_destination_total_bytes{job="site",destination="nas"}': 1000,
    'holdfast_runs_total{job="site",status="failed"}': 1,
    'holdfast_runs_total{job="site",status="succeeded"}': 1,
    'holdfast_runs_total{job="site",status="cancelled"}': 0,
    holdfast_spool_used_bytes: 1234,
    holdfast_spool_max_bytes: 2e9,
    'holdfast_queue_tasks{queue="holdfast.web-1"}': 3,
    'holdfast_queue_lag_seconds{queue="holdfast.web-1"}': 12.5,
  });
  // Not known is not nought.
  expect(all).not.toHaveProperty(['holdfast_destination_free_bytes{job="site",destination="usb"}']);
});

test('a job that never ran counts as never succeeded; one that is not configured any more is not told of', async () => {
  ran(0, 'succeeded', 'stored', 'former');
  const all = await samples();
  expect(all.get('holdfast_last_success_timestamp_seconds{job="fresh"}')).toBe(0);
  expect(all.get('holdfast_runs_total{job="fresh",status="failed"}')).toBe(0);
  expect(all.get('holdfast_destination_last_failed{job="fresh",destination="nas"}')).toBe(0);
  expect(all.has('holdfast_expected_within_seconds{job="fresh"}')).toBe(false);
  expect([...all.keys()].filter((name) => name.includes('former'))).toEqual([]);
});

test('the same history gives the same after it was opened anew', async () => {
  ran(0, 'succeeded', 'stored');
  const before = await samples();
  history.close();
  history = new History(folder);
  expect(await samples()).toEqual(before);
});

const read = (name: string): string => readFileSync(join(root, 'docs', name), 'utf8');

test.each(['grafana-dashboard.json', 'alerts.yml', 'metrics.md'])('%s names metrics that there are', async (name) => {
  const known = new Set(
    (await metricsOf(config(), history, { spoolBytes: 0, queues: [] }).getMetricsAsJSON()).map((metric) => metric.name),
  );
  const named = new Set(read(name).match(/\bholdfast_[a-z_]+\b/g));
  expect(named.size).toBeGreaterThan(5);
  expect([...named].filter((metric) => !known.has(metric))).toEqual([]);
  if (name === 'metrics.md') expect([...known].filter((metric) => !named.has(metric))).toEqual([]);
});

test('the dashboard and the alerts have the shape that Grafana and Prometheus read', () => {
  const dashboard = JSON.parse(read('grafana-dashboard.json')) as {
    schemaVersion: number;
    panels: { id: number; title: string; gridPos: { w: number; h: number }; targets?: { expr: string }[] }[];
  };
  expect(dashboard.schemaVersion).toBeGreaterThan(30);
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  for (const { title, targets } of dashboard.panels) expect(targets?.[0]?.expr, title).toMatch(/\S/);

  const { groups } = parse(read('alerts.yml')) as {
    groups: {
      name: string;
      rules: { alert: string; expr: string; labels: { severity: string }; annotations: { summary: string } }[];
    }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  expect(rules.length).toBeGreaterThan(6);
  expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  for (const { alert, expr, labels, annotations } of rules) {
    expect(expr, alert).toMatch(/\S/);
    expect(labels.severity, alert).toMatch(/^(warning|critical)$/);
    expect(annotations.summary, alert).toMatch(/\S/);
  }
});
