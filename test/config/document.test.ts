import { expect, test } from 'vitest';
import { parseConfigDocument } from '../../src/config/document.js';

function problems(source: string): string[] {
  const document = parseConfigDocument(source);
  return 'problems' in document
    ? document.problems.map(({ line, key, message }) => `${line}: ${key ?? ''}: ${message}`)
    : [];
}

test('knows where everything is', () => {
  const document = parseConfigDocument(
    'a: 1\njobs:\n  "x.y":\n    sources:\n      - { type: files,\n          path: /b }\n    text: >\n      long\n',
  );
  if ('problems' in document) throw new Error('must parse');
  expect(document.value).toEqual({
    a: 1,
    jobs: { 'x.y': { sources: [{ type: 'files', path: '/b' }], text: 'long\n' } },
  });
  expect(document.locate(['a'])).toEqual({ line: 1, column: 4 });
  expect(document.locate(['jobs'])).toEqual({ line: 2, column: 1 });
  expect(document.locate(['jobs', 'x.y'])).toEqual({ line: 3, column: 3 });
  expect(document.locate(['jobs', 'x.y', 'sources', 0])).toEqual({ line: 5, column: 9 });
  expect(document.locate(['jobs', 'x.y', 'sources', 0, 'path'])).toEqual({ line: 6, column: 17 });
  expect(document.locate(['jobs', 'x.y', 'missing', 'deeper'])).toEqual({ line: 3, column: 3 });
  expect(document.locate(['jobs', 'x.y', 'sources', 7])).toEqual({ line: 4, column: 5 });
});

test('finds its way through aliases', () => {
  const document = parseConfigDocument('base: &b\n  path: /x\nother: *b\n');
  if ('problems' in document) throw new Error('must parse');
  expect(document.value).toEqual({ base: { path: '/x' }, other: { path: '/x' } });
  expect(document.locate(['other', 'path'])).toEqual({ line: 2, column: 9 });
});

test('JSON is YAML, tabs and all', () => {
  const document = parseConfigDocument('{\n\t"a": [\n\t\t"x\\u00e9\\/"\n\t]\n}\n');
  expect(document).toMatchObject({ value: { a: ['xé/'] } });
});

test('words that older YAML took for booleans stay text', () => {
  expect(parseConfigDocument('on: yes\noff: no\n')).toMatchObject({ value: { on: 'yes', off: 'no' } });
});

test('duplicate keys are named with both lines', () => {
  expect(problems('jobs:\n  a: 1\n  b: 2\n  a: 3\n')).toEqual(["4: jobs.a: duplicate key 'a', already on line 2"]);
  expect(problems('{"x": [{"a": 1, "a": 2}]}')).toEqual(["1: x[0].a: duplicate key 'a', already on line 1"]);
});

test.each([
  ['a:\n\t- b\n', /^2: : a tab is used for indentation/],
  ['a: 1\n---\nb: 2\n', /more than one YAML document/],
  ['a: [1, 2\n', /^\d+: : /],
  ['a: "open\n', /Missing closing "quote/],
  ['a: 1\n b: 2\n', /^1: : not valid YAML: Nested mappings/],
  ['a: !!js/function "x"\n', /^1: : unknown tag/],
  ['a: *nowhere\n', /^1: : .*nowhere/],
  ['a: &x [*x]\n', /holds itself/],
  ['? [a, b]\n: 1\n', /a key must be plain text/],
  ['__proto__: { polluted: true }\n', /the key '__proto__' is not possible/],
  ['jobs:\n  constructor: {}\n', /^2: jobs\.constructor: the key 'constructor' is not possible/],
  ['{"a": {"__proto__": {"polluted": true}}}', /the key '__proto__' is not possible/],
])('%j', (source, expected) => {
  const found = problems(source);
  expect(found.join('\n')).toMatch(expected);
  expect({}).not.toHaveProperty('polluted');
});

test('several mistakes are all reported', () => {
  expect(problems('a: 1\na: 2\nb: 1\nb: 2\n')).toHaveLength(2);
});

const bomb = [
  'a: &a [x, x, x, x, x, x, x, x, x]',
  ...'bcdefgh'.split('').map((name, at) => {
    const before = 'abcdefgh'[at];
    return `${name}: &${name} [${Array(9).fill(`*${before}`).join(', ')}]`;
  }),
].join('\n');

test.each([
  ['an alias bomb', bomb],
  ['thousands of aliases', `a: &x 1\nb: [${'*x, '.repeat(50_000)}]`],
  ['deep brackets', '['.repeat(1_000_000)],
  ['deep braces', '{a: '.repeat(200_000)],
  ['deep dashes', '- '.repeat(1_000_000)],
  ['deep question marks', '? '.repeat(1_000_000)],
  ['deep indentation', Array.from({ length: 2800 }, (_, depth) => `${' '.repeat(depth)}a:\n`).join('')],
  ['a million keys', 'a: 1\n'.repeat(800_000)],
])('%s is refused, soon', (_, source) => {
  const started = performance.now();
  expect(problems(source)).not.toEqual([]);
  expect(performance.now() - started).toBeLessThan(20_000);
});
