import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fingerprint, planSchedules, type ScheduleFacts } from '../../src/control/schedule-plan.js';

const schedules = fc
  .uniqueArray(
    fc.tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.dictionary(fc.constantFrom('x', 'y'), fc.constantFrom('1', '2'))),
    {
      selector: ([id]) => id,
    },
  )
  .map((entries) => entries.map(([id, facts]): ScheduleFacts => ({ id, facts })));

test('carrying out a plan makes the existing schedules the desired ones, and then nothing is left to do', () => {
  fc.assert(
    fc.property(schedules, schedules, fc.boolean(), (desired, existing, prune) => {
      const after = new Map(existing.map(({ id, facts }) => [id, { ...facts }]));
      for (const { action, id, changes, orphan } of planSchedules(desired, existing, prune)) {
        if (action === 'delete') after.delete(id);
        if (action === 'create') after.set(id, {});
        if (action === 'keep') expect(changes).toEqual([]);
        expect(orphan === true).toBe(action === 'keep' && !desired.some((schedule) => schedule.id === id));
        const facts = after.get(id);
        for (const { field, from, to } of changes) {
          if (facts === undefined) continue;
          expect(facts[field] ?? '').toBe(from);
          if (to === '') delete facts[field];
          else facts[field] = to;
        }
      }
      for (const { id, facts } of desired) expect(after.get(id)).toEqual(facts);
      if (prune) expect(after.size).toBe(desired.length);
      else for (const { id } of existing) expect(after.has(id)).toBe(true);
    }),
  );
});

test('a fingerprint depends on the value, not on the order of its keys', () => {
  expect(fingerprint({ a: 1, b: { c: 2, d: undefined } })).toBe(fingerprint({ b: { c: 2 }, a: 1 }));
  expect(fingerprint([1, 2])).not.toBe(fingerprint([2, 1]));
  expect(fingerprint({ a: '1' })).not.toBe(fingerprint({ a: 1 }));
});
