import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, formatRate, formatSize, parseDuration, parseRate, parseSize } from '../../src/config/units.js';

const whole = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

describe('durations', () => {
  test.each([
    ['5m', 300_000],
    ['6h', 21_600_000],
    ['30d', 2_592_000_000],
    ['90s', 90_000],
    ['1h30m', 5_400_000],
    ['1h 30m', 5_400_000],
    ['1.5h', 5_400_000],
    ['250ms', 250],
    ['1m1ms', 60_001],
    ['2w', 1_209_600_000],
    ['1y', 31_536_000_000],
    ['0s', 0],
  ])('%s', (text, ms) => expect(parseDuration(text)).toBe(ms));

  test.each(['', '5', 'm', '5 m', '-5m', '5M', '5min', '30m1h', '5m5m', '1e3s', '5m!', `${'9'.repeat(40)}y`])(
    'not %j',
    (text) => expect(parseDuration(text)).toBeUndefined(),
  );

  test('round trip', () => {
    fc.assert(fc.property(whole, (ms) => parseDuration(formatDuration(ms)) === ms));
  });

  test('any text is a safe whole number or nothing', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^([0-9.]{1,8}(ms|[ywdhms]) ?){1,4}$/)), (text) => {
        const ms = parseDuration(text);
        return ms === undefined || (Number.isSafeInteger(ms) && ms >= 0);
      }),
    );
  });
});

describe('sizes and rates', () => {
  test.each([
    ['20GB', 20e9],
    ['512MiB', 512 * 1024 * 1024],
    ['1.5 GB', 1.5e9],
    ['10kb', 10_000],
    ['10kB', 10_000],
    ['7', 7],
    ['100B', 100],
    ['1TiB', 2 ** 40],
  ])('%s', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each(['', 'GB', '-1GB', '10Mb', '10M', '1e3B', '10 GB s', '99999999PB'])('not %j', (text) =>
    expect(parseSize(text)).toBeUndefined(),
  );

  test('rates', () => {
    expect(parseRate('10MB/s')).toBe(10e6);
    expect(parseRate('1 MiB / s')).toBe(2 ** 20);
    for (const text of ['10MB', '10/s', '10MB/h', '10Mb/s', '/s']) expect(parseRate(text)).toBeUndefined();
  });

  test('round trip', () => {
    fc.assert(
      fc.property(whole, (bytes) => parseSize(formatSize(bytes)) === bytes && parseRate(formatRate(bytes)) === bytes),
    );
  });
});
