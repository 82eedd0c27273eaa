import { expect, test } from 'vitest';
import { failureRisk } from '../../src/foresight/risk.js';
import { night, nights } from './runs.js';

const hourLater = (at: number): string => new Date(Date.parse(night(at).at) + 3_600_000).toISOString();
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
  expect(failureRisk(nights(8, () => full)).reasons).toContain('nas is 95 % full');
  expect(failureRisk([...nights(7), night(7, failed)]).reasons).toContain('the last run went wrong');
});

test('learns from the other jobs of the host, and takes what befell them since for a sign', () => {
  // A network that is down takes all jobs of the night with it.
  const down = (at: number) => at % 9 === 5 || at % 31 === 7;
  const others = nights(120, (at) => ({ ...(down(at) ? failed : {}), job: 'shop' }));
  const runs = nights(120, (at) => ({ ...(down(at) ? failed : {}), at: hourLater(at) }));
  const tonight = (change: object) => ({ others: [...others, night(120, { job: 'shop', ...change })] });
  const calm = failureRisk(runs, tonight({}));
  const bad = failureRisk(runs, tonight(failed));
  expect(calm).toMatchObject({ basis: 'model', runs: 241, alarm: false });
  expect(bad.alarm).toBe(true);
  expect(bad.probability).toBeGreaterThan(3 * calm.probability);
  expect(bad.reasons.join()).toContain('other jobs');
});

test('knows a failure that stays until somebody acts from one that passes', () => {
  const spread = (at: number) => (at % 13 === 4 ? failed : {});
  const after = (error: string) => failureRisk([...nights(100, spread), night(100, { status: 'failed', error })]);
  const denied = after('AuthDenied');
  expect(denied.probability).toBeGreaterThan(2 * after('DestinationUnreachable').probability);
  expect(denied.reasons.join()).toContain('AuthDenied');
});

test('tells that access is about to end where it has before', () => {
  // A token that ends every 30 days, renewed two days later.
  const runs = nights(148, (at) => (at % 30 >= 28 ? { status: 'failed', error: 'AuthExpired' } : {}));
  const young = failureRisk(runs.slice(0, 125));
  const old = failureRisk(runs.slice(0, 148));
  expect(old.probability).toBeGreaterThan(1.5 * young.probability);
  expect(old.reasons.join()).toContain('access was renewed');
});
