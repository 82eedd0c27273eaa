import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import { ensureBuilt } from '../support/build.js';
import { pages, root } from './pages.js';

/** A newcomer's machine: a home, an empty folder to be in, the command `holdfast`. */
let machine: string;
let env: NodeJS.ProcessEnv;
let here: string;
let up: ChildProcess | undefined;

beforeAll(async () => {
  await ensureBuilt();
  machine = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-docs-')));
  here = join(machine, 'folder');
  for (const name of ['home', 'bin', 'folder']) mkdirSync(join(machine, name));
  const command = join(machine, 'bin', 'holdfast');
  writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'bin', 'holdfast.js')}' "$@"\n`);
  chmodSync(command, 0o755);
  env = {
    ...process.env,
    HOME: join(machine, 'home'),
    PATH: [dirname(command), process.env.PATH].join(delimiter),
    XDG_CACHE_HOME: process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'),
  };
  for (const name of ['XDG_STATE_HOME', 'XDG_CONFIG_HOME', 'HOLDFAST_CONFIG']) delete env[name];
});

afterAll(async () => {
  if (up?.exitCode === null) {
    up.kill('SIGKILL');
    await once(up, 'close');
  }
  rmSync(machine, { recursive: true, force: true });
});

const run = promisify(execFile);
const shell = (script: string) => run('bash', ['-euo', 'pipefail', '-c', script], { cwd: here, env });

/** Starts `holdfast up` as another terminal would, and waits until it takes work. */
async function startUp(): Promise<void> {
  const child = spawn('holdfast', ['up'], { cwd: here, env, stdio: ['ignore', 'pipe', 'pipe'] });
  up = child;
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.on('close', (code) => reject(new Error(`up ended with ${code}:\n${said}`)));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes('the worker is ready') && said.includes('Temporal Web UI')) resolve();
      });
    }
  });
}

test('the shell examples of every page work, one after the other', async () => {
  for (const { name, blocks } of pages()) {
    for (const { language, text, line } of blocks) {
      if (language !== 'sh') continue;
      if (text.trim() === 'holdfast up') await startUp();
      else await expect(shell(text), `${name}:${line}\n${text}`).resolves.toBeDefined();
    }
  }
  expect(readFileSync(join(here, 'restored', here, 'documents', 'letter.txt'), 'utf8')).toBe('Dear reader\nP.S.\n');
});

test('what they did is what the README says', async () => {
  const { stdout } = await shell('holdfast --json runs list');
  const runs = JSON.parse(stdout) as RunDocument[];
  expect(runs.length).toBe(3);
  expect(runs.slice(1).map(({ status, mode }) => `${status} ${mode}`)).toEqual([
    'succeeded incremental',
    'succeeded full',
  ]);

  // The documented run document has the keys of a real one, no more and no fewer.
  const page = pages().find(({ name }) => name === 'docs/cli.md');
  const documented = JSON.parse(page?.blocks.find(({ text }) => text.includes('"run"'))?.text ?? '') as RunDocument;
  const real = runs.at(-1);
  expect(keysOf(documented)).toEqual(keysOf(real));
  expect(keysOf(documented.files)).toEqual(keysOf(real?.files));
  expect(keysOf(documented.bytes)).toEqual(keysOf(real?.bytes));
  expect(keysOf(documented.destinations[0])).toEqual(keysOf(real?.destinations[0]));
});

test('`up` ends in good order', async () => {
  expect(up).toBeDefined();
  const ended = once(up ?? process, 'close');
  up?.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});

const keysOf = (value: object | undefined): string[] => Object.keys(value ?? {}).sort();
