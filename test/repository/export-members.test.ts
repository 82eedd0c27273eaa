import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HoldfastError } from '../../src/errors.js';
import { abilitiesOf } from '../../src/repository/export/member.js';
import { membersOf } from '../../src/repository/export/members.js';
import { PackReader } from '../../src/repository/reader.js';
import { newTally } from '../../src/repository/restore/tally.js';
import { resolveSnapshot } from '../../src/repository/snapshots.js';
import { TestRepository } from '../support/make-repository.js';

let folder: string;
let source: string;
let repository: TestRepository;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-members-'));
  source = path.join(folder, 'source');
  mkdirSync(source);
  writeFileSync(path.join(source, 'a'), randomBytes(3000));
  linkSync(path.join(source, 'a'), path.join(source, 'b'));
  linkSync(path.join(source, 'a'), path.join(source, 'c'));
  repository = await TestRepository.create({ folder, destinations: ['nas'] });
  await repository.backup([source]);
});
afterEach(() => {
  repository.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A reader that fails so many times first. */
class Flaky extends PackReader {
  failures = 0;
  override async chunk(...args: Parameters<PackReader['chunk']>): Promise<Buffer> {
    if (this.failures-- > 0) throw new HoldfastError('DestinationUnreachable', 'nobody answers');
    return super.chunk(...args);
  }
}

async function collect(names: string[], failures = 0) {
  const { catalog, stores, key } = repository;
  const content = new Flaky({ key, stores });
  content.failures = failures;
  const tally = newTally();
  const members = membersOf({
    catalog,
    root: resolveSnapshot(catalog, 'latest').root,
    manifests: new PackReader({ key, stores }),
    content,
    paths: names.map((name) => path.join(source, name)),
    abilities: abilitiesOf('tar.gz'),
    tally,
    signal: new AbortController().signal,
    waits: [1, 1],
  });
  const files: [name: string, content: string][] = [];
  for await (const { name, entry, linkTo, content } of members) {
    if (entry.type !== 'file') continue;
    const parts: Buffer[] = [];
    for await (const part of content()) parts.push(part);
    const same = Buffer.concat(parts).equals(readFileSync(path.join(source, 'a')));
    files.push([
      path.basename(name.toString()),
      linkTo === undefined ? `${same}` : `-> ${path.basename(linkTo.toString())}`,
    ]);
  }
  return { files, tally };
}

test('a hard link to a name that is not exported becomes the file that others link to', async () => {
  expect((await collect([])).files).toEqual([
    ['a', 'true'],
    ['b', '-> a'],
    ['c', '-> a'],
  ]);
  expect((await collect(['b', 'c'])).files).toEqual([
    ['b', 'true'],
    ['c', '-> b'],
  ]);
});

test('a destination that does not answer is waited for, but not for ever', async () => {
  expect(await collect(['a'], 2)).toMatchObject({ files: [['a', 'true']], tally: { restored: 1, failed: 0 } });
  await expect(collect(['a'], 3)).rejects.toMatchObject({ code: 'DestinationUnreachable' });
});
