import type { DiffDocument, EntryDocument, SnapshotDocument } from '../../control/snapshots.js';
import { humanBytes, humanCount, localTime } from './format.js';
import { type Column, printable, table } from './table.js';

const letters: Readonly<Record<string, string>> = {
  dir: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  char: 'c',
  block: 'b',
};

/** `-rw-r--r--`, with setuid, setgid and sticky bits as ls shows them. */
export function modeText(type: string, mode: number): string {
  const bit = (mask: number, letter: string) => ((mode & mask) === 0 ? '-' : letter);
  const special = (execute: number, mask: number, letter: string) => {
    if ((mode & mask) === 0) return bit(execute, 'x');
    return (mode & execute) === 0 ? letter.toUpperCase() : letter;
  };
  return [
    letters[type] ?? '-',
    bit(0o400, 'r'),
    bit(0o200, 'w'),
    special(0o100, 0o4000, 's'),
    bit(0o040, 'r'),
    bit(0o020, 'w'),
    special(0o010, 0o2000, 's'),
    bit(0o004, 'r'),
    bit(0o002, 'w'),
    special(0o001, 0o1000, 't'),
  ].join('');
}

/** One line of `ls`. */
export function entryLine(entry: EntryDocument): string {
  const { type, mode, user, uid, group, gid, size, mtime, path, target, hardlink } = entry;
  const owner = `${user ?? uid}:${group ?? gid}`;
  const bytes = size === undefined ? '-' : humanCount(size);
  const link = target !== undefined ? ` -> ${target}` : hardlink === undefined ? '' : ` (same as ${hardlink})`;
  return printable(
    `${modeText(type, mode)} ${owner.padEnd(13)} ${bytes.padStart(13)} ${localTime(mtime)} ${path}${link}`,
  );
}

const signs: Readonly<Record<DiffDocument['change'], string>> = {
  added: '+',
  removed: '-',
  changed: 'M',
  metadata: 'm',
};

/** One line of `diff`: + added, - removed, M changed, m only its metadata. */
export function diffLine({ change, path, type, what, size }: DiffDocument): string {
  const end = type === 'dir' ? '/' : '';
  const details = [
    ...(what === undefined ? [] : [what.join(', ')]),
    ...(size?.before !== undefined && size.after !== undefined && size.before !== size.after
      ? [`${humanBytes(size.before)} -> ${humanBytes(size.after)}`]
      : []),
  ];
  return printable(`${signs[change]} ${path}${end}${details.length === 0 ? '' : ` (${details.join('; ')})`}`);
}

const columns: Column<SnapshotDocument>[] = [
  { title: 'SNAPSHOT', value: (row) => row.id },
  { title: 'JOB', value: (row) => row.job },
  { title: 'TIME', value: (row) => localTime(row.time) },
  { title: 'MODE', value: (row) => row.mode },
  { title: 'FILES', value: (row) => humanCount(row.files), align: 'right' },
  { title: 'SIZE', value: (row) => humanBytes(row.bytes), align: 'right' },
  { title: 'ADDED', value: (row) => (row.added === null ? '-' : humanBytes(row.added)), align: 'right' },
  { title: 'AT', value: (row) => row.destinations.join(', ') || '-' },
  {
    title: '',
    value: (row) =>
      [
        ...(row.archive === undefined ? [] : [row.archive.name]),
        ...(row.complete ? [] : ['incomplete']),
        ...(row.pinned ? ['pinned'] : []),
      ].join(', '),
  },
];

export function snapshotsTable(snapshots: readonly SnapshotDocument[]): string {
  return table(snapshots, columns, 'no snapshots yet');
}
