import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cleanUp } from '../../src/activities/restore-run.js';
import { packName } from '../../src/repository/layout.js';
import { planFiles, type RestorePlan } from '../../src/repository/restore/plan-files.js';
import { TestRepository } from '../support/make-repository.js';
import { inlineTasks, restoreInline } from '../support/restore-inline.js';

let folder: string;
let source: string;
let target: string;
let scratch: string;
let repository: TestRepository;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-resume-'));
  source = path.join(folder, 'source');
  target = path.join(folder, 'target');
  scratch = path.join(folder, 'scratch');
  mkdirSync(source);
  for (let i = 0; i < 60; i++) writeFileSync(path.join(source, `f${10 + i}`), randomBytes(30_000));
  writeFileSync(path.join(source, 'large'), randomBytes(60 * 1024 * 1024));
  repository = await TestRepository.create({ folder, laneBytes: 300_000 });
  await repository.backup([source]);
});
afterEach(() => {
  repository.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Dies as a worker would: in the middle of its third pack. */
async function interrupt(): Promise<void> {
  let packs = 0;
  const dying = {
    run: async (name: string, input: { number?: number }) => {
      const run = inlineTasks.run as (name: string, input: object) => Promise<unknown>;
      if (name === 'restorePackTask' && ++packs > 2) {
        // What a kill leaves: everything of the pack, the last bytes and the journal's line missing.
        await run(name, input);
        throw new Error('killed');
      }
      return run(name, input);
    },
  } as typeof inlineTasks;
  await expect(restoreInline(repository, target, { scratch, tasks: dying })).rejects.toThrow('killed');
}

const expectWhole = (): void => {
  for (const name of readdirSync(source)) {
    expect(readFileSync(path.join(target, source, name)).equals(readFileSync(path.join(source, name))), name).toBe(
      true,
    );
  }
  expect(readdirSync(path.join(target, source)).sort()).toEqual(readdirSync(source).sort());
};

test('goes on where it was interrupted: packs that are done are not even fetched again', async () => {
  await interrupt();
  const plan = JSON.parse(readFileSync(planFiles.plan(scratch), 'utf8')) as RestorePlan;
  const journal = readFileSync(planFiles.journal(scratch, 0), 'utf8').trim().split('\n');
  const done = journal.map((line) => (JSON.parse(line) as { number: number }).number);
  expect(done).toHaveLength(2);
  for (const number of done) rmSync(repository.objectPath('nas', packName(plan.packs[number]!.pack)));
  const document = await restoreInline(repository, target, { scratch, retry: true });
  expect(document).toMatchObject({ status: 'succeeded', files: { restored: 61, skipped: 0, failed: 0 }, damaged: [] });
  expectWhole();
});

test('a half-written file is written anew, even though nothing that differs is ever replaced', async () => {
  await interrupt();
  const names = readdirSync(path.join(target, source)).filter((name) => name.startsWith('f'));
  const journal = readFileSync(planFiles.journal(scratch, 0), 'utf8').trim().split('\n');
  // The pack that was cut off lost its record: its files may be half.
  for (const name of names) truncateSync(path.join(target, source, name), 100);
  rmSync(planFiles.journal(scratch, 0));
  expect(journal.length).toBeGreaterThan(0);
  const document = await restoreInline(repository, target, { scratch, retry: true });
  expect(document).toMatchObject({ status: 'succeeded', files: { restored: 61, skipped: 0, failed: 0 } });
  expectWhole();
});

test('a file that somebody else put there meanwhile is left alone', async () => {
  await interrupt();
  const missing = readdirSync(source).find((name) => !readdirSync(path.join(target, source)).includes(name));
  expect(missing).toBeDefined();
  const theirs = path.join(target, source, missing!);
  writeFileSync(theirs, 'theirs');
  utimesSync(theirs, 1000, 1000);
  const document = await restoreInline(repository, target, { scratch, retry: true });
  expect(document).toMatchObject({ status: 'partial', files: { failed: 1 } });
  expect(readFileSync(theirs, 'utf8')).toBe('theirs');
});

test('cleaning up removes unfinished large files and the scratch folder', async () => {
  await interrupt();
  expect(readdirSync(path.join(target, source)).some((name) => name.startsWith('.holdfast-'))).toBe(true);
  cleanUp(scratch);
  expect(readdirSync(path.join(target, source)).some((name) => name.startsWith('.holdfast-'))).toBe(false);
  expect(readdirSync(folder)).not.toContain('scratch');
});
