import { expect, test } from 'vitest';
import { failureRisk } from '../../src/foresight/risk.js';
import { night, nights } from './runs.js';

const failed = { status: 'failed', error: 'DestinationUnreachable' };

test('falls back to the base rate while runs are few, and never to certainty', () => {
  expect(failureRisk([])).toMatchObject({ basis: 'base', runs: 0, probability: 0.5 });
  expect(failureRisk(nights(8))).toMatchObject({ basis: 'base', probability: 0.1 });
  expect(failureRisk(nights(8, () => failed)).probability).toBeCloseTo(0.9);
});

test('learns that failures follow repeated uploads, and says so', () => {
  // A failing disk: uploads are repeated the night before each failure.
  const runs = nights(120, (at) => {
    const destinations = [{ name: 'nas', state: 'stored', misses: at % 10 === 8 ? 9 : 0 }];
    return at % 10 === 9 ? { ...failed, destinations } : { destinations };
  });
  const calm = failureRisk([...runs, night(120), night(121), night(122), night(123), night(124)]);
  const before = failureRisk([
    ...runs,
    ...[120, 121, 122, 123, 124, 125, 126, 127].map((at) => night(at)),
    night(128, { destinations: [{ name: 'nas', state: 'stored', misses: 9 }] }),
  ]);
  expect(calm.basis).toBe('model');
  expect(before.basis).toBe('model');
  expect(before.probability).toBeGreaterThan(3 * calm.probability);
  expect(before.reasons.join()).toContain('uploads');
});

test('gives what is alarming as a reason even without a model', () => {
  const full = { destinations: [{ name: 'nas', state: 'stored', misses: 0, free: 5, total: 100 }] };
  expect(failureRisk(nights(8, () => full)).reasons).toContain('a destination is 95 % full');
  expect(failureRisk([...nights(7), night(7, failed)]).reasons).toContain('the last run went wrong');
});
