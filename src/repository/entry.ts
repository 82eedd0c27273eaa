import { HoldfastError } from '../errors.js';

/** An extended attribute: its name and its value in base64; a name that is not UTF-8 is base64 too, and says so. */
export type XattrPair = [name: string, value64: string] | [name64: string, value64: string, encoding: 'base64'];

export const xattrPairs = (xattrs: Iterable<readonly [string | Buffer, Buffer]>): XattrPair[] =>
  Array.from(xattrs, ([name, value]): XattrPair => {
    const value64 = value.toString('base64');
    return typeof name === 'string' ? [name, value64] : [name.toString('base64'), value64, 'base64'];
  });

export type EntryType = 'dir' | 'file' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block';

/**
 * One line of a manifest. Times are nanoseconds since 1970 as decimal strings, sizes bytes as decimal strings.
 * What is not UTF-8 is base64 in the `...64` key instead of the plain one.
 */
export interface Entry {
  path?: string;
  path64?: string;
  type: EntryType;
  /** The file was modified within 2 s of its reading, or while it was read: never taken as unchanged. */
  recheck?: true;
  /** The file changed each time it was read: its content may mix two states. */
  changed?: true;
  mode: number;
  uid: number;
  gid: number;
  user?: string;
  group?: string;
  size?: string;
  mtime: string;
  ctime: string;
  inode: string;
  /** Major and minor numbers packed as the system's dev_t, decimal, for `char` and `block`. */
  rdev?: string;
  target?: string;
  target64?: string;
  /** For the second and later names of a file: the first one's path. */
  hardlink?: string;
  hardlink64?: string;
  xattrs?: XattrPair[];
  /** Ranges [offset, length] without data, decimal strings, ascending; `chunks` covers only what lies between. */
  holes?: [offset: string, length: string][];
  chunks?: string[];
}

/** The raw bytes of an entry's path, shown as a string where they are UTF-8. */
export function entryPath(entry: Entry): string {
  return entry.path ?? Buffer.from(entry.path64 ?? '', 'base64').toString('utf8');
}

export function entryPathBytes(entry: Entry): Buffer {
  return entry.path64 === undefined ? Buffer.from(entry.path ?? '', 'utf8') : Buffer.from(entry.path64, 'base64');
}

/**
 * Metadata part of an entry's line, without the closing brace. What follows it in the line is only
 * target, hardlink, xattrs, holes and chunks, so two lines with equal heads describe an unchanged file.
 */
export function entryHead(entry: Entry): string {
  const path = entry.path64 === undefined ? `"path":${JSON.stringify(entry.path)}` : `"path64":"${entry.path64}"`;
  const names =
    (entry.user === undefined ? '' : `,"user":${JSON.stringify(entry.user)}`) +
    (entry.group === undefined ? '' : `,"group":${JSON.stringify(entry.group)}`);
  const marks = (entry.recheck ? ',"recheck":true' : '') + (entry.changed ? ',"changed":true' : '');
  const size = entry.size === undefined ? '' : `,"size":"${entry.size}"`;
  const rdev = entry.rdev === undefined ? '' : `,"rdev":"${entry.rdev}"`;
  return (
    `{${path},"type":"${entry.type}"${marks},"mode":${entry.mode},"uid":${entry.uid},"gid":${entry.gid}${names}` +
    `${size},"mtime":"${entry.mtime}","ctime":"${entry.ctime}","inode":"${entry.inode}"${rdev}`
  );
}

/** The entry as one line of the manifest, without the line end. Keys always come in the same order. */
export function entryLine(entry: Entry): string {
  let line = entryHead(entry);
  if (entry.target !== undefined) line += `,"target":${JSON.stringify(entry.target)}`;
  if (entry.target64 !== undefined) line += `,"target64":"${entry.target64}"`;
  if (entry.hardlink !== undefined) line += `,"hardlink":${JSON.stringify(entry.hardlink)}`;
  if (entry.hardlink64 !== undefined) line += `,"hardlink64":"${entry.hardlink64}"`;
  if (entry.xattrs !== undefined) line += `,"xattrs":${JSON.stringify(entry.xattrs)}`;
  if (entry.holes !== undefined) line += `,"holes":${JSON.stringify(entry.holes)}`;
  if (entry.chunks !== undefined) line += `,"chunks":${chunkList(entry.chunks)}`;
  return `${line}}`;
}

function chunkList(chunks: string[]): string {
  if (chunks.length === 0) return '[]';
  return `["${chunks.join('","')}"]`;
}

const types: ReadonlySet<string> = new Set(['dir', 'file', 'symlink', 'fifo', 'socket', 'char', 'block']);
const decimal = /^-?\d{1,20}$/;
const hex64 = /^[0-9a-f]{64}$/;

/**
 * Parses and checks one manifest line.
 * @throws HoldfastError IntegrityMismatch when it is not a well-formed entry.
 */
export function parseEntry(line: string): Entry {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw malformed(line, 'is not JSON', error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(line, 'is not an object');
  const entry = value as Record<string, unknown>;
  const one = (a: string, b: string, need: boolean): void => {
    const first = entry[a];
    const second = entry[b];
    // Written without arrays: every line of every manifest passes here.
    const only = first === undefined ? second : first;
    const both = first !== undefined && second !== undefined;
    if (both || (only === undefined ? need : typeof only !== 'string')) {
      throw malformed(line, `needs one string in ${a} or ${b}`);
    }
  };
  if (typeof entry.type !== 'string' || !types.has(entry.type)) throw malformed(line, 'has an unknown type');
  one('path', 'path64', true);
  one('target', 'target64', entry.type === 'symlink');
  one('hardlink', 'hardlink64', false);
  for (const key of ['mode', 'uid', 'gid']) {
    const number = entry[key];
    if (!Number.isInteger(number) || (number as number) < 0 || (number as number) > 0xffffffff) {
      throw malformed(line, `has a bad ${key}`);
    }
  }
  for (const key of ['mtime', 'ctime', 'inode', 'size', 'rdev']) {
    const text = entry[key];
    if (text === undefined && key !== 'mtime') continue;
    if (typeof text !== 'string' || !decimal.test(text)) throw malformed(line, `has a bad ${key}`);
  }
  if (entry.type === 'file') {
    const chunks = entry.chunks;
    if (!Array.isArray(chunks) || !chunks.every((id) => typeof id === 'string' && hex64.test(id))) {
      throw malformed(line, 'has bad chunks');
    }
    if (entry.size === undefined || (entry.size as string).startsWith('-')) throw malformed(line, 'has a bad size');
  }
  for (const key of ['user', 'group']) {
    if (entry[key] !== undefined && typeof entry[key] !== 'string') throw malformed(line, `has a bad ${key}`);
  }
  for (const key of ['recheck', 'changed']) {
    if (entry[key] !== undefined && entry[key] !== true) throw malformed(line, `has a bad ${key}`);
  }
  checkPairs(line, entry.xattrs, 'xattrs', () => true);
  checkPairs(line, entry.holes, 'holes', (text) => decimal.test(text) && !text.startsWith('-'));
  if (entry.path === '' || entry.path64 === '') throw malformed(line, 'has no path');
  return value as Entry;
}

function checkPairs(line: string, pairs: unknown, key: string, valid: (text: string) => boolean): void {
  if (pairs === undefined) return;
  const good =
    Array.isArray(pairs) &&
    pairs.every(
      (pair) =>
        Array.isArray(pair) &&
        (pair.length === 2 || (pair.length === 3 && pair[2] === 'base64')) &&
        pair.every((text) => typeof text === 'string' && valid(text)),
    );
  if (!good) throw malformed(line, `has bad ${key}`);
}

function malformed(line: string, what: string, cause?: unknown): HoldfastError {
  return new HoldfastError('IntegrityMismatch', `manifest line ${JSON.stringify(line.slice(0, 120))} ${what}`, {
    cause,
  });
}
