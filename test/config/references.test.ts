import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hasReference, parseReferences } from '../../src/config/references.js';
import { ref } from './helpers.js';

function pieces(value: string) {
  const parsed = parseReferences(value);
  if ('problem' in parsed) throw new Error(parsed.problem);
  return parsed.pieces;
}

test('literals and references in order', () => {
  expect(pieces(`a${ref('env:X')}b${ref('file:/run/x')}`)).toEqual([
    'a',
    { kind: 'env', target: 'X', text: ref('env:X') },
    'b',
    { kind: 'file', target: '/run/x', text: ref('file:/run/x') },
  ]);
  expect(pieces('plain')).toEqual(['plain']);
  expect(pieces('')).toEqual(['']);
});

test('a command may hold braces', () => {
  expect(pieces(ref(`command:echo ${ref('HOME')} | awk '{print $1}'`))).toEqual([
    expect.objectContaining({ kind: 'command', target: `echo ${ref('HOME')} | awk '{print $1}'` }),
  ]);
});

test('what is no reference stays as it is; $$ escapes', () => {
  expect(pieces('pa${ss')).toEqual(['pa${ss']);
  expect(pieces(ref('HOME'))).toEqual([ref('HOME')]);
  expect(pieces(`$${ref('env:X')}`)).toEqual([ref('env:X')]);
  expect(hasReference(`$${ref('env:X')}`)).toBe(false);
  expect(hasReference(`x${ref('env:X')}`)).toBe(true);
});

test.each([
  [ref('evn:X'), 'did you mean'],
  [ref('env:'), 'name of an environment variable'],
  [ref('env:A-B'), 'name of an environment variable'],
  [ref('file:run/x'), 'absolute'],
  [ref('file: '), 'empty'],
  [ref('command:'), 'empty'],
  [ref('credential:../x'), 'systemd credential'],
  [ref('credential:..'), 'systemd credential'],
  ['${env:X', 'no closing'],
])('%s', (value, problem) => {
  const parsed = parseReferences(value);
  expect('problem' in parsed ? parsed.problem : '').toContain(problem);
});

test('pieces put together are the value', () => {
  const part = fc.oneof(
    fc.string(),
    fc.constantFrom('${', '$', '}', ref('env:A'), ref('command:a {b}'), ref('file:/x')),
  );
  fc.assert(
    fc.property(fc.array(part), (parts) => {
      const value = parts.join('');
      const parsed = parseReferences(value);
      if ('problem' in parsed) return true;
      const joined = parsed.pieces.map((piece) => (typeof piece === 'string' ? piece : piece.text)).join('');
      return joined === value || value.includes('$${');
    }),
  );
});
