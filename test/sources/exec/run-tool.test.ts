import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { secretRegistry } from '../../../src/config/secrets.js';
import { findTool } from '../../../src/sources/exec/find-tool.js';
import { endOrphans } from '../../../src/sources/exec/process-record.js';
import { runTool, type ToolOptions } from '../../../src/sources/exec/run-tool.js';
import { writeSecretFile } from '../../../src/sources/exec/secret-file.js';
import { compileSource } from '../../support/compile.js';

let folder: string;
let processes: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-exec-'));
  processes = path.join(folder, 'processes');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const run = (script: string, options: Partial<ToolOptions> = {}) =>
  runTool({ argv: ['sh', '-c', script], processes, signal: new AbortController().signal, ...options });

/** Whether a process lives, zombies apart. */
function lives(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

async function until<T>(what: () => T | undefined): Promise<T> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(10)) {
    const value = what();
    if (value !== undefined) return value;
  }
  throw new Error('it did not happen within 10 s');
}

const pidsIn = (file: string, count: number) =>
  until(() => {
    const pids = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').filter(Boolean).map(Number) : [];
    return pids.length === count ? pids : undefined;
  });

test('output, exit code and the last of stderr come back; secrets are taken out', async () => {
  secretRegistry.add('s3cr3t-word');
  const result = await run('echo out; echo "bad s3cr3t-word" >&2; exit 4');
  expect(result).toEqual({ exitCode: 4, signal: null, stdout: 'out\n', stderr: 'bad ***' });
  const long = await run('for i in $(seq 1 4000); do echo "s3cr3t-word line $i" >&2; done');
  expect(long.stderr).toContain('*** line 4000');
  expect(long.stderr).not.toMatch(/3t-word/);
  expect(readdirSync(processes)).toEqual([]);
});

test('stdin and stdout may be files, private ones, and their sizes are reported', async () => {
  const input = path.join(folder, 'in');
  const output = path.join(folder, 'out');
  writeFileSync(input, 'x'.repeat(300_000));
  let told = 0;
  const count = (bytes: number) => {
    told += bytes;
  };
  await run('cat', { stdin: { file: input }, stdout: { file: output }, onProgress: count });
  expect(readFileSync(output, 'utf8')).toBe('x'.repeat(300_000));
  expect(statSync(output).mode & 0o777).toBe(0o600);
  expect(told).toBe(300_000);
  const { stdout } = await run('cat | wc -c', { stdin: { text: 'first ', file: input }, onProgress: count });
  expect(Number(stdout)).toBe(300_006);
  expect(told).toBe(600_000);
});

test('a tool that does not read its input ends as it likes', async () => {
  const input = path.join(folder, 'in');
  writeFileSync(input, Buffer.alloc(5_000_000));
  expect(await run('exit 3', { stdin: { text: 'x', file: input } })).toMatchObject({ exitCode: 3 });
});

test('the environment is passed on sparingly', async () => {
  process.env.HOLDFAST_PASSPHRASE = 'tell nobody';
  process.env.PGHOST = 'elsewhere';
  try {
    const { stdout } = await run('env', { env: { PGPASSFILE: '/x' } });
    expect(stdout).toContain('PGPASSFILE=/x');
    expect(stdout).toContain('PATH=');
    expect(stdout).not.toMatch(/tell nobody|PGHOST/);
  } finally {
    delete process.env.HOLDFAST_PASSPHRASE;
    delete process.env.PGHOST;
  }
});

test('cancelling ends the whole group, also what ignores SIGTERM', async () => {
  const controller = new AbortController();
  const pids = path.join(folder, 'pids');
  const running = run(
    `trap '' TERM; echo $$ >>${pids}; (echo $(exec sh -c 'echo $PPID') >>${pids}; sleep 60) & wait; sleep 60`,
    {
      signal: controller.signal,
      graceMs: 200,
    },
  );
  const both = await pidsIn(pids, 2);
  controller.abort(new Error('no more'));
  await expect(running).rejects.toThrow('no more');
  expect(both.filter(lives)).toEqual([]);
  expect(readdirSync(processes)).toEqual([]);
});

test('what outlives its leader is ended too', async () => {
  const pids = path.join(folder, 'pids');
  await run(`sleep 60 & echo $! >${pids}; exit 0`);
  expect((await pidsIn(pids, 1)).filter(lives)).toEqual([]);
});

test('a missing program is told by exit code 127', async () => {
  expect(findTool(['no-such-tool', 'sh'])).toMatch(/\/sh$/);
  expect(findTool(['no-such-tool'])).toBeUndefined();
  const signal = new AbortController().signal;
  expect(await runTool({ argv: ['no-such-tool'], processes, signal })).toMatchObject({ exitCode: 127 });
});

test('what a killed worker left running is found and ended, and nothing else', async () => {
  const { dist, remove } = compileSource(['sources/exec', 'config', 'errors.ts', 'platform/boot.ts']);
  const other = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    const pids = path.join(folder, 'pids');
    const worker = path.join(dist, 'worker.js');
    const script = `sleep 60 & echo $! >>${pids}; echo $$ >>${pids}; wait`;
    writeFileSync(
      worker,
      `import { runTool } from './sources/exec/run-tool.js';
       await runTool({ argv: ['sh', '-c', ${JSON.stringify(script)}], processes: ${JSON.stringify(processes)},
         signal: new AbortController().signal });`,
    );
    const child = spawn(process.execPath, [worker], { stdio: 'ignore' });
    const [member = 0, leader = 0] = await pidsIn(pids, 2);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect([member, leader].filter(lives)).toHaveLength(2);

    // The leader goes first, as when it crashed; its member still carries the mark.
    process.kill(leader, 'SIGKILL');
    await until(() => (lives(leader) ? undefined : true));
    // A process that only got a recorded number later began at another time.
    const [record = ''] = readdirSync(processes);
    const [, boot = '', stat = ''] = readFileSync(path.join(processes, record), 'utf8').split('\n');
    writeFileSync(path.join(processes, 'other.process'), [other.pid, boot, stat, ''].join('\n'));

    expect(await endOrphans(folder)).toBe(1);
    expect(lives(member)).toBe(false);
    expect(lives(other.pid ?? 0)).toBe(true);
    expect(readdirSync(processes)).toEqual([]);
    expect(await endOrphans(folder)).toBe(0);
    expect(await endOrphans(path.join(folder, 'nowhere'))).toBe(0);
  } finally {
    other.kill('SIGKILL');
    remove();
  }
});

test('secret files are private and go away', () => {
  const file = writeSecretFile(path.join(folder, 'temp'), 'my.cnf', 'password=x\n');
  expect(statSync(file.path).mode & 0o777).toBe(0o600);
  expect(statSync(path.dirname(file.path)).mode & 0o777).toBe(0o700);
  file.remove();
  file.remove();
  expect(existsSync(file.path)).toBe(false);
});
