import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';

/** A tree to back up: what was made, how many files, how many bytes. */
export interface DataSet {
  path: string;
  files: number;
  bytes: number;
}

/** Where data comes from and how much of it; sizes in bytes. */
export interface DataOptions {
  from?: string;
  bytes?: number;
  files?: number;
  maxFile?: number;
}

const MiB = 1024 * 1024;

/** Every regular file below a folder, in byte order of names; symbolic links are not followed. */
export function* walk(dir: string): Generator<{ path: string; size: number }> {
  const entries = readdirSync(dir, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile()) yield { path, size: lstatSync(path).size };
  }
}

/** Counts the regular files below a folder and their bytes. */
export function measure(path: string): DataSet {
  const total = { path, files: 0, bytes: 0 };
  for (const file of walk(path)) {
    total.files += 1;
    total.bytes += file.size;
  }
  return total;
}

/** The Go module cache, if this machine has one: tens of thousands of real source files. */
export function defaultSource(): string | undefined {
  const candidates = [process.env.GOMODCACHE, join(process.env.GOPATH ?? join(homedir(), 'go'), 'pkg', 'mod')];
  return candidates.find((dir) => dir && existsSync(dir));
}

/**
 * Makes the small-file tree: copies of real source files up to `bytes` (default 1 GB), files above `maxFile` left out. Where the
 * source holds too little, the rest is written from its own lines in random order, so that it compresses like source.
 */
export function buildSmall(to: string, options: DataOptions = {}): DataSet {
  const { bytes = 1e9, files = 50_000, maxFile = MiB, from = defaultSource() } = options;
  const made = { path: to, files: 0, bytes: 0 };
  const lines: string[] = [];
  mkdirSync(to, { recursive: true });
  const folders = from === undefined ? [join(process.cwd(), 'node_modules')] : goSource(from);
  const base = from ?? process.cwd();
  for (const file of folders.flatMap((folder) => [...walk(folder)])) {
    if (made.bytes >= bytes) break;
    if (file.size > maxFile || file.size === 0) continue;
    const target = join(to, relative(base, file.path));
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(file.path, target);
    if (lines.length < 200_000 && made.files % 20 === 0) lines.push(...readFileSync(file.path, 'latin1').split('\n'));
    made.files += 1;
    made.bytes += file.size;
  }
  fill(made, bytes, files, lines);
  return made;
}

function goSource(from: string): string[] {
  const names = readdirSync(from, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && entry.name !== 'cache',
  );
  return names.map((entry) => join(from, entry.name)).sort();
}

function fill(made: DataSet, bytes: number, files: number, lines: string[]): void {
  const random = generator(1);
  const average = bytes / Math.max(files, 1);
  for (let n = 0; made.bytes < bytes || made.files < files; n++) {
    const folder = join(made.path, 'generated', String(Math.floor(n / 50)).padStart(5, '0'));
    if (n % 50 === 0) mkdirSync(folder, { recursive: true });
    const size = Math.min(average, Math.max(bytes - made.bytes, 200)) * (0.2 + 1.6 * random());
    const text: string[] = [];
    for (let length = 0; length < size; length += (text.at(-1)?.length ?? 0) + 1) {
      text.push(`${lines[Math.floor(random() * lines.length)] ?? `line ${random()}`}`);
    }
    const content = text.join('\n');
    writeFileSync(join(folder, `file-${n}.txt`), content, 'latin1');
    made.files += 1;
    made.bytes += Buffer.byteLength(content, 'latin1');
  }
}

/** Makes the big-file set (default 1 GB): two tars of sources, a bundle of binaries, one fifth random bytes. */
export function buildBig(to: string, options: DataOptions = {}): DataSet {
  const { bytes = 1e9, from = defaultSource() ?? join(process.cwd(), 'node_modules') } = options;
  mkdirSync(to, { recursive: true });
  const part = bytes / 5;
  concatenate(join(to, 'sources-1.tar'), tarred(from, part), part);
  concatenate(join(to, 'sources-2.tar'), tarred(from, part, 3), part);
  const binaries = [...executables()];
  concatenate(
    join(to, 'binaries-1.bin'),
    binaries.filter((_, n) => n % 2 === 0),
    part,
  );
  concatenate(
    join(to, 'binaries-2.bin'),
    binaries.filter((_, n) => n % 2 === 1),
    part,
  );
  random(join(to, 'random.bin'), part, 7);
  return measure(to);
}

/** Overwrites about one per cent of a tree's bytes in place and returns a function that puts the old bytes back. */
export function changeOnePercent(path: string, seed: number): () => void {
  const undo: (() => void)[] = [];
  const next = generator(seed);
  const change = (file: string, offset: number, length: number): void => {
    const before = readFileSync(file).subarray(offset, offset + length);
    overwrite(file, offset, keystream(length, seed + undo.length));
    undo.push(() => overwrite(file, offset, before));
  };
  for (const { path: file, size } of walk(path)) {
    if (size >= 8 * MiB) {
      for (let n = 0; n < 4; n++) change(file, Math.floor(next() * (size * 0.99)), Math.floor(size / 400));
    } else if (next() < 0.01 && size > 0) {
      change(file, Math.floor(size / 2), Math.max(1, Math.min(200, Math.floor(size / 4))));
    }
  }
  return () => {
    for (const step of undo.reverse()) step();
  };
}

/** Makes a tree of very many tiny files, all different, a thousand to a folder: what a worker's memory is measured on. */
export function buildMany(to: string, options: DataOptions = {}): DataSet {
  const { files = 1_000_000 } = options;
  mkdirSync(to, { recursive: true });
  if (statfsSync(to).ffree < files * 1.1) throw new Error(`${to}: the file system has no room for ${files} more files`);
  const made = { path: to, files: 0, bytes: 0 };
  for (let n = 0; n < files; n++) {
    const folder = join(to, String(Math.floor(n / 100_000)), String(Math.floor(n / 1000)));
    if (n % 1000 === 0) mkdirSync(folder, { recursive: true });
    const content = `file ${n} ${(n * 2654435761).toString(36)}\n`;
    writeFileSync(join(folder, `${n}.txt`), content);
    made.files += 1;
    made.bytes += content.length;
  }
  return made;
}

/** The bytes of every nth source file in tar form, as tar itself writes them. */
function tarred(from: string, bytes: number, skip = 1): string[] {
  const list: string[] = [];
  let total = 0;
  let n = 0;
  for (const file of goSource(from)
    .flatMap((folder) => [...walk(folder)])
    .reverse()) {
    if (n++ % skip !== 0 || file.size > 8 * MiB) continue;
    list.push(relative(from, file.path));
    total += file.size + 1024;
    if (total > bytes) break;
  }
  const archive = join(process.env.TMPDIR ?? '/tmp', `holdfast-bench-${process.pid}-${skip}.tar`);
  execFileSync('tar', ['-cf', archive, '-C', from, '-T', '-'], { input: list.join('\n') });
  return [archive];
}

function* executables(): Generator<string> {
  yield process.execPath;
  for (const folder of ['/usr/local/bin', join(homedir(), 'go', 'bin'), '/usr/bin', '/usr/lib/x86_64-linux-gnu']) {
    if (!existsSync(folder)) continue;
    for (const file of walk(folder)) if (file.size > MiB) yield file.path;
  }
}

/** Writes the sources one after another until `bytes` are there; temporary archives are removed. */
function concatenate(to: string, sources: string[], bytes: number): void {
  const fd = openSync(to, 'w');
  let left = bytes;
  for (const source of sources) {
    if (left <= 0) break;
    const content = readFileSync(source).subarray(0, left);
    writeAll(fd, content);
    left -= content.length;
    if (source.includes('holdfast-bench-')) execFileSync('rm', ['-f', source]);
  }
  closeSync(fd);
}

function random(to: string, bytes: number, seed: number): void {
  const fd = openSync(to, 'w');
  for (let done = 0; done < bytes; done += 16 * MiB)
    writeAll(fd, keystream(Math.min(16 * MiB, bytes - done), seed + done));
  closeSync(fd);
}

function writeAll(fd: number, content: Buffer): void {
  for (let done = 0; done < content.length; ) done += writeSync(fd, content, done);
}

function overwrite(file: string, offset: number, content: Buffer): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, content, 0, content.length, offset);
  closeSync(fd);
}

/** Random-looking bytes that are the same for the same seed. */
function keystream(bytes: number, seed: number): Buffer {
  const key = Buffer.alloc(16);
  key.writeDoubleBE(seed, 0);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(Math.floor(bytes)));
}

/** A small seeded random number generator (mulberry32): numbers in [0, 1). */
function generator(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
