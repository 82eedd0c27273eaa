import { randomUUID } from 'node:crypto';
import { isArchiveEncrypted } from '../config/archives.js';
import type { Config, JobConfig } from '../config/schema.js';
import { machineTimezone } from '../config/timezone.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import { archiveObject } from '../repository/layout.js';
import type { SnapshotMode } from '../repository/root.js';
import type { BackupOptions } from '../workflows/types.js';
import type { Basis } from './begin.js';
import type { BegunArchive } from './run-context.js';

/** What an archive builds on: nothing, or the newest full one that is whole and still stored somewhere. */
export function chooseArchiveBasis(
  catalog: Catalog,
  job: JobConfig,
  options: BackupOptions,
  startedAt: string,
): Basis & { base?: SnapshotRow } {
  const wanted: SnapshotMode = options.full ? 'full' : options.differential ? 'differential' : job.mode;
  const base = wanted === 'differential' ? catalog.snapshots().find((row) => isBase(catalog, row)) : undefined;
  const isOld = base !== undefined && job.renewEvery !== undefined && age(base, startedAt) >= job.renewEvery;
  if (base === undefined || isOld)
    return { mode: 'full', generation: randomUUID(), began: startedAt, indexes: [], parents: {} };
  const known = new Set(catalog.indexes());
  const sources = job.sources.filter(({ name }) => base.root.sources.some((source) => source.name === name));
  return {
    mode: 'differential',
    generation: base.root.generation,
    began: base.root.began ?? base.root.time,
    indexes: catalog.effective(base.root.indexes).filter((id) => known.has(id)),
    parents: Object.fromEntries(sources.map(({ name }) => [name, base.id])),
    base,
  };
}

const age = ({ root }: SnapshotRow, now: string): number => Date.parse(now) - Date.parse(root.began ?? root.time);

function isBase(catalog: Catalog, { root }: SnapshotRow): boolean {
  const { archive } = root;
  if (archive === undefined || root.mode !== 'full' || !root.complete) return false;
  return !catalog.isMarked(archive.pack) && catalog.holders(archiveObject(archive.name)).length > 0;
}

/** Names the archive of a run that begins now, with a name that no other has at any destination. */
export function planArchive(
  catalog: Catalog,
  config: Config,
  jobName: string,
  job: JobConfig,
  run: { mode: SnapshotMode; startedAt: string; base?: SnapshotRow },
): BegunArchive | undefined {
  const { archive } = job;
  if (archive === undefined) return undefined;
  const { mode, startedAt, base } = run;
  const timezone = job.schedule !== undefined && 'cron' in job.schedule ? job.schedule.timezone : machineTimezone();
  const [date = '', time = ''] = wallClock(new Date(startedAt), timezone);
  const template = archive.name ?? (job.mode === 'differential' ? '{job}-{date}-{mode}' : '{job}-{date}');
  const values: Record<string, string> = { job: jobName, host: config.host, date, time, mode };
  const stem = template.replace(/\{(\w+)\}/g, (_, key: string) => values[key] ?? '').slice(0, 180);
  const isTaken = (name: string): boolean =>
    catalog.packAt(archiveObject(name)) !== undefined || catalog.holders(archiveObject(name)).length > 0;
  let name = `${stem}.${archive.type}`;
  for (let count = 2; isTaken(name); count++) name = `${stem}-${count}.${archive.type}`;
  return {
    name,
    type: archive.type,
    encrypted: isArchiveEncrypted(config, archive),
    ...(base?.root.archive ? { base: { snapshot: base.id, name: base.root.archive.name } } : {}),
  };
}

/** `2026-11-22` and `030000`, as a clock on the wall there shows. */
function wallClock(time: Date, timezone: string): string[] {
  const text = new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, dateStyle: 'short', timeStyle: 'medium' }).format(
    time,
  );
  return text.split(' ').map((part, at) => (at === 0 ? part : part.replaceAll(':', '')));
}
