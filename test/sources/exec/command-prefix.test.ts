import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import {
  secretAsDescriptor,
  secretAsFile,
  secretDescriptor,
  splitWords,
  withPrefix,
} from '../../../src/sources/exec/command-prefix.js';

test.each([
  ['docker exec -i db', ['docker', 'exec', '-i', 'db']],
  ['  a   b ', ['a', 'b']],
  [`docker exec "my db" 'it''s' a\\ b`, ['docker', 'exec', 'my db', 'its', 'a b']],
  ['"a\\"b" \'c\\d\'', ['a"b', 'c\\d']],
  ['x ""', ['x', '']],
])('%s', (text, words) => {
  expect(splitWords(text)).toEqual(words);
});

test.each(["it's", 'a "b', 'a \\'])('%s has a quote without an end', (text) => {
  expect(splitWords(text)).toBeUndefined();
});

test('ssh gets one command for the shell there, everything else words', () => {
  const argv = ['mariadb-dump', '--where=a b', "it's", '$HOME'];
  expect(withPrefix(['docker', 'exec', '-i', 'db'], argv)).toEqual(['docker', 'exec', '-i', 'db', ...argv]);
  const [, , command = ''] = withPrefix(['/usr/bin/ssh', 'host'], ['printf', '%s\\n', ...argv]);
  expect(execFileSync('sh', ['-c', command], { encoding: 'utf8' })).toBe(`${argv.join('\n')}\n`);
});

test('a secret goes by stdin to a descriptor, and the rest is the tool’s own input', () => {
  const secret = 'password="pässwörd"\n';
  const { argv, text } = secretAsDescriptor(['sh', '-c', `cat ${secretDescriptor}; echo --; cat; exit 7`], secret);
  let output = '';
  try {
    execFileSync(argv[0]!, argv.slice(1), { input: `${text}SELECT 1;\n`, encoding: 'utf8' });
  } catch (error) {
    expect(error).toMatchObject({ status: 7 });
    output = (error as { stdout: string }).stdout;
  }
  expect(output).toBe(`${secret}--\nSELECT 1;\n`);
  expect(argv.join(' ')).not.toContain('pässwörd');
});

test('a secret goes by stdin to a private file that is gone afterwards', () => {
  const script = 'echo "$PGPASSFILE"; stat -c %a "$PGPASSFILE"; cat "$PGPASSFILE" -; exit 3';
  const { argv, text } = secretAsFile(['sh', '-c', script], 'PGPASSFILE', '*:*:*:*:geheim\n');
  let output = '';
  try {
    execFileSync(argv[0]!, argv.slice(1), { input: `${text}rest\n`, encoding: 'utf8' });
  } catch (error) {
    expect(error).toMatchObject({ status: 3 });
    output = (error as { stdout: string }).stdout;
  }
  const [file = '', mode, ...lines] = output.split('\n');
  expect(mode).toBe('600');
  expect(lines).toEqual(['*:*:*:*:geheim', 'rest', '']);
  expect(() => execFileSync('stat', [file], { stdio: 'ignore' })).toThrow();
  expect(argv.join(' ')).not.toContain('geheim');
});
