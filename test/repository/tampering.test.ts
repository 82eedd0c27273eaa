import { generateKeyPairSync } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LocalDestination } from '../../src/destinations/local.js';
import { HoldfastError } from '../../src/errors.js';
import { Catalog } from '../../src/repository/catalog.js';
import { type DeletionRecord, deletionLimit, parseDeletion } from '../../src/repository/deletions.js';
import { parseEntry } from '../../src/repository/entry.js';
import { sha256Hex } from '../../src/repository/hash.js';
import { deletionName, indexName, packName } from '../../src/repository/layout.js';
import { PackReader, readManifest, scopeOf } from '../../src/repository/reader.js';
import type { RepositoryKey } from '../../src/repository/seal.js';
import { Store, sealMeta } from '../../src/repository/store.js';
import { syncFrom } from '../../src/repository/sync.js';
import { TestRepository } from '../support/make-repository.js';

/** Whatever somebody does to an object at a destination, reading says which one it is, and never gives wrong content. */

type Kind = 'root' | 'index' | 'deletion' | 'data pack' | 'manifest pack';
const kinds: Kind[] = ['root', 'index', 'deletion', 'data pack', 'manifest pack'];
const protections = ['aes', 'rsa', 'clear'] as const;
type Protection = (typeof protections)[number];

interface Sample {
  repository: TestRepository;
  folder: string;
  /** Two objects of each kind. */
  objects: Record<Kind, [string, string]>;
  contents: Map<string, string>;
}

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072 });
const pem = {
  publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
};

let folder: string;
const samples = new Map<string, Sample>();
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-tampering-'));
  for (const protection of protections) {
    for (const which of ['own', 'other']) samples.set(`${protection} ${which}`, await make(protection, which));
  }
});
afterAll(() => {
  for (const { repository } of samples.values()) repository.close();
  rmSync(folder, { recursive: true, force: true });
});

async function make(protection: Protection, which: string): Promise<Sample> {
  const at = path.join(folder, `${protection}-${which}`);
  const source = path.join(at, 'source');
  mkdirSync(source, { recursive: true });
  const repository = await TestRepository.create({
    folder: at,
    encrypted: protection !== 'clear',
    ...(protection === 'rsa' ? { key: (id): RepositoryKey => ({ repository: id, ...pem }) } : {}),
  });
  const contents = new Map<string, string>();
  const roots: string[] = [];
  for (const round of ['first', 'second']) {
    writeFileSync(path.join(source, round), `${which} ${round} `.repeat(200));
    contents.set(path.join(source, round), sha256Hex(readFileSync(path.join(source, round))));
    const time = new Date(Date.UTC(2026, 0, roots.length + 1));
    const root = await repository.backup([source], time);
    roots.push(`snapshots/${time.toISOString().replace(/[-:]/g, '').replace(/\.\d+/, '')}-${root.id}.json`);
  }
  const [store] = repository.stores as [Store];
  const deletions = ['00000000000000a1', '00000000000000a2'];
  for (const id of deletions) {
    const record: DeletionRecord = {
      format: 1,
      id,
      time: new Date().toISOString(),
      snapshots: [],
      packs: [sha256Hex(Buffer.from(which + id))],
      indexes: [],
    };
    const name = deletionName(id);
    const bytes = await sealMeta(repository.key, 'deletion', name, Buffer.from(JSON.stringify(record)));
    await store.destination.put(store.key(name), { bytes });
  }
  const pair = (names: readonly string[]): [string, string] => [names[0] ?? '', names[1] ?? ''];
  return {
    repository,
    folder: path.join(at, 'nas'),
    contents,
    objects: {
      root: pair(roots.reverse()),
      index: pair(repository.catalog.indexes().map(indexName)),
      deletion: pair(deletions.map(deletionName)),
      'data pack': pair(repository.packs('data').map(packName)),
      'manifest pack': pair(repository.packs('manifest').reverse().map(packName)),
    },
  };
}

/** Everything that reading a copy of the repository tells is wrong; the content of the latest snapshot as far as it is read. */
async function readAll(
  { repository }: Sample,
  place: string,
): Promise<{ said: string; contents: Map<string, string> }> {
  const store = new Store(new LocalDestination('nas', { type: 'local', path: place }), 'host', 'job');
  const catalog = new Catalog(path.join(place, '..', 'reading.db'));
  const said: string[] = [];
  const contents = new Map<string, string>();
  try {
    const { key } = repository;
    const { damaged } = await syncFrom(store, key, catalog, undefined, repository.repository);
    said.push(...damaged.map(({ name, message }) => `${name}: ${message}`));
    const root = catalog.snapshots()[0]?.root;
    if (!root) return { said: said.join('\n'), contents };
    const reader = new PackReader({ key, stores: [store], onProblem: ({ message }) => said.push(message) });
    const scope = scopeOf(catalog, root);
    for (const source of root.sources) {
      for await (const line of readManifest(reader, catalog, root, source.name)) {
        const entry = parseEntry(line);
        if (entry.type !== 'file') continue;
        const chunks = [];
        for (const id of entry.chunks ?? []) chunks.push(await reader.chunk(id, scope.locate(id)));
        contents.set(entry.path ?? '', sha256Hex(Buffer.concat(chunks)));
      }
    }
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    said.push(error.message);
  } finally {
    catalog.close();
  }
  return { said: said.join('\n'), contents };
}

type Change = (sample: Sample, kind: Kind, read: (name: string) => Buffer, other: Sample) => Buffer;
const changes: Record<string, Change> = {
  'a bit flipped': (sample, kind, read) => {
    const bytes = Buffer.from(read(sample.objects[kind][0]));
    const at = bytes.length >> 1;
    bytes[at] = (bytes[at] ?? 0) ^ 4;
    return bytes;
  },
  'its end cut off': (sample, kind, read) => read(sample.objects[kind][0]).subarray(0, -7),
  emptied: () => Buffer.alloc(0),
  'something added': (sample, kind, read) => Buffer.concat([read(sample.objects[kind][0]), Buffer.from('x')]),
  'another of its kind in its place': (sample, kind, read) => read(sample.objects[kind][1]),
  'an object of another kind in its place': (sample, kind, read) =>
    read(sample.objects[kind === 'root' ? 'index' : 'root'][0]),
  'the one of another repository in its place': (_, kind, __, other) =>
    readFileSync(path.join(other.folder, 'host', 'job', other.objects[kind][0])),
};

describe.each(protections)('in a repository %s', (protection) => {
  test.each(kinds.flatMap((kind) => Object.keys(changes).map((change) => [kind, change] as const)))(
    '%s: %s',
    async (kind, change) => {
      const sample = samples.get(`${protection} own`);
      const other = samples.get(`${protection} other`);
      if (!sample || !other) throw new Error('no sample');
      const place = path.join(mkdtempSync(path.join(folder, 'copy-')), 'nas');
      cpSync(sample.folder, place, { recursive: true });
      const name = sample.objects[kind][0];
      const read = (one: string): Buffer => readFileSync(path.join(sample.folder, 'host', 'job', one));
      expect(read(name).length).toBeGreaterThan(0);
      writeFileSync(path.join(place, 'host', 'job', name), changes[change]?.(sample, kind, read, other) ?? '');

      const { said, contents } = await readAll(sample, place);
      for (const [file, hash] of contents) expect(hash, file).toBe(sample.contents.get(file));
      // In the clear anybody can write a good index or deletion record; what they say is checked against hashes.
      const forgeable = protection === 'clear' && (kind === 'index' || kind === 'deletion') && / place$/.test(change);
      if (forgeable) expect(said !== '' || contents.size === sample.contents.size).toBe(true);
      else expect(said).toContain(name);
    },
  );

  test('as it was made nothing is wrong', async () => {
    const sample = samples.get(`${protection} own`);
    if (!sample) throw new Error('no sample');
    const place = path.join(mkdtempSync(path.join(folder, 'copy-')), 'nas');
    cpSync(sample.folder, place, { recursive: true });
    expect(await readAll(sample, place)).toEqual({ said: '', contents: sample.contents });
  });

  test('a root copied to another name is noticed', async () => {
    const sample = samples.get(`${protection} own`);
    if (!sample) throw new Error('no sample');
    const place = path.join(mkdtempSync(path.join(folder, 'copy-')), 'nas');
    cpSync(sample.folder, place, { recursive: true });
    const [name] = sample.objects.root;
    const copy = 'snapshots/20270101T000000Z-00000000000000ff.json';
    cpSync(path.join(place, 'host', 'job', name), path.join(place, 'host', 'job', copy));
    expect((await readAll(sample, place)).said).toContain(copy);
  });
});

test('without the private key a host reads back the deletion records it wrote, and nothing else', async () => {
  const at = mkdtempSync(path.join(folder, 'own-'));
  const store = new Store(new LocalDestination('nas', { type: 'local', path: at }), 'host', 'job');
  const key: RepositoryKey = { repository: 'r', publicKey: pem.publicKey, own: path.join(at, 'own') };
  const record = { format: 1, id: '00000000000000a1', time: new Date().toISOString(), snapshots: [], packs: [] };
  const plain = Buffer.from(JSON.stringify({ ...record, indexes: [] }));
  for (const [kind, name] of [
    ['deletion', deletionName(record.id)],
    ['index', indexName(record.id)],
  ] as const) {
    const bytes = await sealMeta(key, kind, name, plain);
    await store.destination.put(store.key(name), { bytes });
  }
  const back = await store.readMeta(key, 'deletion', deletionName(record.id), deletionLimit);
  expect(parseDeletion(back, 'x').id).toBe(record.id);
  await expect(store.readMeta(key, 'index', indexName(record.id), 1 << 20)).rejects.toMatchObject({
    code: 'PrivateKeyNeeded',
  });
  // Of the index it knows the name alone, which tells whether the bytes are still its own.
  expect(readdirSync(path.join(at, 'own')).filter((name) => !name.endsWith('.name'))).toHaveLength(1);
  const stored = await store.readStored(key, 'index', indexName(record.id), 1 << 20);
  await store.destination.put(store.key(indexName('00000000000000a2')), { bytes: stored });
  await expect(store.readStored(key, 'index', indexName('00000000000000a2'), 1 << 20)).rejects.toThrow(
    /another object/,
  );
  const reading: RepositoryKey = { ...key, privateKey: pem.privateKey };
  expect((await store.readMeta(reading, 'index', indexName(record.id), 1 << 20)).equals(plain)).toBe(true);
});
