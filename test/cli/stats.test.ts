import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Stats } from '../../src/control/stats.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { TestHost } from '../support/cli.js';

let host: TestHost;
beforeAll(async () => {
  host = await TestHost.make();
  for (let at = 0; at < 40; at++) writeFileSync(join(host.source, `page-${at}.html`), `page ${at}\n`.repeat(50));
  await host.configure({
    destinations: { disk: { type: 'local', path: host.path('repository') } },
    jobs: {
      site: {
        sources: [{ type: 'files', paths: [host.source] }],
        destinations: ['disk'],
        retention: { keepLast: 1 },
        onAnomaly: 'hold',
      },
    },
  });
});
afterAll(() => host?.remove());

const snapshots = async (): Promise<number> => (await host.json<unknown[]>(['snapshots', 'site'])).length;

it('holds retention when half the files are gone, keeps the good snapshot, and goes on once that is accepted', async () => {
  await host.json(['backup', 'site']);
  for (let at = 0; at < 30; at++) rmSync(join(host.source, `page-${at}.html`));
  const document = await host.json<RunDocument>(['backup', 'site']);
  expect(document.warnings.map(({ code }) => code)).toEqual(['Anomaly', 'RetentionHeld']);
  expect(document.warnings[0]?.message).toMatch(/^source source has 10 files, expected 20 to 80$/);
  expect(await snapshots()).toBe(2);
  expect(await host.json(['anomalies', 'list'])).toMatchObject([{ job: 'site', run: document.run }]);

  // Still held, though nothing new is unusual.
  const again = await host.json<RunDocument>(['backup', 'site']);
  expect(again.warnings.map(({ code }) => code)).toEqual(['RetentionHeld']);
  expect(await snapshots()).toBe(3);

  expect(await host.json(['anomalies', 'accept', 'site'])).toEqual({ job: 'site', held: true });
  const after = await host.json<RunDocument>(['backup', 'site']);
  expect(after.warnings).toEqual([]);
  expect(await snapshots()).toBe(1);
});

it('draws the runs, foretells, and writes SVG and PNG', async () => {
  const stats = await host.json<Stats>(['stats', 'site']);
  expect(stats.runs.map(({ status, files }) => [status, files])).toEqual([
    ['succeeded', 40],
    ['succeeded', 10],
    ['succeeded', 10],
    ['succeeded', 10],
  ]);
  expect(stats.runs[0]?.destinations[0]).toMatchObject({ name: 'disk', state: 'stored' });
  expect(stats.runs[0]?.destinations[0]?.free).toBeGreaterThan(0);
  expect(stats.risk).toMatchObject({ basis: 'base', runs: 4 });
  expect(stats.hold).toBeNull();

  const text = await host.run(['stats', 'site', '--plot', host.path('chart.png')]);
  expect(text.stdout).toContain('duration');
  expect(text.stdout).toContain('Risk that the next run goes wrong: 17 %');
  expect(readFileSync(host.path('chart.png')).subarray(1, 4).toString()).toBe('PNG');
  await host.json(['stats', 'site', '--plot', host.path('chart.svg')]);
  expect(readFileSync(host.path('chart.svg'), 'utf8')).toContain('Backups of site');

  const refused = await host.run(['stats', 'site', '--plot', host.path('chart.jpg')]);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('.svg or .png');
  expect(existsSync(host.path('chart.jpg'))).toBe(false);
});
