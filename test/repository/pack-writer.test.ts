import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { extract, list } from 'tar';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { maxChunk } from '../../src/repository/chunker.js';
import { chunkId, PackBuilder, packLimit, packTarget } from '../../src/repository/pack-writer.js';
import { tarEndSize } from '../../src/repository/tar.js';

let folder: string;
const generation = '0b0f9f0e-3d0c-4d5e-9c7e-1d2b3a4c5d6e';
const builder = new PackBuilder(generation);

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-pack-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fill(contents: readonly Uint8Array[]): Buffer {
  builder.reset();
  for (const content of contents) builder.add(chunkId(content), content);
  return Buffer.from(builder.finish());
}

describe('PackBuilder', () => {
  test('offsets point at each content, and the tar is made of whole blocks', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 20 }), (contents) => {
        const tar = fill(contents);
        expect(tar.length % 512).toBe(0);
        expect(builder.places).toHaveLength(contents.length);
        expect(builder.contentBytes).toBe(contents.reduce((sum, content) => sum + content.length, 0));
        builder.places.forEach(([id, offset, length], at) => {
          const content = tar.subarray(offset, offset + length);
          expect(content.equals(contents[at] ?? Buffer.alloc(0))).toBe(true);
          expect(chunkId(content)).toBe(id);
        });
      }),
      { numRuns: 100 },
    );
  });

  test("the system's tar and node's read it: the generation first, then every chunk by its id", async () => {
    const contents = [Buffer.from('a'), Buffer.alloc(512, 1), Buffer.alloc(513, 2), Buffer.alloc(100_000, 3)];
    const file = path.join(folder, 'pack.tar');
    writeFileSync(file, fill(contents));
    const expected = ['generation', ...contents.map(chunkId)];

    expect(execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).trim().split('\n')).toEqual(expected);
    const names: string[] = [];
    await list({ file, onReadEntry: (entry) => names.push(entry.path), strict: true });
    expect(names).toEqual(expected);

    const out = mkdtempSync(path.join(folder, 'out-'));
    await extract({ file, cwd: out, strict: true });
    expect(readdirSync(out).sort()).toEqual([...expected].sort());
    expect(readFileSync(path.join(out, 'generation'), 'utf8')).toBe(generation);
    for (const content of contents)
      expect(chunkId(readFileSync(path.join(out, chunkId(content))))).toBe(chunkId(content));
    // An empty folder to compare with, by the other tar.
    const system = mkdtempSync(path.join(folder, 'system-'));
    execFileSync('tar', ['-xf', file, '-C', system]);
    for (const name of expected)
      expect(readFileSync(path.join(system, name))).toEqual(readFileSync(path.join(out, name)));
  });

  test('nothing of an earlier pack is left after reset', () => {
    const first = fill([Buffer.alloc(5000, 0xff)]);
    const second = fill([Buffer.from('b')]);
    const again = Buffer.from(new PackBuilder(generation).finish());
    expect(first.length).toBeGreaterThan(second.length);
    builder.reset();
    expect(builder.isEmpty).toBe(true);
    expect(builder.finish().equals(again)).toBe(true);
    expect(second.includes(Buffer.alloc(16, 0xff))).toBe(false);
  });

  test('a full pack still takes no chunk beyond its limit', () => {
    builder.reset();
    const content = Buffer.alloc(maxChunk - 1);
    let count = 0;
    while (builder.fits(content.length)) {
      builder.add(chunkId(Buffer.from([count++])), content);
    }
    expect(builder.contentBytes).toBeGreaterThanOrEqual(packTarget);
    expect(builder.finish().length).toBeLessThanOrEqual(packLimit + tarEndSize);
  });

  test('packs of two generations with the same chunks are different', () => {
    const other = new PackBuilder('another');
    other.add(chunkId(Buffer.from('x')), Buffer.from('x'));
    expect(other.finish().equals(fill([Buffer.from('x')]))).toBe(false);
  });
});
