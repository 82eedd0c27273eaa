import { expect, test } from 'vitest';
import { svgChart, terminalChart } from '../../src/foresight/chart.js';

const series = [
  { title: 'size', values: [1, 2, undefined, 8], show: (value: number) => `${value} MB` },
  { title: 'stored', values: [5, 5, 5, 5], show: (value: number) => `${value} MB` },
];

test('draws a bar a value, a gap where there is none, and names least, greatest and last', () => {
  expect(terminalChart(series, 10).split('\n')).toEqual([
    'size    ▁▂ █  1 MB to 8 MB, last 8 MB',
    'stored  ▄▄▄▄  5 MB to 5 MB, last 5 MB',
  ]);
  expect(terminalChart(series, 2).split('\n')[0]).toBe('size     ▄  8 MB to 8 MB, last 8 MB');
});

test('writes an SVG with a point a value, and text that cannot break out of it', () => {
  const runs = [1, 2, 3, 4].map((at) => ({ at: new Date(at * 86_400_000).toISOString(), wrong: at === 4 }));
  const svg = svgChart('<script>&"', runs, series);
  expect(svg).toContain('&lt;script&gt;&amp;&quot;');
  expect(svg.match(/<circle/g)).toHaveLength(8);
  expect(svg.match(/<circle[^>]*#cf222e/g)).toHaveLength(3);
  expect(svg).toMatch(/1970-01-02.*1970-01-05/s);
  expect(svg).not.toContain('NaN');
});
