import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SnapshotDocument } from '../../src/control/snapshots.js';
import type { CheckDocument, PruneDocument } from '../../src/workflows/care-types.js';
import { TestHost } from '../support/cli.js';

let host: TestHost;
beforeAll(async () => {
  host = await TestHost.make();
});
afterAll(() => host?.remove());

test('pin, prune and check from the command line', async () => {
  await host.configure({
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    jobs: { site: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['nas'] } },
  });
  // One server and one worker for all the commands.
  await host.up();
  for (const text of ['one', 'two', 'three']) {
    writeFileSync(join(host.source, 'a'), text + randomBytes(2000).toString('hex'));
    await host.json(['backup', 'site']);
  }
  const snapshots = await host.json<SnapshotDocument[]>(['snapshots', 'site']);
  const [newest, middle, oldest] = snapshots.map(({ id }) => id);
  expect(snapshots.every(({ added }) => added !== null && added > 0)).toBe(true);
  expect(await host.json(['snapshots', 'pin', 'site', oldest ?? ''])).toMatchObject({ pinned: true, failed: [] });
  await host.configure({
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    jobs: {
      site: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['nas'], retention: { keepLast: 1 } },
    },
  });
  const dry = await host.json<PruneDocument>(['prune', 'site', '--dry-run']);
  expect(dry.destinations[0]?.snapshots.map(({ id, keep }) => [id, keep])).toEqual([
    [newest, true],
    [middle, false],
    [oldest, true],
  ]);
  expect(dry.destinations[0]?.snapshots[2]?.reasons).toEqual(['pinned']);
  expect(await host.json<PruneDocument[]>(['prune'])).toMatchObject([{ destinations: [{ removed: 1 }] }]);
  expect(await host.json<SnapshotDocument[]>(['snapshots'])).toMatchObject([{ pinned: false }, { pinned: true }]);

  expect(await host.json<CheckDocument>(['check', 'site', '--read-data'])).toMatchObject({ status: 'clean' });
  const packs = host.path('nas', 'fault-host', 'site', 'packs');
  // All of them: some are marked already, and what becomes of those is nobody's loss.
  for (const each of readdirSync(packs, { recursive: true, withFileTypes: true }).filter((one) => one.isFile())) {
    const file = join(each.parentPath, each.name);
    const bytes = readFileSync(file);
    rmSync(file);
    writeFileSync(file, bytes.subarray(1));
  }
  const ended = await host.run(['check', 'site', '--json']);
  expect(ended.code).toBe(1);
  const found = JSON.parse(ended.stdout) as CheckDocument;
  expect(found.status).toBe('damaged');
  expect(found.findings.map(({ kind }) => kind)).toContain('size');
  expect((await host.run(['check', 'site', '--read-data=0'])).code).toBe(2);
});
