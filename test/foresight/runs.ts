import type { RunFigures } from '../../src/foresight/figures.js';

const day = 86_400_000;

/** A nightly run that went well: 1,000 files, 100 MB, 20 changed, compressing to 40 %. */
export function night(at: number, change: Partial<RunFigures> = {}): RunFigures {
  const newBytes = 2_000_000 + (at % 3) * 100_000;
  return {
    run: `backup/web-1/site/${at}`,
    job: 'site',
    at: new Date(Date.UTC(2026, 0, 1) + at * day).toISOString(),
    status: 'succeeded',
    durationMs: 30_000 + (at % 5) * 1000,
    mode: 'incremental',
    files: 1000,
    newFiles: 5,
    changedFiles: 15 + (at % 4),
    unreadable: 0,
    sourceBytes: 100_000_000,
    readBytes: newBytes,
    newBytes,
    storedBytes: newBytes * 0.4,
    sources: [
      { name: 'www', type: 'files', files: 1000 + (at % 7), bytes: 100_000_000 + at * 1000 },
      { name: 'shop', type: 'postgres', files: 40, bytes: 50_000_000 },
    ],
    destinations: [{ name: 'nas', state: 'stored', misses: 0 }],
    config: 'same',
    ...change,
  };
}

export const nights = (count: number, change: (at: number) => Partial<RunFigures> = () => ({})): RunFigures[] =>
  Array.from({ length: count }, (_, at) => night(at, change(at)));

/** The sources of a night, one of them changed. */
export const sources = (name: string, change: Partial<RunFigures['sources'][number]>): RunFigures['sources'] =>
  night(0).sources.map((source) => (source.name === name ? { ...source, ...change } : source));
