import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { hostname, tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { DefaultLogger, Runtime, Worker, type WorkflowBundleWithSourceMap } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundle, editedBundle, historyFolder } from './harness.js';

const names = readdirSync(historyFolder)
  .filter((name) => name.endsWith('.json'))
  .map((name) => name.slice(0, -'.json'.length));
const textOf = (name: string): string => readFileSync(path.join(historyFolder, `${name}.json`), 'utf8');

let workflowBundle: WorkflowBundleWithSourceMap;
let traced: WorkflowBundleWithSourceMap;
let folder: string;
beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-replay-'));
  workflowBundle = await bundle();
  traced = await bundle(undefined, [new URL('../../src/workflows/trace-interceptors.ts', import.meta.url)]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Where the traced bundle leaves its spans. */
const sinks = { exporter: { export: { fn: () => undefined } } };

const replay = (code: WorkflowBundleWithSourceMap, name: string): Promise<void> =>
  Worker.runReplayHistory({ workflowBundle: code, sinks }, JSON.parse(textOf(name)));

/** The bundle of the workflows after an edit of backup.ts. */
const edited = (from: string, to: string): Promise<WorkflowBundleWithSourceMap> =>
  editedBundle(folder, 'backup.ts', [[from, to]]);

describe('saved histories', () => {
  test('cover what the workflows do', () => {
    expect(names).toEqual(
      expect.arrayContaining([
        'cancel',
        'check',
        'continue-as-new-first',
        'continue-as-new-second',
        'copy',
        'databases',
        'deliver',
        'drill',
        'export',
        'partial',
        'pause',
        'prune',
        'restart',
        'retry',
        'start-told',
        'success',
        'told-at-once',
        'watch',
      ]),
    );
  });

  test.each(names)('%s replays with the workflow code of today', async (name) => {
    await expect(replay(workflowBundle, name)).resolves.toBeUndefined();
  });

  test.each(names)('%s replays with traces, which it was recorded without', async (name) => {
    await expect(replay(traced, name)).resolves.toBeUndefined();
  });

  test.each(names)('%s tells nothing of the machine it was recorded on', (name) => {
    const text = textOf(name);
    const payloads = [...text.matchAll(/"data":"([A-Za-z0-9+/=]+)"/g)].map(([, data]) =>
      Buffer.from(data ?? '', 'base64').toString(),
    );
    for (const each of [text, ...payloads]) {
      expect(each).not.toMatch(/\/(home|root|tmp|work|Users)\//);
      for (const own of [hostname(), userInfo().username]) {
        expect(each.includes(`@${own}`) || (own.length > 4 && each.includes(own)), own).toBe(false);
      }
    }
  });
});

describe('a change that would break running backups is found', () => {
  test('a step moved, a step more', async () => {
    const moved = await edited(
      'await this.prune();',
      'await this.prune();\n    await this.activities.snapshot(this.ref);',
    );
    await expect(replay(moved, 'success')).rejects.toThrow(/nondeterminism|determin/i);
  });

  test('a step less', async () => {
    const less = await edited("if (manifest.packs > 0 || this.archive) await this.sealAndSend('manifest');", '');
    await expect(replay(less, 'success')).rejects.toThrow(/nondeterminism|determin/i);
    await expect(replay(less, 'pause')).rejects.toThrow(/nondeterminism|determin/i);
  });

  test('and the change that breaks nothing is not', async () => {
    const harmless = await edited("{ code: 'PruneFailed'", "{ code: 'PruneNotDone'");
    await expect(replay(harmless, 'success')).resolves.toBeUndefined();
  });
});
