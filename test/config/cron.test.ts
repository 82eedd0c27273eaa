import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cronInterval, cronProblem, cronRestrictsBothDays, splitCron } from '../../src/config/cron.js';

describe('valid', () => {
  test.each([
    '0 3 * * *',
    '*/15 * * * *',
    '5-50/5 0,12 1-15 JAN-jun mon-FRI',
    '0 0 29 2 *',
    '0 0 * * 7',
    '  0   3 * * *  ',
    '@daily',
    '@Hourly',
    'CRON_TZ=Europe/Berlin 0 3 * * *',
    'TZ=UTC @daily',
  ])('%s', (text) => expect(cronProblem(text)).toBeUndefined());
});

describe('not valid', () => {
  test.each([
    ['', 'five cron fields'],
    ['0 3 * *', 'found 4'],
    ['0 0 3 * * *', 'found 6'],
    ['60 3 * * *', 'minute'],
    ['0 24 * * *', 'hour'],
    ['0 3 0 * *', 'day of month'],
    ['0 3 * 13 *', 'month'],
    ['0 3 * * 8', 'day of week'],
    ['0 3 * * mo', 'day of week'],
    ['5-1 * * * *', 'minute'],
    ['*/0 * * * *', 'minute'],
    ['*-5 * * * *', 'minute'],
    ['1,,2 * * * *', 'minute'],
    ['0 3 L * *', 'day of month'],
    ['0 3 31 2,4 *', 'never comes'],
    ['@reboot', 'unknown cron name'],
    ['@every 6h', '`every: 6h`'],
  ])('%s', (text, problem) => expect(cronProblem(text)).toContain(problem));
});

test('never throws', () => {
  fc.assert(fc.property(fc.string(), (text) => ['string', 'undefined'].includes(typeof cronProblem(text))));
});

test('CRON_TZ is split off', () => {
  expect(splitCron('CRON_TZ=Asia/Tokyo  0 3  * * *')).toEqual({ expression: '0 3 * * *', timezone: 'Asia/Tokyo' });
  expect(splitCron('0 3 * * *')).toEqual({ expression: '0 3 * * *' });
});

test('the closest two runs', () => {
  expect(cronInterval('0 3 * * *')).toBe(86_400_000);
  expect(cronInterval('*/15 * * * *')).toBe(900_000);
  expect(cronInterval('50,10 * * * *')).toBe(20 * 60_000);
  expect(cronInterval('nonsense')).toBeUndefined();
});

test('days of the month and weekdays', () => {
  expect(cronRestrictsBothDays('0 3 1 * mon')).toBe(true);
  expect(cronRestrictsBothDays('0 3 * * mon')).toBe(false);
  expect(cronRestrictsBothDays('@monthly')).toBe(false);
});
