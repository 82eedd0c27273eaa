import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Arena } from './arena.js';

/** How far a run has got, as its spool and its destinations show. */
export const moments = {
  any: () => true,
  begin: (arena: Arena, run: string) => arena.spoolHas(run, ''),
  begun: (arena: Arena, run: string) => arena.spoolHas(run, 'begun.json'),
  walked: (arena: Arena, run: string) => arena.spoolHas(run, 'plan.json'),
  read: (arena: Arena, run: string) => count(arena, run, 'plain') + count(arena, run, 'packs') > 0,
  sealed: (arena: Arena, run: string) => count(arena, run, 'sealed') > 0,
  sending: (arena: Arena, run: string) => count(arena, run, 'sealed') > 0 && arena.fresh() > 0,
  merged: (arena: Arena, run: string) => arena.spoolHas(run, 'manifest.json'),
  prepared: (arena: Arena, run: string) => arena.spoolHas(run, 'objects/prepared.json'),
  indexed: (arena: Arena) => arena.newObjects('index') > 0,
  committed: (arena: Arena) => arena.newObjects('snapshots') > 0,
  over: (arena: Arena, run: string) => arena.newObjects('snapshots') > 1 || arena.host.document(run)?.endedAt !== null,
} as const;
export type Moment = keyof typeof moments;

const order: readonly Moment[] = [
  'begin',
  'begun',
  'walked',
  'read',
  'sealed',
  'sending',
  'merged',
  'prepared',
  'indexed',
  'committed',
  'over',
];

/** The last moment that has come. */
export function phaseOf(arena: Arena, run: string): string {
  let phase = 'queued';
  for (const moment of order) if (moments[moment](arena, run)) phase = moment;
  return phase;
}

function count(arena: Arena, run: string, folder: string): number {
  const path = join(arena.spoolOf(run), folder);
  return existsSync(path) ? readdirSync(path).filter((name) => !name.startsWith('.')).length : 0;
}
