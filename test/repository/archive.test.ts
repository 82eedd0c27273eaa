import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { readContents } from '../../src/repository/archive/contents.js';
import { Catalog } from '../../src/repository/catalog.js';
import type { Entry } from '../../src/repository/entry.js';
import type { Member } from '../../src/repository/export/member.js';
import { writeTar } from '../../src/repository/export/tar-archive.js';
import { writeZip } from '../../src/repository/export/zip-archive.js';
import { sha256Hex } from '../../src/repository/hash.js';
import { archiveLineChunks, type IndexPack, indexBytes, parseIndex } from '../../src/repository/index-file.js';
import type { ChunkPlace } from '../../src/repository/pack-writer.js';
import { applyRetention } from '../../src/repository/retention.js';

const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-archive-'));
afterAll(() => rmSync(folder, { recursive: true }));

const contents = [Buffer.alloc(100_000, 'a'), Buffer.from(''), Buffer.alloc(70_000, 'b'), Buffer.from('the last')];
/** Each content in two pieces, as an index would list them. */
const places: ChunkPlace[] = [];
{
  let at = 0;
  for (const content of contents) {
    for (const piece of [content.subarray(0, content.length >> 1), content.subarray(content.length >> 1)]) {
      if (piece.length > 0) places.push([sha256Hex(piece), at, piece.length]);
      at += piece.length;
    }
  }
}

async function* members(): AsyncGenerator<Member> {
  const entry = (type: Entry['type'], size: number): Entry => ({
    path: '/x',
    type,
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: String(size),
    mtime: '0',
    ctime: '0',
    inode: '1',
    ...(type === 'symlink' ? { target: 'where it leads' } : {}),
  });
  const none = async function* (): AsyncGenerator<Buffer> {};
  yield { name: 'dir', entry: entry('dir', 0), size: 0, content: none };
  for (const [number, content] of contents.entries()) {
    yield {
      // Long enough for an extended header.
      name: `../../${'long/'.repeat(40)}${number}`,
      entry: entry('file', content.length),
      size: content.length,
      content: async function* () {
        if (content.length > 0) yield content;
      },
    };
    yield { name: `link ${number}`, entry: entry('symlink', 0), size: 0, content: none };
  }
}

async function written(name: string, password?: string): Promise<string> {
  const parts: Uint8Array[] = [];
  const sink = { write: async (bytes: Uint8Array) => void parts.push(Uint8Array.from(bytes)) };
  const { signal } = new AbortController();
  if (name.endsWith('.zip')) await writeZip(members(), { sink, password, scratch: folder, signal });
  else await writeTar(members(), sink, name.endsWith('.gz') ? 'gzip' : 'zstd', signal);
  const file = path.join(folder, name);
  writeFileSync(file, Buffer.concat(parts));
  return file;
}

async function read(file: string, wanted = places, password?: string) {
  const found: string[] = [];
  const lost: string[] = [];
  const problem = await readContents({
    file,
    name: path.basename(file),
    key: undefined,
    password,
    places: wanted,
    onChunk: (id, content) => void (content ? found : lost).push(id),
    tick: () => undefined,
  });
  return { problem, found, lost };
}

const ids = (list: readonly ChunkPlace[]): string[] => list.map(([id]) => id);

test.each(['a.zip', 'a.tar.gz', 'a.tar.zst'])('%s: every chunk at its place, or some of them', async (name) => {
  const file = await written(name);
  expect(await read(file)).toEqual({ problem: undefined, found: ids(places), lost: [] });
  const some = places.slice(3);
  expect(await read(file, some)).toEqual({ problem: undefined, found: ids(some), lost: [] });
});

test.each(['b.zip', 'b.tar.gz', 'b.tar.zst'])(
  '%s: what is not what the list says is lost, and nothing else',
  async (name) => {
    const file = await written(name);
    const wrong = places.map(
      (place, at): ChunkPlace => (at === 1 ? [sha256Hex(Buffer.from('else')), place[1], place[2]] : place),
    );
    expect(await read(file, wrong)).toEqual({
      problem: undefined,
      found: ids(places.filter((_, at) => at !== 1)),
      lost: [sha256Hex(Buffer.from('else'))],
    });
  },
);

test('an encrypted zip takes its password', async () => {
  const file = await written('c.zip', 'right');
  expect((await read(file, places, 'right')).found).toEqual(ids(places));
  await expect(read(file, places, 'wrong')).rejects.toMatchObject({ code: 'PassphraseWrong' });
  await expect(read(file)).rejects.toMatchObject({ code: 'SecretMissing' });
});

test('what is no archive, or half of one, loses its chunks and says why', async () => {
  for (const [name, bytes] of [
    ['half.tar.gz', gzipSync(Buffer.alloc(700, 'x'))],
    ['none.tar.zst', Buffer.from('nothing of ours')],
    ['none.zip', Buffer.from('nothing of ours')],
  ] as const) {
    writeFileSync(path.join(folder, name), bytes);
    const { problem, found, lost } = await read(path.join(folder, name));
    expect(problem).toBeDefined();
    expect(found).toEqual([]);
    expect(lost).toEqual(ids(places));
  }
});

const archive = (change: Partial<IndexPack> = {}): IndexPack => ({
  pack: 'aa'.repeat(32),
  kind: 'archive',
  name: 'site-2026-11-22.zip',
  generation: 'g',
  size: 2 ** 40,
  plain: 2 ** 41,
  chunks: Array.from(
    { length: archiveLineChunks + 5 },
    (_, at): ChunkPlace => [sha256Hex(Buffer.from(String(at))), at * 10, 10],
  ),
  ...change,
});

test('an archive with many chunks stands on several lines of an index, and in the catalog once', () => {
  const bytes = indexBytes([archive()]);
  expect(bytes.toString().split('\n')).toHaveLength(3);
  const catalog = new Catalog(path.join(folder, 'catalog.db'));
  catalog.addPacks('1111111111111111', parseIndex(bytes, 'index'));
  expect(catalog.indexPack(archive().pack)).toEqual(archive());
  expect(catalog.objectOf(archive().pack)).toBe('archives/site-2026-11-22.zip');
  expect(catalog.packAt('archives/site-2026-11-22.zip')).toBe(archive().pack);
  expect(catalog.packAt('archives/of somebody else.zip')).toBeUndefined();
  catalog.forgetPacks([archive().pack]);
  expect(catalog.packAt('archives/site-2026-11-22.zip')).toBeUndefined();
  catalog.close();
});

test.each(['../owner.json', 'a/b.zip', '', '.zip', 'x'.repeat(201)])(
  'an index that names an archive %j is refused',
  (name) => {
    expect(() => [...parseIndex(indexBytes([archive({ name, chunks: [] })]), 'index')]).toThrow(
      /is not an index entry/,
    );
  },
);

test('what a kept archive builds on stays, however old', () => {
  const snapshot = (seq: number, base?: string) => ({
    id: String(seq),
    seq,
    time: seq * 86_400_000,
    complete: true,
    pinned: seq === 2,
    mode: base === undefined ? ('full' as const) : ('differential' as const),
    generation: base ?? String(seq),
    ...(base === undefined ? {} : { base }),
  });
  const all = [snapshot(1), snapshot(2, '1'), snapshot(3, '1'), snapshot(4), snapshot(5, '4')];
  const kept = applyRetention(all, { keepLast: 1 }, 10 * 86_400_000).filter(({ reasons }) => reasons.length > 0);
  expect(kept.map(({ id }) => id)).toEqual(['5', '4', '2', '1']);
});
