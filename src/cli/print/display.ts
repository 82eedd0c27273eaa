import type { RunUpdate } from '../../control/follow.js';
import type { Context } from '../context.js';
import { type Progress, progressLines, progressOf, RateMeter, timeLeft } from './progress.js';

/** Shows the progress of one or several runs. */
export interface Display {
  /** How often it wants updates, milliseconds; undefined: never. */
  readonly intervalMs: number | undefined;
  update(update: RunUpdate, job: string): void;
  /** Takes the display away, so that other lines can follow. */
  clear(): void;
}

const liveMs = 500;
const plainMs = 10_000;

/**
 * On a terminal lines that are drawn over, else a plain line now and then; with --quiet none. All of it on stderr.
 *
 * @param ndjson prints progress documents on stdout instead.
 */
export function makeDisplay(context: Context, ndjson = false): Display {
  if (ndjson && context.options.json) return ndjsonDisplay(context);
  if (context.options.quiet) return { intervalMs: undefined, update: () => undefined, clear: () => undefined };
  return process.stderr.isTTY && process.env.TERM !== 'dumb' ? new LiveDisplay() : plainDisplay();
}

function ndjsonDisplay(context: Context): Display {
  return {
    intervalMs: liveMs,
    update: (update, job) => context.event(progressOf(update, job)),
    clear: () => undefined,
  };
}

class Track {
  readonly meter = new RateMeter();
  readonly since = Date.now();
  progress: Progress | undefined;

  lines(): string[] {
    if (this.progress === undefined) return [];
    return progressLines(this.progress, this.meter.rate, timeLeft(this.progress.done, Date.now() - this.since));
  }

  update(update: RunUpdate, job: string): void {
    this.progress = progressOf(update, job);
    this.meter.add(Date.now(), this.progress.bytes.read);
  }
}

function plainDisplay(): Display {
  const tracks = new Map<string, Track>();
  return {
    intervalMs: plainMs,
    update(update, job) {
      const track = tracks.get(job) ?? new Track();
      tracks.set(job, track);
      track.update(update, job);
      process.stderr.write(`${track.lines()[0] ?? ''}\n`);
      if (track.progress?.message !== undefined) process.stderr.write(`  ${track.progress.message}\n`);
    },
    clear: () => undefined,
  };
}

class LiveDisplay implements Display {
  readonly intervalMs = liveMs;
  private readonly tracks = new Map<string, Track>();
  private drawn = 0;

  update(update: RunUpdate, job: string): void {
    const track = this.tracks.get(job) ?? new Track();
    this.tracks.set(job, track);
    track.update(update, job);
    this.draw();
  }

  clear(): void {
    if (this.drawn > 0) process.stderr.write(`\u001b[${this.drawn}A\u001b[J`);
    this.drawn = 0;
  }

  private draw(): void {
    const width = (process.stderr.columns ?? 80) - 1;
    const height = (process.stderr.rows ?? 24) - 1;
    const lines = [...this.tracks.values()].flatMap((track) => track.lines()).slice(0, height);
    this.clear();
    process.stderr.write(lines.map((line) => `${line.slice(0, width)}\n`).join(''));
    this.drawn = lines.length;
  }
}
