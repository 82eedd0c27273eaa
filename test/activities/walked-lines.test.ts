import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { WalkedLines, walkedLines } from '../../src/activities/threads/walked-lines.js';

const folder = mkdtempSync(join(tmpdir(), 'holdfast-lines-'));
const parent = join(folder, 'parent.ndjson');
const run = join(folder, 'run');

beforeEach(() => mkdirSync(join(run, 'source-0'), { recursive: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('gives back, line by line, what was added and what was copied, whatever was passed over', () => {
  const step = fc.oneof(
    fc.constant('copy' as const),
    fc.record({ pass: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ add: fc.stringMatching(/^[?=~&*][a-z]{0,5}$/) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const lines = Array.from({ length: 200 }, (_, n) => `{"path":"${n}"}`);
      writeFileSync(parent, `${lines.join('\n')}\n`);
      const walked = new WalkedLines(run, 0, parent);
      const expected: string[] = [];
      let at = 0;
      for (const one of steps) {
        if (one === 'copy') {
          walked.copy();
          expected.push(`=${lines[at++]}`);
        } else if ('pass' in one) {
          walked.pass(one.pass);
          at += one.pass;
        } else {
          walked.add(one.add);
          expected.push(one.add);
        }
      }
      walked.finish();
      // Its own place is tidied up while the run goes on.
      rmSync(parent);
      expect([...walkedLines(run, 0)]).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});

test('a parent cut short is a lost spool', () => {
  writeFileSync(parent, '{"path":"0"}\n');
  const walked = new WalkedLines(run, 0, parent);
  walked.copy();
  walked.copy();
  walked.finish();
  expect(() => [...walkedLines(run, 0)]).toThrow(expect.objectContaining({ code: 'SpoolLost' }));
});
