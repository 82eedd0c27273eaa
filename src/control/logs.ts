import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { findJob } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { readLines } from '../repository/lines.js';
import { jobOfRun } from '../run-document.js';
import { logFile } from './log.js';
import { logFiles } from './log-file.js';
import { atLeast, type LogEntry, parseLine } from './log-line.js';

export interface LogQuery {
  /** A job's name, or the id of a run or another workflow. */
  of?: string;
  /** Debug, info, warn or error: at least that. */
  level: string;
  /** The last so many; undefined: all. */
  limit?: number;
}

/**
 * What the log files hold, oldest first.
 *
 * @throws HoldfastError `JobUnknown` where `of` is neither a run nor a job of the config.
 */
export function readLogs(config: Config, query: LogQuery): LogEntry[] {
  const wanted = filterOf(config, query);
  const found: LogEntry[] = [];
  for (const file of logFiles(logFile(config))) {
    if (!existsSync(file)) continue;
    for (const line of readLines(file)) {
      const entry = parseLine(line.toString());
      if (entry === undefined || !wanted(entry)) continue;
      found.push(entry);
      if (query.limit !== undefined && found.length > query.limit * 2) found.splice(0, found.length - query.limit);
    }
  }
  return query.limit === undefined ? found : found.slice(-query.limit);
}

function filterOf(config: Config, { of, level }: LogQuery): (entry: LogEntry) => boolean {
  if (of === undefined) return (entry) => atLeast(entry, level);
  if (of.includes('/')) return (entry) => atLeast(entry, level) && entry.run === of;
  findJob(config, of);
  return (entry) => atLeast(entry, level) && (entry.job === of || (entry.run !== undefined && isRunOf(entry.run, of)));
}

/** `backup/web-1/site/...`, `deliver/web-1/site/nas`. */
function isRunOf(run: string, job: string): boolean {
  return run.split('/').length >= 3 && jobOfRun(run) === job;
}

const pollMs = 250;

/** What is written from now on, until `signal` is aborted; follows the file when it is put aside. */
export async function* followLogs(config: Config, query: LogQuery, signal: AbortSignal): AsyncGenerator<LogEntry> {
  const wanted = filterOf(config, query);
  const path = logFile(config);
  let fd = existsSync(path) ? openSync(path, 'r') : undefined;
  let at = fd === undefined ? 0 : fstatSync(fd).size;
  let rest = Buffer.alloc(0);
  const buffer = Buffer.alloc(64 << 10);
  try {
    while (!signal.aborted) {
      const count = fd === undefined ? 0 : readSync(fd, buffer, 0, buffer.length, at);
      if (count > 0) {
        at += count;
        const text = Buffer.concat([rest, buffer.subarray(0, count)]);
        const end = text.lastIndexOf(10) + 1;
        rest = Buffer.from(text.subarray(end));
        for (const line of text.toString('utf8', 0, end).split('\n')) {
          const entry = line === '' ? undefined : parseLine(line);
          if (entry !== undefined && wanted(entry)) yield entry;
        }
        continue;
      }
      const there = statSync(path, { throwIfNoEntry: false });
      if (there !== undefined && (fd === undefined || fstatSync(fd).ino !== there.ino)) {
        if (fd !== undefined) closeSync(fd);
        fd = openSync(path, 'r');
        at = 0;
        rest = Buffer.alloc(0);
        continue;
      }
      await sleep(pollMs, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
