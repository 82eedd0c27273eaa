import { expect, test } from 'vitest';
import { cronLongestGap } from '../../src/config/cron.js';
import { expectedWithin } from '../../src/config/expectation.js';
import { aroundNow, insideUntil } from '../../src/config/wall-clock.js';

const utc = (text: string): number => Date.parse(`${text}Z`);
const hour = 3_600_000;
const around = (at: string, time: Parameters<typeof aroundNow>[0]) => {
  const { last, next } = aroundNow(time, utc(at));
  return [new Date(last).toISOString().slice(0, 16), new Date(next).toISOString().slice(0, 16)];
};

test('the last and the next time of day, in a time zone', () => {
  expect(around('2026-11-22T12:00', { at: '07:00', timezone: 'UTC' })).toEqual([
    '2026-11-22T07:00',
    '2026-11-23T07:00',
  ]);
  expect(around('2026-11-22T05:00', { at: '07:00', timezone: 'Europe/Berlin' })).toEqual([
    '2026-11-21T06:00',
    '2026-11-22T06:00',
  ]);
  expect(around('2026-11-22T06:00', { at: '07:00', timezone: 'Europe/Berlin' })).toEqual([
    '2026-11-22T06:00',
    '2026-11-23T06:00',
  ]);
  // Sunday there, Saturday still in UTC.
  expect(around('2026-11-21T23:00', { at: '07:00', weekday: 1, timezone: 'Pacific/Auckland' })).toEqual([
    '2026-11-15T18:00',
    '2026-11-22T18:00',
  ]);
});

test('over the change of clocks', () => {
  // 25 hours apart in October, 23 in March; 02:30 does not come on the last Sunday in March.
  expect(around('2026-10-25T00:00', { at: '07:00', timezone: 'Europe/Berlin' })).toEqual([
    '2026-10-24T05:00',
    '2026-10-25T06:00',
  ]);
  expect(around('2027-03-28T00:00', { at: '07:00', timezone: 'Europe/Berlin' })).toEqual([
    '2027-03-27T06:00',
    '2027-03-28T05:00',
  ]);
  const [, next] = around('2027-03-28T00:00', { at: '02:30', timezone: 'Europe/Berlin' });
  expect(['2027-03-28T00:30', '2027-03-28T01:30']).toContain(next);
});

test('quiet hours, over midnight and within a day', () => {
  const night = { from: '22:00', to: '07:00', timezone: 'UTC' };
  const at = (time: string, hours = night): string | undefined => {
    const until = insideUntil(hours, utc(time));
    return until === undefined ? undefined : new Date(until).toISOString().slice(0, 16);
  };
  expect(at('2026-11-22T21:59')).toBeUndefined();
  expect(at('2026-11-22T22:00')).toBe('2026-11-23T07:00');
  expect(at('2026-11-23T06:59')).toBe('2026-11-23T07:00');
  expect(at('2026-11-23T07:00')).toBeUndefined();
  const noon = { from: '12:00', to: '13:30', timezone: 'UTC' };
  expect(at('2026-11-22T13:00', noon)).toBe('2026-11-22T13:30');
  expect(at('2026-11-22T11:00', noon)).toBeUndefined();
});

test.each([
  ['0 3 * * *', 24],
  ['0 * * * *', 1],
  ['*/10 9-17 * * *', 24 - 8 - 50 / 60],
  ['0 3 * * 1-5', 72],
  ['0 3 * * 7', 168],
  ['0 3 1 * *', 31 * 24],
  ['0 3 29 2 *', (4 * 365 + 1) * 24],
  ['0 3,15 * * 0', 156],
])('the longest gap of %s', (cron, hours) => {
  expect((cronLongestGap(cron) ?? 0) / hour).toBeCloseTo(hours, 6);
});

test('what is expected: as told, else by the schedule and some grace', () => {
  const daily = { cron: '0 3 * * *', timezone: 'UTC', jitter: 0 };
  expect(expectedWithin({})).toBeUndefined();
  expect(expectedWithin({ schedule: daily })).toBe(26 * hour);
  expect(expectedWithin({ schedule: { ...daily, jitter: hour } })).toBe(27 * hour);
  expect(expectedWithin({ schedule: { every: hour, jitter: 0 } })).toBe(1.25 * hour);
  expect(expectedWithin({ schedule: { every: 700 * hour, jitter: 0 } })).toBe(724 * hour);
  expect(expectedWithin({ schedule: daily, expect: { grace: hour, partial: false } })).toBe(25 * hour);
  expect(expectedWithin({ schedule: daily, expect: { within: 5, partial: false } })).toBe(5);
  expect(expectedWithin({ expect: { within: 5, partial: false } })).toBe(5);
  expect(expectedWithin({ schedule: daily, expect: false })).toBeUndefined();
});
