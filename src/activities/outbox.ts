import { mkdirSync } from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import type { Notification } from '../notifiers/notifier.js';

/** What fails in a job at the moment, as one notifier knows it. Times are milliseconds. */
export interface Trouble {
  /** When the first failure of the series was. */
  since: number;
  /** Failures in the series. */
  total: number;
  /** How many of them in a row were the same as the last one. */
  same: number;
  /** How many of those had been when it was last told; 0: it has not been told. */
  told: number;
  toldAt: number;
}

/** A notification that waits. */
export interface Held {
  id: number;
  notifier: string;
  /** When it was put here. */
  since: number;
  /** `quiet`: until the quiet hours end; `unsent`: until it gets through. */
  reason: 'quiet' | 'unsent';
  notification: Notification;
}

const sentKeptMs = 30 * 86_400_000;

/**
 * What this host's notifiers have told, are about to tell, and know of failures that repeat: `notify.db` in the state folder.
 * It holds notifications as they are sent: without secrets.
 */
export class Outbox {
  private readonly db: Database.Database;

  constructor(state: string) {
    mkdirSync(state, { recursive: true, mode: 0o700 });
    this.db = new Database(path.join(state, 'notify.db'), { timeout: 30_000 });
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('synchronous = NORMAL');
    this.db.exec(`
      CREATE TABLE IF NOT EXISTS troubles (
        notifier TEXT NOT NULL, job TEXT NOT NULL, since INTEGER NOT NULL, total INTEGER NOT NULL, kind TEXT NOT NULL,
        same INTEGER NOT NULL, told INTEGER NOT NULL, told_at INTEGER NOT NULL, last TEXT NOT NULL,
        PRIMARY KEY (notifier, job)) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS held (
        id INTEGER PRIMARY KEY, notifier TEXT NOT NULL, key TEXT NOT NULL, since INTEGER NOT NULL, due INTEGER NOT NULL,
        reason TEXT NOT NULL, notification TEXT NOT NULL, UNIQUE (notifier, key));
      CREATE TABLE IF NOT EXISTS sent (
        notifier TEXT NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (notifier, key)) WITHOUT ROWID;
    `);
  }

  close(): void {
    this.db.close();
  }

  trouble(notifier: string, job: string): Trouble | undefined {
    return this.db
      .prepare<[string, string], Trouble>(
        'SELECT since, total, same, told, told_at AS toldAt FROM troubles WHERE notifier = ? AND job = ?',
      )
      .get(notifier, job);
  }

  /** Counts a failure; `kind` tells it from others, `occasion` (such as the run) makes counting it again harmless. */
  fail(notifier: string, job: string, kind: string, occasion: string, at: number): Trouble {
    this.db
      .prepare(
        `INSERT INTO troubles VALUES (@notifier, @job, @at, 1, @kind, 1, 0, 0, @occasion)
         ON CONFLICT DO UPDATE SET total = total + 1, same = CASE kind WHEN @kind THEN same + 1 ELSE 1 END,
           told = CASE kind WHEN @kind THEN told ELSE 0 END, kind = @kind, last = @occasion WHERE last <> @occasion`,
      )
      .run({ notifier, job, kind, occasion, at });
    return this.trouble(notifier, job) ?? { since: at, total: 1, same: 1, told: 0, toldAt: 0 };
  }

  /** Remembers that the failures so far have been told. */
  told(notifier: string, job: string, at: number): void {
    this.db
      .prepare('UPDATE troubles SET told = same, told_at = ? WHERE notifier = ? AND job = ?')
      .run(at, notifier, job);
  }

  /** The job is well again. */
  recover(notifier: string, job: string): void {
    this.db.prepare('DELETE FROM troubles WHERE notifier = ? AND job = ?').run(notifier, job);
  }

  /** Keeps a notification until `due`; one that is kept already stays as it is. */
  hold(notifier: string, notification: Notification, reason: Held['reason'], due: number): void {
    this.db
      .prepare('INSERT OR IGNORE INTO held (notifier, key, since, due, reason, notification) VALUES (?, ?, ?, ?, ?, ?)')
      .run(notifier, notification.id, Date.now(), due, reason, JSON.stringify(notification));
  }

  /** Everything a notifier keeps, oldest first. */
  held(notifier: string): Held[] {
    return this.db
      .prepare<[string], { id: number; notifier: string; since: number; reason: Held['reason']; notification: string }>(
        'SELECT id, notifier, since, reason, notification FROM held WHERE notifier = ? ORDER BY id',
      )
      .all(notifier)
      .map((row) => ({ ...row, notification: JSON.parse(row.notification) as Notification }));
  }

  /** Notifiers with something that is due. */
  due(now: number): string[] {
    return this.db
      .prepare<[number], { notifier: string }>('SELECT DISTINCT notifier FROM held WHERE due <= ?')
      .all(now)
      .map((row) => row.notifier);
  }

  /** When the first notification that is kept is due. */
  nextDue(): number | null {
    return this.db.prepare<[], { due: number | null }>('SELECT min(due) AS due FROM held').get()?.due ?? null;
  }

  postpone(notifier: string, due: number): void {
    this.db.prepare('UPDATE held SET due = ? WHERE notifier = ?').run(due, notifier);
  }

  drop(held: readonly Held[]): void {
    const remove = this.db.prepare('DELETE FROM held WHERE id = ?');
    this.db.transaction(() => held.forEach(({ id }) => void remove.run(id)))();
  }

  wasSent(notifier: string, key: string): boolean {
    return this.db.prepare('SELECT 1 FROM sent WHERE notifier = ? AND key = ?').get(notifier, key) !== undefined;
  }

  /** So that a repetition of the step that sent it does not send it again. */
  sent(notifier: string, keys: readonly string[], at: number): void {
    this.db.transaction(() => {
      for (const key of keys) this.db.prepare('INSERT OR REPLACE INTO sent VALUES (?, ?, ?)').run(notifier, key, at);
      this.db.prepare('DELETE FROM sent WHERE at < ?').run(at - sentKeptMs);
    })();
  }
}
