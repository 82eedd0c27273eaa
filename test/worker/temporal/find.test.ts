import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cliModule, findTemporal } from '../../../src/worker/temporal/find.js';

let folder: string;
let bin: string;
let env: NodeJS.ProcessEnv;
let messages: string[];
const note = (message: string) => messages.push(message);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-find-'));
  bin = join(folder, 'bin');
  await mkdir(bin);
  for (const tool of ['/bin/sh', '/bin/cp', '/bin/sleep']) await symlink(tool, join(bin, tool.slice(5)));
  // No proxy answers there: the SDK's download fails at once, wherever this runs.
  env = { PATH: bin, HOME: folder, XDG_CACHE_HOME: join(folder, 'cache'), HTTPS_PROXY: 'http://127.0.0.1:9' };
  messages = [];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function program(path: string, script: string): Promise<string> {
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}
const answers = (version: string) => `echo "temporal version ${version} (Server 1.29.1, UI 2.42.1)"`;
const cached = () => join(folder, 'cache', 'holdfast', 'temporal', 'bin', 'temporal');

test('HOLDFAST_TEMPORAL comes first, and is not passed over when it is wrong', async () => {
  await program(join(bin, 'temporal'), answers('2.0.0'));
  const path = await program(join(folder, 'mine'), answers('1.2.3'));
  expect(await findTemporal(note, { env: { ...env, HOLDFAST_TEMPORAL: path } })).toEqual({
    path,
    version: '1.2.3 (Server 1.29.1, UI 2.42.1)',
    via: 'HOLDFAST_TEMPORAL',
  });
  await expect(findTemporal(note, { env: { ...env, HOLDFAST_TEMPORAL: '/nowhere' } })).rejects.toMatchObject({
    code: 'TemporalMissing',
    message: expect.stringContaining('/nowhere'),
  });
});

test('PATH comes next, past a temporal that does not run', async () => {
  const broken = join(folder, 'broken');
  await mkdir(broken);
  await program(join(broken, 'temporal'), 'exit 1');
  await program(join(bin, 'temporal'), answers('2.0.0'));
  const found = await findTemporal(note, { env: { ...env, PATH: `${broken}:${bin}` } });
  expect(found).toMatchObject({ path: join(bin, 'temporal'), via: 'PATH' });
  expect(messages[0]).toContain(join(broken, 'temporal'));
});

test('where the download is refused, Go builds it once, into the cache, for several who ask at a time', async () => {
  const built = await program(join(folder, 'built'), answers('0.0.0-DEV'));
  await program(join(bin, 'go'), `echo "$@" >> ${folder}/go.log; sleep 0.3; cp ${built} "$GOBIN/temporal"`);
  const both = await Promise.all([findTemporal(note, { env }), findTemporal(note, { env })]);
  expect(both.map(({ via }) => via).sort()).toEqual(['cache', 'go install']);
  expect(new Set(both.map(({ path }) => path))).toEqual(new Set([cached()]));
  expect(messages.join('\n')).toMatch(/downloading.*download: .*go install/s);
  expect((await findTemporal(note, { env })).via).toBe('cache');
  const log = await readFile(join(folder, 'go.log'), 'utf8');
  expect(log).toBe(`install ${cliModule}\n`);
});

test('with no way to get it, the error names all that was tried and what to do', async () => {
  const error = await findTemporal(note, { env }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: 'TemporalMissing',
    message: expect.stringMatching(/download: .+; go install: Go is not installed/),
    hint: expect.stringContaining('https://docs.temporal.io/cli'),
  });
  await expect(stat(cached())).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a build that hangs is ended', async () => {
  await program(join(bin, 'go'), 'exec sleep 100');
  await expect(findTemporal(note, { env, buildTimeoutMs: 300 })).rejects.toMatchObject({
    code: 'TemporalMissing',
    message: expect.stringContaining('go install: not done after'),
  });
});
