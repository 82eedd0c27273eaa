import { mkdirSync } from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import type { RunFigures } from '../foresight/figures.js';
import type { DrillReport } from '../workflows/drill-types.js';
import type { RunDocument } from '../workflows/types.js';

/**
 * The host's history of runs and the jobs' locks: `history.db` in the state folder. It survives Temporal's retention and
 * answers when no server runs.
 */
export class History {
  private readonly db: Database.Database;

  constructor(state: string) {
    mkdirSync(state, { recursive: true, mode: 0o700 });
    this.db = new Database(path.join(state, 'history.db'), { timeout: 30_000 });
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('synchronous = NORMAL');
    this.db.exec(`
      CREATE TABLE IF NOT EXISTS runs (
        run TEXT PRIMARY KEY, host TEXT NOT NULL, job TEXT NOT NULL, status TEXT NOT NULL,
        started TEXT NOT NULL, document TEXT NOT NULL) WITHOUT ROWID;
      CREATE INDEX IF NOT EXISTS runs_started ON runs (started);
      CREATE INDEX IF NOT EXISTS runs_job ON runs (job, started, status);
      CREATE TABLE IF NOT EXISTS locks (job TEXT PRIMARY KEY, owner TEXT NOT NULL, queued TEXT) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS debts (
        job TEXT NOT NULL, destination TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (job, destination, run)) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS figures (
        run TEXT PRIMARY KEY, job TEXT NOT NULL, at TEXT NOT NULL, figures TEXT NOT NULL) WITHOUT ROWID;
      CREATE INDEX IF NOT EXISTS figures_at ON figures (job, at);
      CREATE TABLE IF NOT EXISTS holds (
        job TEXT PRIMARY KEY, since TEXT, run TEXT, reason TEXT, accepted TEXT) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS drills (
        drill TEXT PRIMARY KEY, job TEXT NOT NULL, started TEXT NOT NULL, report TEXT NOT NULL) WITHOUT ROWID;
    `);
  }

  close(): void {
    this.db.close();
  }

  put(host: string, document: RunDocument): void {
    this.db
      .prepare('INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)')
      .run(document.run, host, document.job, document.status, document.startedAt, JSON.stringify(document));
  }

  get(run: string): RunDocument | undefined {
    const row = this.db.prepare<[string], { document: string }>('SELECT document FROM runs WHERE run = ?').get(run);
    return row ? (JSON.parse(row.document) as RunDocument) : undefined;
  }

  /** Newest first. */
  list(filter: { job?: string; limit?: number } = {}): RunDocument[] {
    const rows = this.db
      .prepare<[string | null, string | null, number], { document: string }>(
        'SELECT document FROM runs WHERE (? IS NULL OR job = ?) ORDER BY started DESC LIMIT ?',
      )
      .all(filter.job ?? null, filter.job ?? null, filter.limit ?? -1);
    return rows.map((row) => JSON.parse(row.document) as RunDocument);
  }

  /** The job's newest run that ended as one of `statuses`; with `destination`, the newest whose snapshot is there. */
  newest(job: string, statuses: readonly string[], destination?: string): RunDocument | undefined {
    const there = `AND EXISTS (SELECT 1 FROM json_each(document, '$.destinations') WHERE json_extract(value, '$.name') = ?
      AND json_extract(value, '$.status') IN ('stored', 'healed'))`;
    const row = this.db
      .prepare<string[], { document: string }>(
        `SELECT document FROM runs WHERE job = ? AND status IN (SELECT value FROM json_each(?))
         ${destination === undefined ? '' : there} ORDER BY started DESC LIMIT 1`,
      )
      .get(job, JSON.stringify(statuses), ...(destination === undefined ? [] : [destination]));
    return row ? (JSON.parse(row.document) as RunDocument) : undefined;
  }

  /** How many runs of each job have each status. */
  counts(): { job: string; status: string; count: number }[] {
    return this.db
      .prepare<[], { job: string; status: string; count: number }>(
        'SELECT job, status, count(*) AS count FROM runs GROUP BY job, status',
      )
      .all();
  }

  /** Remembers that `destination` missed the run's snapshot. */
  owe(job: string, destination: string, run: string): void {
    this.db.prepare('INSERT OR IGNORE INTO debts VALUES (?, ?, ?)').run(job, destination, run);
  }

  settleDebt(job: string, destination: string, run: string): void {
    this.db.prepare('DELETE FROM debts WHERE job = ? AND destination = ? AND run = ?').run(job, destination, run);
  }

  /** Runs whose snapshots the destination still misses, oldest first. */
  owed(job: string, destination: string): string[] {
    return this.db
      .prepare<[string, string], { run: string }>(
        'SELECT debts.run FROM debts LEFT JOIN runs ON runs.run = debts.run WHERE debts.job = ? AND destination = ? ORDER BY started, debts.run',
      )
      .all(job, destination)
      .map((row) => row.run);
  }

  /** Every job and destination with something owed. */
  debtors(): [job: string, destination: string][] {
    return this.db
      .prepare<[], { job: string; destination: string }>('SELECT DISTINCT job, destination FROM debts')
      .all()
      .map((row) => [row.job, row.destination]);
  }

  isOwed(run: string): boolean {
    return this.db.prepare('SELECT 1 FROM debts WHERE run = ?').get(run) !== undefined;
  }

  /** Keeps a run's figures; those of the same run are replaced. */
  putFigures(figures: RunFigures): void {
    this.db
      .prepare('INSERT OR REPLACE INTO figures VALUES (?, ?, ?, ?)')
      .run(figures.run, figures.job, figures.at, JSON.stringify(figures));
  }

  figure(run: string): RunFigures | undefined {
    const row = this.db.prepare<[string], { figures: string }>('SELECT figures FROM figures WHERE run = ?').get(run);
    return row ? (JSON.parse(row.figures) as RunFigures) : undefined;
  }

  /** Figures of closed and running runs, newest first. */
  figures(filter: { job?: string; limit?: number } = {}): RunFigures[] {
    return this.db
      .prepare<[string | null, string | null, number], { figures: string }>(
        'SELECT figures FROM figures WHERE (? IS NULL OR job = ?) ORDER BY at DESC LIMIT ?',
      )
      .all(filter.job ?? null, filter.job ?? null, filter.limit ?? -1)
      .map((row) => JSON.parse(row.figures) as RunFigures);
  }

  /** Keeps a drill's report. */
  putDrill(report: DrillReport): void {
    this.db
      .prepare('INSERT OR REPLACE INTO drills VALUES (?, ?, ?, ?)')
      .run(report.drill, report.job, report.startedAt, JSON.stringify(report));
  }

  drill(drill: string): DrillReport | undefined {
    const row = this.db.prepare<[string], { report: string }>('SELECT report FROM drills WHERE drill = ?').get(drill);
    return row ? (JSON.parse(row.report) as DrillReport) : undefined;
  }

  /** Reports of drills, newest first. */
  drills(filter: { job?: string; limit?: number } = {}): DrillReport[] {
    return this.db
      .prepare<[string | null, string | null, number], { report: string }>(
        'SELECT report FROM drills WHERE (? IS NULL OR job = ?) ORDER BY started DESC LIMIT ?',
      )
      .all(filter.job ?? null, filter.job ?? null, filter.limit ?? -1)
      .map((row) => JSON.parse(row.report) as DrillReport);
  }

  /** Holds the job's retention; an earlier hold stays as it is. */
  hold(job: string, run: string, reason: string): void {
    this.db
      .prepare(
        `INSERT INTO holds (job, since, run, reason) VALUES (?, ?, ?, ?) ON CONFLICT (job) DO UPDATE
         SET since = excluded.since, run = excluded.run, reason = excluded.reason WHERE since IS NULL`,
      )
      .run(job, new Date().toISOString(), run, reason);
  }

  /** Why the job's retention is held, if it is. */
  held(job: string): { since: string; run: string; reason: string } | undefined {
    return this.db
      .prepare<[string], { since: string; run: string; reason: string }>(
        'SELECT since, run, reason FROM holds WHERE job = ? AND since IS NOT NULL',
      )
      .get(job);
  }

  /** Ends the hold, and takes what the newest run found for the usual from now on; false when there was none. */
  accept(job: string): boolean {
    return this.db
      .transaction(() => {
        const held = this.held(job) !== undefined;
        const newest = this.figures({ job, limit: 1 })[0]?.at ?? new Date().toISOString();
        this.db
          .prepare(
            `INSERT INTO holds (job, accepted) VALUES (?, ?) ON CONFLICT (job) DO UPDATE
             SET since = NULL, run = NULL, reason = NULL, accepted = excluded.accepted`,
          )
          .run(job, newest);
        return held;
      })
      .immediate();
  }

  /** The time of the first run that counts for what is usual. */
  acceptedAt(job: string): string | undefined {
    const row = this.db
      .prepare<[string], { accepted: string | null }>('SELECT accepted FROM holds WHERE job = ?')
      .get(job);
    return row?.accepted ?? undefined;
  }

  lock(job: string): { owner: string; queued: string | null } | undefined {
    return this.db
      .prepare<[string], { owner: string; queued: string | null }>('SELECT owner, queued FROM locks WHERE job = ?')
      .get(job);
  }

  /** Takes the job's lock when it is free or held by `stale`; true when `owner` holds it afterwards. */
  takeLock(job: string, owner: string, stale?: string): boolean {
    return this.db
      .transaction(() => {
        const held = this.lock(job);
        if (held && held.owner !== owner && held.owner !== stale) return false;
        const queued = held?.queued === owner ? null : (held?.queued ?? null);
        this.db.prepare('INSERT OR REPLACE INTO locks VALUES (?, ?, ?)').run(job, owner, queued);
        return true;
      })
      .immediate();
  }

  /** Waits as the one queued run of the job; false when `other` than the stale one waits already. */
  queue(job: string, run: string, stale?: string): boolean {
    return this.db
      .transaction(() => {
        const held = this.lock(job);
        if (!held) return true;
        if (held.queued !== null && held.queued !== run && held.queued !== stale) return false;
        this.db.prepare('UPDATE locks SET queued = ? WHERE job = ?').run(run, job);
        return true;
      })
      .immediate();
  }

  /** Frees the lock, or hands it to the run that waits. */
  releaseLock(job: string, owner: string): void {
    this.db
      .transaction(() => {
        this.db
          .prepare('UPDATE locks SET owner = queued, queued = NULL WHERE job = ? AND owner = ? AND queued IS NOT NULL')
          .run(job, owner);
        this.db.prepare('DELETE FROM locks WHERE job = ? AND owner = ?').run(job, owner);
      })
      .immediate();
  }
}
