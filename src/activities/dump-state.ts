import path from 'node:path';
import { bootId } from '../platform/boot.js';
import type { DatabaseWarning, DumpReport } from '../sources/database.js';
import { dumpPath } from '../sources/dump-paths.js';
import type { RunContext } from './run-context.js';
import { readJson } from './threads/line-writer.js';
import { spoolFiles } from './threads/spool-files.js';

/** What a run's spool knows of one source's dumps. */
export interface DumpList {
  boot: string;
  server: string;
  databases: { name: string; estimatedBytes: number }[];
  warnings: DatabaseWarning[];
}

export interface DumpRecord {
  boot: string;
  report: DumpReport;
  /** Paths of the snapshot that hold it. */
  paths: string[];
}

export interface DumpFailure {
  code: string;
  message: string;
}

export const dumpFiles = {
  list: (state: string) => path.join(state, 'list.json'),
  record: (state: string, index: number) => path.join(state, `${index}.json`),
  failure: (state: string, index: number | 'list') => path.join(state, `${index}.failed.json`),
  temp: (state: string, index: number | 'list') => path.join(state, `temp-${index}`),
  processes: (state: string, index: number | 'list') => path.join(state, `processes-${index}`),
} as const;

/** Where a database is stored: its dump's folder; a SQLite file also at its own path. */
export function storedPaths(source: string, report: Pick<DumpReport, 'kind' | 'database'>): string[] {
  const folder = dumpPath(source, report.database);
  return report.kind === 'sqlite' ? [folder, report.database] : [folder];
}

/** The source's list of databases, when this boot made it. */
export function listOf(context: RunContext, source: number): DumpList | undefined {
  const list = readJson<DumpList>(dumpFiles.list(spoolFiles.dumpState(context.folder, source)));
  return list?.boot === bootId() ? list : undefined;
}

/** The record of a database that was dumped, when this boot did it. */
export function recordOf(context: RunContext, source: number, index: number): DumpRecord | undefined {
  const record = readJson<DumpRecord>(dumpFiles.record(spoolFiles.dumpState(context.folder, source), index));
  return record?.boot === bootId() ? record : undefined;
}

export interface DumpOutcome {
  paths: string[];
  warnings: DatabaseWarning[];
  failure?: DumpFailure;
}

/** What became of a source's dumps: where the good ones are stored, and why others are missing. */
export function dumpOutcome(context: RunContext, source: number): DumpOutcome {
  const state = spoolFiles.dumpState(context.folder, source);
  const list = listOf(context, source);
  if (!list) {
    const failure = readJson<DumpFailure>(dumpFiles.failure(state, 'list'));
    return {
      paths: [],
      warnings: [],
      failure: failure ?? { code: 'SourceFailed', message: 'its databases could not be listed' },
    };
  }
  const outcome: DumpOutcome = { paths: [], warnings: [...list.warnings] };
  const failures: DumpFailure[] = [];
  for (const [index, { name }] of list.databases.entries()) {
    const record = recordOf(context, source, index);
    if (record) {
      outcome.paths.push(...record.paths);
      // Some were said when the databases were listed.
      const said = new Set(list.warnings.map(({ message }) => message));
      outcome.warnings.push(...record.report.warnings.filter(({ message }) => !said.has(message)));
      continue;
    }
    const failure = readJson<DumpFailure>(dumpFiles.failure(state, index));
    failures.push({
      code: failure?.code ?? 'SourceFailed',
      message: `database ${name}: ${failure?.message ?? 'its dump did not end'}`,
    });
  }
  const [first] = failures;
  if (first) outcome.failure = { code: first.code, message: failures.map(({ message }) => message).join('; ') };
  return outcome;
}

/** The paths of the snapshot that hold the source's databases. */
export function dumpedPaths(context: RunContext, source: number): string[] {
  return dumpOutcome(context, source).paths;
}
