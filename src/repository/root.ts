import { HoldfastError } from '../errors.js';
import { type ArchiveFormat, archiveFormats } from './export/member.js';
import { sha256Hex } from './hash.js';
import { archiveNameOf, archiveObject } from './layout.js';
import { parseUntrusted } from './untrusted-json.js';

export type SnapshotMode = 'full' | 'differential' | 'incremental';

/** One manifest chunk of a source, with the path of its first entry. */
export interface ManifestPart {
  chunk: string;
  path?: string;
  path64?: string;
}

export interface SourceResult {
  name: string;
  type: string;
  paths: string[];
  /** Everything the source names was read. */
  complete: boolean;
  files: number;
  entries: number;
  /** Content bytes. */
  bytes: number;
  unreadable: number;
  error?: { code: string; message: string };
  manifest: ManifestPart[];
}

/** The archive that holds a snapshot's content, where that is not in packs. */
export interface RootArchive {
  /** SHA-256 of the stored file, hex: the pack that the indexes list it as. */
  pack: string;
  /** In `archives/`. */
  name: string;
  type: ArchiveFormat;
  encrypted: boolean;
  /** Stored bytes. */
  size: number;
  /** Of a differential archive: the snapshot and name of the full one that it builds on. */
  base?: { snapshot: string; name: string };
  /** Paths that the full one has and this snapshot has not. */
  deleted: number;
}

/** A snapshot's root: the record that makes it exist. */
export interface Root {
  format: 1;
  id: string;
  repository: string;
  host: string;
  job: string;
  seq: number;
  /** The preceding root: its id and the SHA-256 of its JSON. */
  previous?: { id: string; sha256: string };
  /** The revision of the key file when it was written: an older one that is found later was put back. */
  keyRevision?: number;
  run: string;
  time: string;
  endedAt: string;
  mode: SnapshotMode;
  generation: string;
  /** When the generation began, ISO. */
  began?: string;
  /** Stored bytes of the packs that this run's own index lists. */
  added?: number;
  /** Ids of the indexes in which this snapshot's chunks resolve, and only there. */
  indexes: string[];
  /** Of jobs with `format: archive`. */
  archive?: RootArchive;
  complete: boolean;
  files: number;
  bytes: number;
  sources: SourceResult[];
  /** The job's config, references instead of secrets. */
  config: unknown;
  pinned?: boolean;
  version: string;
}

const maxDepth = 64;
export const rootLimit = 256 * 1024 * 1024;
/** Manifest chunks that one root lists: those of about 25 million files. Each takes some hundred bytes of every reader's memory. */
export const partLimit = 1_000_000;
/** A list's comma, an object, and the comma in it for each manifest chunk; the rest is the config and the indexes. */
const rootValues = 3 * partLimit + 500_000;
export const rootBytes = (root: Root): Buffer => Buffer.from(`${JSON.stringify(root)}\n`, 'utf8');
export const rootHash = (json: Uint8Array): string => sha256Hex(json);

const id16 = /^[0-9a-f]{16}$/;
const hex64 = /^[0-9a-f]{64}$/;

const isCount = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value >= 0;

function isArchive(archive: unknown): archive is RootArchive {
  if (typeof archive !== 'object' || archive === null) return false;
  const { pack, name, type, encrypted, size, base, deleted } = archive as Partial<RootArchive>;
  const isName = (value: unknown): boolean =>
    typeof value === 'string' && archiveNameOf(archiveObject(value)) === value;
  return (
    typeof pack === 'string' &&
    hex64.test(pack) &&
    isName(name) &&
    archiveFormats.some((known) => known === type) &&
    typeof encrypted === 'boolean' &&
    isCount(size) &&
    isCount(deleted) &&
    (base === undefined ||
      (typeof base === 'object' && typeof base?.snapshot === 'string' && id16.test(base.snapshot) && isName(base.name)))
  );
}

/**
 * Parses a root and checks every field readers rely on.
 * @throws HoldfastError IntegrityMismatch naming the object.
 */
export function parseRoot(json: Buffer, name: string): Root {
  const bad = (what: string): HoldfastError => new HoldfastError('IntegrityMismatch', `${name} ${what}`);
  const value = parseUntrusted(json, maxDepth, rootValues);
  if (value === undefined) throw bad('is not JSON, or has more values or levels than any root');
  if (typeof value !== 'object' || value === null) throw bad('is not an object');
  const root = value as Partial<Root>;
  if (root.format !== 1) throw bad(`has format ${JSON.stringify(root.format)}; this version reads format 1`);
  if (typeof root.id !== 'string' || !id16.test(root.id)) throw bad('has no id');
  if (!Number.isSafeInteger(root.seq) || (root.seq ?? -1) < 1) throw bad('has no seq');
  for (const key of ['repository', 'host', 'job', 'run', 'time', 'endedAt', 'generation'] as const) {
    if (typeof root[key] !== 'string') throw bad(`has no ${key}`);
  }
  if (Number.isNaN(Date.parse(root.time ?? ''))) throw bad('has a bad time');
  if (root.mode !== 'full' && root.mode !== 'differential' && root.mode !== 'incremental') throw bad('has a bad mode');
  if (root.began !== undefined && (typeof root.began !== 'string' || Number.isNaN(Date.parse(root.began)))) {
    throw bad('has a bad began');
  }
  if (root.added !== undefined && !isCount(root.added)) throw bad('has a bad added');
  if (!Array.isArray(root.indexes) || !root.indexes.every((id) => typeof id === 'string' && id16.test(id))) {
    throw bad('has bad indexes');
  }
  if (root.archive !== undefined && !isArchive(root.archive)) throw bad('has a bad archive');
  if (typeof root.complete !== 'boolean') throw bad('does not say whether it is complete');
  if (root.keyRevision !== undefined && !isCount(root.keyRevision)) throw bad('has a bad keyRevision');
  for (const key of ['files', 'bytes'] as const) if (!isCount(root[key])) throw bad(`has bad ${key}`);
  const { previous } = root;
  if (previous !== undefined && (typeof previous?.id !== 'string' || typeof previous.sha256 !== 'string')) {
    throw bad('has a bad previous');
  }
  if (!Array.isArray(root.sources)) throw bad('has no sources');
  let parts = 0;
  for (const source of root.sources) {
    const fine =
      typeof source?.name === 'string' &&
      typeof source.type === 'string' &&
      Array.isArray(source.paths) &&
      source.paths.every((one: unknown) => typeof one === 'string') &&
      typeof source.complete === 'boolean' &&
      [source.files, source.entries, source.bytes, source.unreadable].every(isCount) &&
      Array.isArray(source.manifest);
    if (!fine) throw bad('has a bad source');
    parts += source.manifest.length;
    if (parts > partLimit) throw bad(`lists more than ${partLimit.toLocaleString('en')} manifest chunks`);
    for (const part of source.manifest) {
      if (typeof part?.chunk !== 'string' || !hex64.test(part.chunk)) throw bad('has a bad manifest chunk');
      if ((typeof part.path === 'string') === (typeof part.path64 === 'string')) throw bad('has a bad manifest path');
    }
  }
  return value as Root;
}
