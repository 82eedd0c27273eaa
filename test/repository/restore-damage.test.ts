import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { packName } from '../../src/repository/layout.js';
import { PackReader, readManifest } from '../../src/repository/reader.js';
import { TestRepository } from '../support/make-repository.js';
import { restoreInline } from '../support/restore-inline.js';

let folder: string;
let source: string;
let target: string;
let repository: TestRepository;

/** Small files in two lanes, so two packs, and one file that is in several. */
beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-damage-'));
  source = path.join(folder, 'source');
  target = path.join(folder, 'target');
  mkdirSync(source);
  for (let i = 0; i < 40; i++) writeFileSync(path.join(source, `f${10 + i}`), randomBytes(20_000));
  writeFileSync(path.join(source, 'z-large'), randomBytes(60 * 1024 * 1024));
  repository = await TestRepository.create({ folder, destinations: ['nas', 'offsite'], laneBytes: 400_000 });
  await repository.backup([source]);
});
afterEach(() => {
  repository.close();
  rmSync(folder, { recursive: true, force: true });
});

const damage = (destination: string, pack: string): void => {
  const file = repository.objectPath(destination, packName(pack));
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  // Destinations on one disk may share the file.
  rmSync(file);
  writeFileSync(file, bytes);
};
const lose = (destination: string, pack: string): void => rmSync(repository.objectPath(destination, packName(pack)));
const at = (name: string): string => path.join(target, source, name);
const sameAll = (names: string[]): void => {
  for (const name of names) {
    expect(readFileSync(at(name)).equals(readFileSync(path.join(source, name))), name).toBe(true);
  }
};
const everything = [...Array.from({ length: 40 }, (_, i) => `f${10 + i}`), 'z-large'];

test('damaged and missing packs come from another destination, and are named', async () => {
  const [first, ...others] = repository.packs('data');
  damage('nas', first!);
  for (const pack of others) lose('nas', pack);
  for (const pack of repository.packs('manifest')) damage('nas', pack);
  const document = await restoreInline(repository, target);
  expect(document).toMatchObject({ status: 'succeeded', damaged: [], files: { restored: 41, skipped: 0, failed: 0 } });
  sameAll(everything);
  const said = document.warnings.map(({ code, message }) => `${code} ${message}`);
  expect(said).toEqual(expect.arrayContaining([expect.stringMatching(`PackDamaged nas: .*${first}`)]));
  expect(said.filter((text) => text.startsWith('PackMissing nas: packs/'))).toHaveLength(others.length);
});

test('what no destination has whole is named, the rest comes back', async () => {
  const reader = new PackReader({ key: repository.key, stores: repository.stores });
  const root = repository.catalog.snapshots()[0]!.root;
  const lostPack = repository.packs('data')[0]!;
  const lost = new Set<string>();
  for await (const line of readManifest(reader, repository.catalog, root, 'files')) {
    const entry = JSON.parse(line) as { path: string; chunks?: string[] };
    if (entry.chunks?.some((id) => repository.catalog.locate(id).some(({ row }) => row.hash === lostPack))) {
      lost.add(path.basename(entry.path));
    }
  }
  expect(lost.size).toBeGreaterThan(5);
  expect(lost.has('z-large')).toBe(false);
  damage('nas', lostPack);
  lose('offsite', lostPack);
  const document = await restoreInline(repository, target);
  expect(document.status).toBe('partial');
  expect(document.files).toEqual({ restored: 41 - lost.size, skipped: 0, failed: lost.size });
  expect(document.damaged.map((one) => path.basename(one.path)).sort()).toEqual([...lost].sort());
  for (const { message } of document.damaged) expect(message).toContain(lostPack);
  for (const name of lost) expect(existsSync(at(name)), name).toBe(false);
  sameAll(everything.filter((name) => !lost.has(name)));
});

test('a large file that misses one piece is named and not left half', async () => {
  const large = repository.packs('data').at(-1)!;
  damage('nas', large);
  damage('offsite', large);
  const document = await restoreInline(repository, target);
  expect(document.status).toBe('partial');
  expect(document.damaged.map((one) => path.basename(one.path))).toEqual(['z-large']);
  expect(existsSync(at('z-large'))).toBe(false);
  sameAll(everything.slice(0, -1));
});

test('a chunk whose pack is lost comes from another pack in scope', async () => {
  const small = path.join(folder, 'small');
  const content = randomBytes(5000);
  mkdirSync(small);
  writeFileSync(path.join(small, 'twice'), content);
  const before = new Set(repository.packs('data'));
  const root = await repository.backup([small]);
  const [pack] = repository.packs('data').filter((one) => !before.has(one));
  const reader = new PackReader({ key: repository.key, stores: repository.stores });
  const lines: string[] = [];
  for await (const line of readManifest(reader, repository.catalog, root, 'files')) lines.push(line);
  await repository.forge(lines, [content]);
  lose('nas', pack!);
  lose('offsite', pack!);
  const document = await restoreInline(repository, target);
  expect(document).toMatchObject({ status: 'succeeded', files: { restored: 1 } });
  expect(readFileSync(path.join(target, small, 'twice')).equals(content)).toBe(true);
});

test('a lost part of the manifest is named', async () => {
  for (const pack of repository.packs('manifest')) {
    lose('nas', pack);
    lose('offsite', pack);
  }
  const document = await restoreInline(repository, target);
  expect(document.status).toBe('failed');
  expect(document.damaged[0]?.path).toBe(source);
  expect(document.damaged[0]?.message).toContain(repository.packs('manifest')[0]!);
});
