import { expect, test } from 'vitest';
import { forecasts } from '../../src/foresight/forecast.js';
import { nights } from './runs.js';

const filling = (perNight: number) => (at: number) => ({
  destinations: [{ name: 'nas', state: 'stored', misses: 0, free: 100e9 - at * perNight, total: 200e9 }],
});

test('says in how many days a destination is full', () => {
  const [found, ...more] = forecasts(nights(10, filling(2e9)));
  expect(more).toEqual([]);
  expect(found).toMatchObject({ kind: 'full', destination: 'nas' });
  expect(found?.days).toBeCloseTo(41, 0);
  expect(found?.message).toBe('nas is full in about 41 days at this rate');
});

test('one night that freed or took a lot does not bend the trend', () => {
  const runs = nights(15, (at) => filling(2e9)(at === 7 ? 40 : at));
  expect(forecasts(runs)[0]?.days).toBeCloseTo(36, 0);
});

test('says nothing of destinations that empty or stand still, of few runs, of what lies years ahead', () => {
  expect(forecasts(nights(10, filling(-1e9)))).toEqual([]);
  expect(forecasts(nights(10, filling(0)))).toEqual([]);
  expect(forecasts(nights(3, filling(2e9)))).toEqual([]);
  expect(forecasts(nights(10, filling(1e6)))).toEqual([]);
});

test('says when a backup outgrows the time between two', () => {
  const growing = nights(20, (at) => ({ durationMs: 600_000 + at * 60_000 }));
  const [found] = forecasts(growing, 3_600_000);
  expect(found).toMatchObject({ kind: 'window' });
  expect(found?.days).toBeCloseTo(31, 0);
  expect(forecasts(growing)).toEqual([]);
});

test('goes by the last weeks: what was a trend before, or a step, is none', () => {
  const nas = (free: number) => ({ destinations: [{ name: 'nas', state: 'stored', misses: 0, free, total: 200e9 }] });
  const faster = nights(120, (at) => nas(at < 100 ? 180e9 - at * 1e8 : 170e9 - (at - 100) * 4e9));
  expect(forecasts(faster)[0]?.days).toBeCloseTo(24, -1);
  expect(forecasts(nights(61, (at) => nas(at < 30 ? 160e9 : 100e9)))).toEqual([]);
});
