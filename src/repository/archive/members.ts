import { createHash } from 'node:crypto';
import { HoldfastError } from '../../errors.js';
import { comparePaths } from '../../platform/paths.js';
import { type Entry, parseEntry } from '../entry.js';
import type { ArchiveFormat, Member } from '../export/member.js';
import { abilitiesOf } from '../export/member.js';
import { placeChunks } from '../restore/file-content.js';
import type { PlannedChunk } from '../restore/plan-files.js';
import { targetOf } from '../restore/target-path.js';
import type { OwnChunks } from './own-chunks.js';

/** One source of the archive: its manifest's lines, and those of the full archive's where it builds on one. */
export interface ArchiveSource {
  /** The folder below `.holdfast`, for what has no path of its own. */
  within: string | undefined;
  lines: Iterable<string>;
  base: Iterable<string> | undefined;
}

export interface ArchiveContent {
  sources: Iterable<ArchiveSource>;
  format: ArchiveFormat;
  own: OwnChunks;
  /** A chunk's content, checked. */
  read(id: string): Promise<Buffer>;
  /** What `archive.json` in the archive says. */
  about: object;
  /** Called for every entry: throws when it is to stop. */
  tick(): void;
  warn(code: string, message: string, path: string): void;
}

/** Folder of what Holdfast itself puts into an archive. */
export const ownFolder = '.holdfast';
/** What the full archive has and this one's snapshot has not: names in the archive, each ended by a NUL. */
export const deletedMember = `${ownFolder}/deleted`;
export const aboutMember = `${ownFolder}/archive.json`;
const zeros = Buffer.alloc(1 << 20);

/**
 * The members of an archive. A full one has every entry; a differential one what is new or changed, and then the list of what
 * is gone. Each chunk's place, counted over the contents of all files one behind the other, is noted as it is written.
 */
export class ArchiveMembers {
  /** Bytes of content so far. */
  plain = 0;
  files = 0;
  deleted = 0;
  private readonly gone: Buffer[] = [];

  constructor(private readonly content: ArchiveContent) {}

  async *all(): AsyncGenerator<Member> {
    const { sources, about } = this.content;
    let differential = false;
    for (const source of sources) {
      if (source.base !== undefined) differential = true;
      yield* this.source(source);
    }
    if (differential) yield this.text(deletedMember, Buffer.concat(this.gone));
    yield this.text(aboutMember, Buffer.from(`${JSON.stringify({ ...about, deleted: this.deleted }, undefined, 2)}\n`));
  }

  private async *source({ within, lines, base }: ArchiveSource): AsyncGenerator<Member> {
    const { tick } = this.content;
    /** Names in this archive of files with several, to link the further ones to. */
    const firsts = new Set<string>();
    const old = base?.[Symbol.iterator]();
    let before = old?.next();
    const passOver = (): void => {
      if (before === undefined || before.done === true) return;
      this.noteGone(parseEntry(before.value), within);
      before = old?.next();
    };
    for (const line of lines) {
      tick();
      const entry = parseEntry(line);
      const path = pathOf(entry);
      while (before !== undefined && before.done !== true && comparePaths(pathOf(parseEntry(before.value)), path) < 0)
        passOver();
      const known = before?.done === false && comparePaths(pathOf(parseEntry(before.value)), path) === 0;
      const same = known && before?.value === line;
      if (known) before = old?.next();
      if (same) continue;
      const member = this.member(entry, path, within, firsts, base !== undefined);
      if (member) yield member;
    }
    while (before !== undefined && before.done !== true) passOver();
  }

  private noteGone(entry: Entry, within: string | undefined): void {
    const name = this.nameOf(pathOf(entry), within);
    this.gone.push(Buffer.from(name), Buffer.from([0]));
    this.deleted++;
  }

  private member(
    entry: Entry,
    path: string | Buffer,
    within: string | undefined,
    firsts: Set<string>,
    differential: boolean,
  ): Member | undefined {
    const { format, warn, own } = this.content;
    const abilities = abilitiesOf(format);
    const name = this.nameOf(path, within);
    if (name.length === 0) return undefined;
    const shown = path.toString();
    if (!abilities.types.has(entry.type)) {
      if (entry.type !== 'socket')
        warn(
          'NotInArchive',
          'a zip file cannot hold devices and named pipes; restored by Holdfast they are there',
          shown,
        );
      return undefined;
    }
    if (entry.xattrs && (!abilities.xattrs || entry.xattrs.some(([key, , as]) => as === 'base64' || key.includes('='))))
      warn(
        'XattrNotInArchive',
        'this format cannot hold some extended attributes; restored by Holdfast they are there',
        shown,
      );
    if (entry.type !== 'file') return { name, entry, size: 0, content: nothing };
    const chunks = (entry.chunks ?? []).map((id): PlannedChunk | undefined => {
      const place = own.place(id);
      return place && [id, 0, place.length, 0];
    });
    const whole = chunks.filter((chunk) => chunk !== undefined);
    // Only its metadata changed: its content is in the full archive.
    if (whole.length < chunks.length && differential) return undefined;
    if (whole.length < chunks.length || !placeChunks(entry, whole))
      throw new HoldfastError('SpoolLost', `${shown} is not whole in the spool`);
    const first = entry.hardlink64 === undefined ? entry.hardlink : Buffer.from(entry.hardlink64, 'base64');
    const key = (first ?? path).toString('latin1');
    this.files++;
    if (first !== undefined && abilities.hardLinks && firsts.has(key))
      return { name, entry, size: 0, linkTo: this.nameOf(first, within), content: nothing };
    if (first === undefined) firsts.add(key);
    const size = Number(entry.size);
    return { name, entry, size, content: () => this.file(whole, size) };
  }

  /** Where an entry lies in the archive. */
  private nameOf(path: string | Buffer, within: string | undefined): string | Buffer {
    const name = targetOf(path, within);
    const { format, warn } = this.content;
    const isOwn = within === undefined && (name === ownFolder || name.toString('latin1').startsWith(`${ownFolder}/`));
    if (isOwn) return this.unlike(name, path);
    if (typeof name === 'string' || abilitiesOf(format).rawNames) return name;
    warn(
      'NameNotInArchive',
      'a zip file cannot hold names that are not UTF-8; restored by Holdfast they are right',
      path.toString(),
    );
    return this.unlike(name, path);
  }

  /** A name that nothing else has, for what cannot have its own. */
  private unlike(name: string | Buffer, path: string | Buffer): string {
    return `${name.toString().replace(/^\.holdfast/, '_holdfast')}~${createHash('sha256').update(path).digest('hex').slice(0, 12)}`;
  }

  private async *file(chunks: readonly PlannedChunk[], size: number): AsyncGenerator<Buffer> {
    const { own, read, tick } = this.content;
    const begin = this.plain;
    this.plain += size;
    let at = 0;
    for (const [id, , length, to] of chunks) {
      tick();
      yield* zerosOf(to - at);
      own.setPlaced(id, begin + to);
      yield await read(id);
      at = to + length;
    }
    yield* zerosOf(size - at);
  }

  private text(name: string, bytes: Buffer): Member {
    const now = (BigInt(Date.now()) * 1_000_000n).toString();
    const entry: Entry = {
      path: `/${name}`,
      type: 'file',
      mode: 0o600,
      uid: 0,
      gid: 0,
      size: String(bytes.length),
      mtime: now,
      ctime: now,
      inode: '0',
    };
    const begin = (): void => {
      this.plain += bytes.length;
    };
    return {
      name,
      entry,
      size: bytes.length,
      content: async function* () {
        begin();
        if (bytes.length > 0) yield bytes;
      },
    };
  }
}

const pathOf = (entry: Entry): string | Buffer =>
  entry.path64 === undefined ? (entry.path ?? '') : Buffer.from(entry.path64, 'base64');

async function* nothing(): AsyncGenerator<Buffer> {}

function* zerosOf(count: number): Generator<Buffer> {
  for (let left = count; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length));
}
