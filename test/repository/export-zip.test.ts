import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { crc32 } from '../../src/repository/export/crc32.js';
import type { Member } from '../../src/repository/export/member.js';
import { writeZip } from '../../src/repository/export/zip-archive.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-zip-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function member(name: string, content: Buffer, mtime = '1700000000123456700'): Member {
  const entry = { mode: 0o640, uid: 1000, gid: 70000, mtime, ctime: '0', inode: '1', size: String(content.length) };
  return {
    name,
    entry: { ...entry, path: `/${name}`, type: 'file' },
    size: content.length,
    content: async function* () {
      for (let at = 0; at < content.length; at += 300_000) yield content.subarray(at, at + 300_000);
    },
  };
}

async function written(name: string, members: Iterable<Member>, password?: string): Promise<string> {
  const file = path.join(folder, name);
  const sink = { write: async (bytes: Uint8Array) => appendFileSync(file, bytes) };
  const all = async function* (): AsyncGenerator<Member> {
    yield* members;
  };
  await writeZip(all(), { sink, password, scratch: folder, signal: new AbortController().signal });
  // What waited for the end is gone.
  expect(readdirSync(folder).filter((one) => one.startsWith('.'))).toEqual([]);
  return file;
}

const large = Buffer.alloc(2_500_000, 'what is compressed in pieces ');
const python = (script: string, file: string): string =>
  execFileSync('python3', ['-c', `import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); ${script}`, file], {
    encoding: 'utf8',
  }).trim();

test('more members than a zip file without Zip64 can have', { timeout: 120_000 }, async () => {
  const many = function* (): Generator<Member> {
    for (let i = 0; i < 70_000; i++) yield member(`folder/ünïcode 文 ${i}`, Buffer.from(`${i}`));
    yield member('large', large);
    yield member('empty', Buffer.alloc(0));
    yield member('old', Buffer.from('x'), '-3000000000000000000');
    yield member('far', Buffer.from('x'), '7000000000000000000');
  };
  const file = await written('many.zip', many());
  const script =
    'print(len(z.namelist()), z.testzip(), z.read("folder/ünïcode 文 69999"), len(z.read("large")), oct(z.getinfo("empty").external_attr >> 16))';
  expect(python(script, file)).toBe("70004 None b'69999' 2500000 0o100640");
  execFileSync('unzip', ['-tqq', file]);
});

test('what is encrypted opens with its password, whatever its length', { timeout: 120_000 }, async () => {
  const contents = [0, 1, 15, 16, 17, 70_000].map((size) => Buffer.alloc(size, 'secret '));
  const members = [...contents, large].map((content, at) => member(`${at}`, content));
  const file = await written('secret.zip', members, 'pässword');
  expect(python('print({i.compress_type for i in z.infolist()})', file)).toBe('{99}');
  const { BlobReader, configure, Uint8ArrayWriter, ZipReader } = await import('@zip.js/zip.js');
  configure({ useWebWorkers: false });
  const entries = await new ZipReader(new BlobReader(new Blob([readFileSync(file)]))).getEntries();
  for (const [at, entry] of entries.entries()) {
    if (entry.directory) throw new Error('no directory was written');
    const data = await entry.getData(new Uint8ArrayWriter(), { password: 'pässword' });
    expect(Buffer.from(data).equals([...contents, large][at] ?? Buffer.of(1))).toBe(true);
  }
});

test('the checksum of our own, where Node has none', () => {
  for (const [text, sum] of [
    ['', 0],
    ['123456789', 0xcbf43926],
    ['The quick brown fox jumps over the lazy dog', 0x414fa339],
  ] as const) {
    const half = Buffer.from(text).subarray(0, text.length >> 1);
    const rest = Buffer.from(text).subarray(text.length >> 1);
    expect(crc32(rest, crc32(half, 0, true), true)).toBe(sum);
  }
});
