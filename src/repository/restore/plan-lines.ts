import { existsSync } from 'node:fs';
import { readLines } from '../lines.js';
import { readLinesBackward } from './lines-backward.js';
import { planFiles, type RestorePlan } from './plan-files.js';

type List = 'dirs' | 'links' | 'large';

/** The lines of one of a plan's lists, part after part. */
export function* planLines(scratch: string, plan: RestorePlan, list: List): Generator<string> {
  for (let part = 0; part < plan.parts; part++) {
    const file = planFiles[list](planFiles.part(scratch, part));
    if (existsSync(file)) yield* readLines(file);
  }
}

/** Directories that lock their owner out, the last first. */
export function* lateLines(scratch: string, plan: RestorePlan): Generator<string> {
  for (let part = plan.parts - 1; part >= 0; part--) {
    const file = planFiles.late(planFiles.part(scratch, part));
    if (existsSync(file)) yield* readLinesBackward(file);
  }
}

/** Large files with their numbers. */
export function* largeLines(scratch: string, plan: RestorePlan): Generator<[line: string, number: number]> {
  for (let part = 0; part < plan.parts; part++) {
    const file = planFiles.large(planFiles.part(scratch, part));
    let line = 0;
    if (existsSync(file)) for (const text of readLines(file)) yield [text, line++ * plan.parts + part];
  }
}

/** What one pack is needed for. */
export function* packLines(scratch: string, plan: RestorePlan, number: number): Generator<string> {
  for (const [part, file] of plan.packs[number]?.at ?? [])
    yield* readLines(planFiles.pack(planFiles.part(scratch, part), file));
}
