import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Entry, entryLine } from '../../src/repository/entry.js';
import { type ManifestChunk, ManifestChunker } from '../../src/repository/manifest.js';
import { chunkId } from '../../src/repository/pack-writer.js';

const kib = 1024;

function cut(lines: readonly string[]): ManifestChunk[] {
  const chunks: ManifestChunk[] = [];
  const chunker = new ManifestChunker((chunk) => chunks.push(chunk));
  for (const line of lines) chunker.add(line);
  chunker.end();
  return chunks;
}

/** Lines as a tree of source files gives them. */
function tree(count: number, touched: ReadonlySet<number> = new Set()): string[] {
  return Array.from({ length: count }, (_, at) => {
    const entry: Entry = {
      path: `/srv/project/src/module-${Math.floor(at / 40)}/file-${at}.c`,
      type: 'file',
      mode: 0o644,
      uid: 1000,
      gid: 1000,
      user: 'dev',
      group: 'dev',
      size: String(at * 7),
      mtime: String(1_700_000_000_000_000_000n + BigInt(touched.has(at) ? 5 : 0)),
      ctime: '1700000000000000000',
      inode: String(at + 100),
      chunks: [chunkId(Buffer.from(`${at} ${touched.has(at)}`))],
    };
    return entryLine(entry);
  });
}

describe('ManifestChunker', () => {
  test('chunks are whole lines that add up to the manifest, within the bounds', () => {
    const lines = tree(20_000);
    const chunks = cut(lines);
    expect(Buffer.concat(chunks.map(({ content }) => content)).toString()).toBe(`${lines.join('\n')}\n`);
    for (const { id, content, firstLine } of chunks) {
      expect(content.at(-1)).toBe(0x0a);
      expect(chunkId(content)).toBe(id);
      expect(content.toString().startsWith(`${firstLine}\n`)).toBe(true);
      expect(content.length).toBeLessThanOrEqual(32 * kib);
    }
    for (const { content } of chunks.slice(0, -1)) expect(content.length).toBeGreaterThanOrEqual(4 * kib);
    const mean = chunks.reduce((sum, { content }) => sum + content.length, 0) / chunks.length;
    expect(mean).toBeGreaterThan(5 * kib);
    expect(mean).toBeLessThan(16 * kib);
  });

  test('one changed, added or removed line changes two chunks at most', () => {
    const lines = tree(8000);
    const before = new Set(cut(lines).map(({ id }) => id));
    const fresh = (changed: string[]): number => cut(changed).filter(({ id }) => !before.has(id)).length;
    let most = 0;
    for (let at = 10; at < lines.length; at += 397) {
      const changed = [...lines];
      changed[at] = tree(at + 1, new Set([at]))[at]!;
      most = Math.max(
        most,
        fresh(changed),
        fresh(lines.toSpliced(at, 1)),
        fresh(lines.toSpliced(at, 0, `${lines[at]} `)),
      );
    }
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(3);
  });

  test('one line in a hundred changed: most of the manifest stays', () => {
    const before = new Set(cut(tree(20_000)).map(({ id }) => id));
    const touched = new Set(Array.from({ length: 200 }, (_, at) => (at * 7919) % 20_000));
    const after = cut(tree(20_000, touched));
    const fresh = after.filter(({ id }) => !before.has(id)).reduce((sum, { content }) => sum + content.length, 0);
    const all = after.reduce((sum, { content }) => sum + content.length, 0);
    expect(fresh / all).toBeLessThan(0.35);
  });

  test('a line longer than any chunk is a chunk of its own', () => {
    const long = 'x'.repeat(100 * kib);
    const chunks = cut(['a', long, 'b']);
    expect(chunks.map(({ firstLine }) => firstLine.slice(0, 1))).toEqual(['a', 'x', 'b']);
    expect(cut([])).toEqual([]);
  });

  test('any lines, of any characters, add up', () => {
    const line = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 3000 }).filter((text) => !text.includes('\n'));
    fc.assert(
      fc.property(fc.array(line, { maxLength: 60 }), (lines) => {
        const text = Buffer.concat(cut(lines).map(({ content }) => content)).toString();
        expect(text).toBe(lines.map((one) => `${one}\n`).join(''));
      }),
      { numRuns: 60 },
    );
  });
});
