import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LocalDestination } from '../../src/destinations/local.js';
import { Catalog } from '../../src/repository/catalog.js';
import type { DeletionRecord } from '../../src/repository/deletions.js';
import { indexPackLine } from '../../src/repository/index-file.js';
import { deletionName, indexName, snapshotName } from '../../src/repository/layout.js';
import { type Root, rootBytes } from '../../src/repository/root.js';
import type { RepositoryKey } from '../../src/repository/seal.js';
import { Store, sealMeta } from '../../src/repository/store.js';
import { forgetGone, syncFrom } from '../../src/repository/sync.js';
import { makeRoot } from './arbitraries.js';

const key: RepositoryKey = { repository: makeRoot().repository, key: new Uint8Array(32).fill(7) };
let folder: string;
let catalog: Catalog;
let store: Store;
beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-sync-'));
  catalog = new Catalog(path.join(folder, 'catalog.db'));
  store = await storeAt('nas');
});
afterEach(() => {
  catalog.close();
  rmSync(folder, { recursive: true, force: true });
});

async function storeAt(name: string): Promise<Store> {
  const destination = new LocalDestination(name, { type: 'local', path: path.join(folder, name) });
  await destination.ensureRoot();
  return new Store(destination, 'web-1', 'site');
}
const file = (name: string): string => path.join(folder, 'nas', 'web-1', 'site', name);
async function put(kind: 'index' | 'snapshot' | 'deletion', name: string, plain: Buffer, at = store): Promise<void> {
  await at.destination.put(at.key(name), { bytes: await sealMeta(key, kind, name, plain) });
}
const idOf = (seq: number): string => seq.toString(16).padStart(16, '0');
const nameOf = (seq: number): string => snapshotName(new Date(Date.UTC(2026, 0, seq)), idOf(seq));
async function putRoot(seq: number, change: Partial<Root> = {}, at = store): Promise<string> {
  await put('snapshot', nameOf(seq), rootBytes(makeRoot({ id: idOf(seq), seq, indexes: [idOf(seq)], ...change })), at);
  return nameOf(seq);
}
async function putIndex(seq: number, letter: string): Promise<string> {
  const chunk: [string, number, number] = [letter.repeat(64), 512, 5];
  const line = indexPackLine({
    pack: letter.repeat(64),
    kind: 'data',
    generation: 'g',
    size: 9,
    plain: 4096,
    chunks: [chunk],
  });
  await put('index', indexName(idOf(seq)), Buffer.from(`${line}\n`));
  return indexName(idOf(seq));
}

describe('syncFrom', () => {
  test('takes roots and indexes, and knows what is there', async () => {
    await putIndex(1, 'a');
    await putRoot(1);
    await putRoot(2, { indexes: [idOf(1)] });
    const result = await syncFrom(store, key, catalog);
    expect(result.damaged).toEqual([]);
    expect(catalog.snapshots().map((row) => row.seq)).toEqual([2, 1]);
    expect(catalog.locate('a'.repeat(64))).toHaveLength(1);
    expect(catalog.holders(nameOf(2))).toEqual(['nas']);
    expect(result.objects).toEqual(catalog.presence('nas'));
  });

  test('a second look reads only what is new', async () => {
    await putIndex(1, 'a');
    await putRoot(1);
    await syncFrom(store, key, catalog);
    // Unreadable by now, and not read again.
    writeFileSync(file(nameOf(1)), 'x');
    await putRoot(2);
    expect((await syncFrom(store, key, catalog)).damaged).toEqual([]);
    expect(catalog.snapshots().map((row) => row.seq)).toEqual([2, 1]);
  });

  test('damaged ones are named, the others taken', async () => {
    await putIndex(1, 'a');
    await putIndex(2, 'b');
    for (const seq of [1, 2, 3, 4]) await putRoot(seq);
    truncateSync(file(nameOf(2)), 100);
    writeFileSync(file(nameOf(3)), readFileSync(file(nameOf(4))));
    const index = readFileSync(file(indexName(idOf(2))));
    index[index.length - 3] = (index[index.length - 3] ?? 0) ^ 1;
    writeFileSync(file(indexName(idOf(2))), index);

    const { damaged } = await syncFrom(store, key, catalog);
    expect(damaged.map(({ name }) => name).sort()).toEqual([indexName(idOf(2)), nameOf(2), nameOf(3)].sort());
    for (const { name, message } of damaged) expect(message).toContain(name);
    expect(catalog.snapshots().map((row) => row.seq)).toEqual([4, 1]);
    expect(catalog.locate('a'.repeat(64))).toHaveLength(1);
    expect(catalog.locate('b'.repeat(64))).toEqual([]);
  });

  test("another repository's or snapshot's root is not taken, however well it is sealed", async () => {
    await putRoot(1, { repository: '7c9e6679-7425-40de-944b-e07fc1f90ae7' });
    await putRoot(2, { id: idOf(9) });
    expect((await syncFrom(store, key, catalog)).damaged).toHaveLength(2);
    expect(catalog.snapshots()).toEqual([]);
  });

  test('another key reads nothing and damages nothing', async () => {
    await putRoot(1);
    const wrong = { ...key, key: new Uint8Array(32).fill(8) };
    expect((await syncFrom(store, wrong, catalog)).damaged).toHaveLength(1);
    expect((await syncFrom(store, key, catalog)).damaged).toEqual([]);
    expect(catalog.snapshots()).toHaveLength(1);
  });

  test('strange names are listed and left alone', async () => {
    for (const name of ['snapshots/notes.txt', 'index/x.ndjson', 'lost+found', 'packs/ab/x']) {
      await store.destination.put(store.key(name), { bytes: Buffer.from('x') });
    }
    const result = await syncFrom(store, key, catalog);
    expect(result.damaged).toEqual([]);
    expect(result.objects.size).toBe(4);
  });

  test('deletion records come oldest first', async () => {
    const record = (seq: number, day: number): DeletionRecord => ({
      format: 1,
      id: idOf(seq),
      time: new Date(Date.UTC(2026, 0, day)).toISOString(),
      snapshots: [],
      packs: [],
      indexes: [],
    });
    for (const [seq, day] of [
      [1, 5],
      [2, 3],
      [3, 9],
    ] as const) {
      await put('deletion', deletionName(idOf(seq)), Buffer.from(JSON.stringify(record(seq, day))));
    }
    expect((await syncFrom(store, key, catalog)).deletions.map(({ id }) => id)).toEqual([2, 1, 3].map(idOf));
  });

  test('a stop is a stop', async () => {
    await putRoot(1);
    await expect(syncFrom(store, key, catalog, AbortSignal.abort())).rejects.toThrow();
    expect(catalog.snapshots()).toEqual([]);
  });
});

describe('forgetGone', () => {
  test('forgets what no destination holds, only when all of them were listed', async () => {
    const second = await storeAt('offsite');
    await putRoot(1);
    await putRoot(2, {}, second);
    await putRoot(3, {}, second);
    const listed = new Map([
      ['nas', (await syncFrom(store, key, catalog)).objects],
      ['offsite', (await syncFrom(second, key, catalog)).objects],
    ]);
    expect(forgetGone(catalog, listed, true)).toEqual([]);
    await second.destination.delete(second.key(nameOf(2)));
    listed.set('offsite', (await syncFrom(second, key, catalog)).objects);
    expect(forgetGone(catalog, new Map([['nas', listed.get('nas')!]]), false)).toEqual([]);
    expect(catalog.snapshots()).toHaveLength(3);
    expect(forgetGone(catalog, listed, true)).toEqual([idOf(2)]);
    expect(catalog.snapshots().map((row) => row.seq)).toEqual([3, 1]);
  });
});
