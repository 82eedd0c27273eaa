import { createHash } from 'node:crypto';
import { createWriteStream, existsSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HoldfastError } from '../errors.js';
import { Catalog, type SnapshotRow } from '../repository/catalog.js';
import { archiveNameOf } from '../repository/layout.js';
import { PackReader, scopeOf } from '../repository/reader.js';
import { entriesOf } from '../repository/restore/entries.js';
import { PathFilter } from '../repository/restore/path-filter.js';
import type { Store } from '../repository/store.js';
import type { RestoreRepository, TaskRunner } from './restore-run.js';
import { readJson, writeJson } from './threads/line-writer.js';

const folderOf = (scratch: string): string => path.join(scratch, 'archive');
const files = {
  catalog: (scratch: string) => path.join(folderOf(scratch), 'catalog.db'),
  packs: (scratch: string) => path.join(folderOf(scratch), 'packs'),
  stored: (scratch: string) => path.join(folderOf(scratch), 'stored'),
  done: (scratch: string) => path.join(folderOf(scratch), 'done.json'),
} as const;

export interface HydrateStep {
  scratch: string;
  tasks: TaskRunner;
  signal: AbortSignal;
  /** Told of what is wrong with an archive. */
  warn(code: string, message: string): void;
}

/**
 * A repository that has the wanted content of a snapshot that lies in archives: it is fetched and put into packs in the scratch
 * folder once, every piece checked against its hash. Any other snapshot's repository is given back as it is.
 *
 * @throws HoldfastError a retryable one when no destination can be reached; SecretMissing, PassphraseWrong.
 */
export async function withContent(
  step: HydrateStep,
  repository: RestoreRepository,
  row: SnapshotRow,
  paths: readonly string[],
): Promise<RestoreRepository> {
  if (row.root.archive === undefined) return repository;
  if (!existsSync(files.done(step.scratch))) await hydrate(step, repository, row, paths);
  for (const message of readJson<string[]>(files.done(step.scratch)) ?? []) step.warn('ArchiveDamaged', message);
  return openHydrated(step.scratch, repository);
}

/** The same for a later step of what `withContent` began. */
export function openHydrated(scratch: string, repository: RestoreRepository): RestoreRepository {
  if (!existsSync(files.done(scratch))) return repository;
  const packs = files.packs(scratch);
  return { ...repository, catalog: new Catalog(files.catalog(scratch)), local: (pack) => path.join(packs, pack) };
}

async function hydrate(
  step: HydrateStep,
  repository: RestoreRepository,
  row: SnapshotRow,
  paths: readonly string[],
): Promise<void> {
  const { scratch, signal, tasks } = step;
  rmSync(folderOf(scratch), { recursive: true, force: true });
  mkdirSync(files.packs(scratch), { recursive: true, mode: 0o700 });
  const { catalog: real, key } = repository;
  const [index = ''] = row.root.indexes;
  const problems: string[] = [];
  const archives: string[] = [];
  const catalog = new Catalog(files.catalog(scratch));
  try {
    catalog.putSnapshot(row);
    for (const packRow of [...real.expand(row.root.indexes)].flatMap((id) => real.packsOf(id))) {
      if (packRow.kind === 'archive') {
        if (!archives.includes(packRow.hash)) archives.push(packRow.hash);
        continue;
      }
      const listed = real.indexPack(packRow.hash);
      if (listed) catalog.addPacks(index, [listed]);
      for (const holder of real.holders(real.objectOf(packRow.hash)))
        catalog.addPresence(holder, real.objectOf(packRow.hash), packRow.size);
    }
    await noteWanted(step, repository, catalog, row, paths);
    // What the snapshot's own archive has is taken from there.
    const own = row.root.archive?.pack;
    archives.sort((a, b) => Number(b === own) - Number(a === own));
  } finally {
    catalog.close();
  }
  for (const archive of archives) {
    // What another archive could not give as well.
    if (!noteTodo(real, files.catalog(scratch), archive)) continue;
    const name = archiveNameOf(real.objectOf(archive)) ?? '';
    const found = await download(repository, archive, files.stored(scratch), signal);
    problems.push(...found);
    const problem = await tasks.run('hydrateTask', {
      file: files.stored(scratch),
      name,
      pack: archive,
      key,
      password: await repository.archivePassword?.(),
      catalog: files.catalog(scratch),
      packs: files.packs(scratch),
      index,
    });
    if (problem !== undefined) problems.push(`${name} is damaged: ${problem}`);
    rmSync(files.stored(scratch), { force: true });
  }
  writeJson(files.done(scratch), problems);
}

/** Notes the chunks of every entry that is asked for. */
async function noteWanted(
  { signal }: HydrateStep,
  { catalog: real, stores, key }: RestoreRepository,
  catalog: Catalog,
  { root }: SnapshotRow,
  paths: readonly string[],
): Promise<void> {
  catalog.db.exec(`
    CREATE TABLE wanted (id BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE todo (archive TEXT NOT NULL, at INTEGER NOT NULL, id BLOB NOT NULL, length INTEGER NOT NULL,
      PRIMARY KEY (archive, at)) WITHOUT ROWID;
  `);
  const add = catalog.db.prepare('INSERT OR IGNORE INTO wanted VALUES (?)');
  const reader = new PackReader({ key, stores, signal, holders: (name) => real.holders(name) });
  const filter = new PathFilter(paths);
  for (const { manifest } of root.sources) {
    // What of the list is lost the restore itself finds and names.
    const entries = entriesOf(reader, scopeOf(real, root), [manifest], filter, () => undefined);
    catalog.db.exec('BEGIN');
    for await (const { entry } of entries) {
      signal.throwIfAborted();
      for (const id of entry.chunks ?? []) add.run(Buffer.from(id, 'hex'));
    }
    catalog.db.exec('COMMIT');
  }
}

/** Notes what is still to be taken from an archive, in its order; false when that is nothing. */
function noteTodo(real: Catalog, file: string, archive: string): boolean {
  const catalog = new Catalog(file);
  try {
    return noteMissing(real, catalog, archive);
  } finally {
    catalog.close();
  }
}

function noteMissing(real: Catalog, catalog: Catalog, archive: string): boolean {
  const places = real.db
    .prepare<[string], { id: Buffer; at: number; length: number }>(
      'SELECT id, at, length FROM chunks WHERE pack = (SELECT no FROM packs WHERE hash = ?) ORDER BY at',
    )
    .iterate(archive);
  const isMissing = catalog.db.prepare(
    'SELECT 1 FROM wanted WHERE id = ? AND NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.id = wanted.id)',
  );
  const add = catalog.db.prepare('INSERT OR REPLACE INTO todo VALUES (?, ?, ?, ?)');
  catalog.db.exec('BEGIN');
  let any = false;
  for (const { id, at, length } of places) {
    if (isMissing.get(id) === undefined) continue;
    add.run(archive, at, id, length);
    any = true;
  }
  catalog.db.exec('COMMIT');
  return any;
}

/**
 * Fetches an archive from whichever destination has it whole; where none has, a damaged one, which may still hold most of it.
 * @returns what was wrong on the way.
 * @throws HoldfastError a retryable one when one that might have it can't be asked now; ObjectMissing.
 */
export async function download(
  { catalog, stores }: Pick<RestoreRepository, 'catalog' | 'stores'>,
  archive: string,
  file: string,
  signal: AbortSignal,
  onProgress: (bytes: number) => void = () => undefined,
): Promise<string[]> {
  const object = catalog.objectOf(archive);
  const known = new Set(catalog.holders(object));
  const problems: string[] = [];
  const damaged: Store[] = [];
  let later: HoldfastError | undefined;
  for (const store of [...stores].sort((a, b) => Number(known.has(b.name)) - Number(known.has(a.name)))) {
    try {
      if ((await fetchTo(store, object, file, signal, onProgress)) === archive) return problems;
      damaged.push(store);
      problems.push(`${store.name}: ${store.key(object)} is damaged`);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code === 'Cancelled') throw error;
      if (error.retryable) later ??= error;
      problems.push(`${store.name}: ${error.message}`);
    }
  }
  if (later) throw later;
  const [some] = damaged;
  if (!some)
    throw new HoldfastError('ObjectMissing', `no destination has ${object}: ${problems.join('; ')}`, {
      hint: 'Add a destination that still has it, or restore an older snapshot.',
      retryable: false,
    });
  await fetchTo(some, object, file, signal, onProgress);
  return problems;
}

/** @returns the SHA-256 of what was fetched. */
async function fetchTo(
  store: Store,
  object: string,
  file: string,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<string> {
  const hash = createHash('sha256');
  const meter = new Transform({
    transform(part: Buffer, _encoding, done) {
      hash.update(part);
      onProgress(part.length);
      done(null, part);
    },
  });
  await pipeline(
    await store.destination.get(store.key(object), { signal }),
    meter,
    createWriteStream(file, { mode: 0o600 }),
  );
  return hash.digest('hex');
}
