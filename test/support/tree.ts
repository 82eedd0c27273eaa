import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { listXattrs } from '../../src/platform/xattrs.js';

/** Small, fast and seeded: the same bytes and choices for the same seed. */
export class Random {
  constructor(private state: number) {}

  /** 0 <= x < 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** Bytes that do not compress. */
  bytes(length: number): Buffer {
    const words = new Uint32Array(Math.ceil(length / 4));
    for (let i = 0; i < words.length; i++) words[i] = Math.floor(this.next() * 4294967296);
    return Buffer.from(words.buffer, 0, length);
  }
}

export interface TreeSize {
  /** Small files, of up to 20 kB. */
  small: number;
  /** Incompressible files of 4 MB. */
  big: number;
}

/** Fills `folder` with files of every kind: small and big ones, links, modes, times, attributes. */
export function makeTree(folder: string, random: Random, size: TreeSize): void {
  for (let i = 0; i < size.small; i++) {
    const path = join(folder, `d${i % 17}`, `e${i % 5}`, `small-${i}`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, random.bytes(random.below(20_000)));
    if (i % 7 === 0) chmodSync(path, 0o640);
    if (i % 3 === 0) utimesSync(path, 1_500_000_000 + i, 1_600_000_000.5 + i);
  }
  for (let i = 0; i < size.big; i++)
    writeFileSync(join(folder, `big-${i}`), random.bytes(4_000_000 + random.below(50_000)));
  mkdirSync(join(folder, 'empty folder'));
  writeFileSync(join(folder, 'empty file'), '');
  symlinkSync('d1/nowhere', join(folder, 'a link'));
  lutimesSync(join(folder, 'a link'), 1_000_000_000, 1_000_000_001);
  linkSync(join(folder, 'd0/e0/small-0'), join(folder, 'hard link'));
  chmodSync(join(folder, 'd2'), 0o1777);
  try {
    execFileSync('setfattr', ['-n', 'user.holdfast', '-v', 'value', join(folder, 'empty file')], { stdio: 'ignore' });
  } catch {
    // Not every temporary folder keeps attributes.
  }
}

/** One line for every entry below `folder`: kind, mode, owner, size, time to the ns, target, attributes, content. */
export function describeTree(folder: string): string[] {
  const lines: string[] = [];
  const firsts = new Map<bigint, string>();
  const visit = (path: string, name: string): void => {
    const info = lstatSync(path, { bigint: true });
    const parts = [name, info.mode.toString(8), `${info.uid}:${info.gid}`, info.mtimeNs.toString()];
    for (const [key, value] of listXattrs(path)) parts.push(`${key.toString()}=${value.toString('hex')}`);
    if (info.isSymbolicLink()) parts.push(readlinkSync(path));
    if (info.isFile()) {
      parts.push(info.size.toString(), contentHash(path));
      if (info.nlink > 1n) {
        const first = firsts.get(info.ino) ?? name;
        firsts.set(info.ino, first);
        parts.push(`= ${first}`);
      }
    }
    lines.push(parts.join(' '));
    if (info.isDirectory()) for (const child of readdirSync(path).sort()) visit(join(path, child), `${name}/${child}`);
  };
  visit(folder, '.');
  return lines;
}

function contentHash(path: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(1 << 22);
  const fd = openSync(path, 'r');
  for (let read = readSync(fd, buffer); read > 0; read = readSync(fd, buffer)) hash.update(buffer.subarray(0, read));
  closeSync(fd);
  return hash.digest('hex');
}

/** Every file below `folder` that is a repository's object, with what changes when it is written again. */
export class Ledger {
  private readonly known = new Map<string, string>();

  constructor(private readonly folder: string) {}

  /** Takes down what is there now. */
  look(): void {
    for (const [path, identity] of this.packs()) if (!this.known.has(path)) this.known.set(path, identity);
  }

  /** Packs that were there at some look and have been written again, or are gone. */
  rewritten(): string[] {
    const now = new Map(this.packs());
    return [...this.known].filter(([path, identity]) => now.get(path) !== identity).map(([path]) => path);
  }

  count(): number {
    return this.packs().length;
  }

  /** Packs that nobody saw being stored at the last look. */
  fresh(): number {
    return this.packs().filter(([path]) => !this.known.has(path)).length;
  }

  private packs(): [string, string][] {
    let names: string[];
    try {
      names = readdirSync(this.folder, { recursive: true, encoding: 'utf8' });
    } catch {
      return [];
    }
    return names.flatMap((name): [string, string][] => {
      if (!/\/packs\/[0-9a-f]{2}\/[0-9a-f]{64}$/.test(`/${name}`)) return [];
      const info = statSync(join(this.folder, name), { bigint: true, throwIfNoEntry: false });
      return info === undefined ? [] : [[name, `${info.ino} ${info.mtimeNs} ${info.size}`]];
    });
  }
}
