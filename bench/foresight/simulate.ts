import type { RunFigures } from '../../src/foresight/figures.js';

const day = 86_400_000;
const hour = 3_600_000;

/** A small generator with a seed (mulberry32), so that a bench can be repeated. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * A host whose network has bad spells, whose destination fills and is emptied, and whose credentials expire now and then. Its
 * jobs run an hour apart and share all three.
 *
 * @returns oldest first.
 */
export function simulate(seed: number, nights: number, jobs: number): RunFigures[] {
  const chance = random(seed);
  const flaky = 0.01 + chance() * 0.05;
  const spell = { left: 0, strength: 0 };
  let free = 1;
  let expired = 0;
  return Array.from({ length: nights }).flatMap((_, night) => {
    if (spell.left === 0 && chance() < 0.04)
      Object.assign(spell, { left: 2 + Math.floor(chance() * 8), strength: chance() });
    else if (spell.left > 0) spell.left--;
    if (expired === 0 && chance() < 0.01) expired = 1 + Math.floor(chance() * 4);
    else if (expired > 0) expired--;
    free -= 0.01 + chance() * 0.01;
    if (free < 0.02 && chance() < 0.4) free = 0.9;
    const bad = spell.left > 0 ? spell.strength : 0;
    return Array.from({ length: jobs }, (_, job): RunFigures => {
      const misses = Math.floor(bad * 12 * chance()) + (chance() < 0.05 ? 1 : 0);
      const cause =
        expired > 0
          ? 'AuthDenied'
          : free < 0.02
            ? 'DestinationFull'
            : chance() < flaky + bad * 0.5
              ? 'DestinationUnreachable'
              : undefined;
      return {
        run: `simulated/${seed}/${job}/${night}`,
        job: `job-${job}`,
        at: new Date(Date.UTC(2026, 0, 1) + night * day + job * hour).toISOString(),
        status: cause === undefined ? 'succeeded' : 'failed',
        durationMs: 60_000 * (1 + bad * 2 * chance()) + chance() * 10_000,
        mode: 'incremental',
        files: 1000,
        newFiles: 5,
        changedFiles: 20,
        unreadable: 0,
        sourceBytes: 1e9,
        readBytes: 1e7,
        newBytes: 1e7,
        storedBytes: 4e6,
        sources: [],
        destinations: [
          {
            name: 'offsite',
            state: cause === undefined ? 'stored' : 'missed',
            misses,
            free: Math.max(0, free) * 1e12,
            total: 1e12,
          },
        ],
        ...(cause === undefined ? {} : { error: cause }),
      };
    });
  });
}
