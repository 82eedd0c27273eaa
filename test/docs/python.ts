import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const folder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'holdfast', 'py');
const python = join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
const packages = ['aws-encryption-sdk>=4,<5', 'cryptography'];
const docs = resolve(import.meta.dirname, '../../docs');
/** The restorer for people without Holdfast. */
export const restorer = join(docs, 'restore.py');
const check = 'import aws_encryption_sdk, cryptography';

/**
 * Runs a script (this folder's, or by its path) with Python and the packages it needs, which are kept in the user's cache.
 * @returns what it printed.
 * @throws Error with what it said when it fails.
 */
export async function runPython(script: string, args: string[]): Promise<string> {
  await ensurePython();
  const { stdout } = await run(python, [resolve(import.meta.dirname, script), ...args], {
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', PYTHONPATH: docs },
    maxBuffer: 16 << 20,
  });
  return stdout;
}

/** Makes the virtual environment, unless it is there already. */
export async function ensurePython(): Promise<void> {
  if (await succeeds(python, ['-c', check])) return;
  const system = process.platform === 'win32' ? 'python' : 'python3';
  if (!(await succeeds(system, ['-c', 'import sys; assert sys.version_info >= (3, 9)']))) {
    throw new Error('this test needs Python 3.9 or later: sudo apt-get install python3 python3-venv');
  }
  if (!(await succeeds(system, ['-c', 'import ensurepip']))) {
    throw new Error('this test needs Python’s venv: sudo apt-get install python3-venv');
  }
  mkdirSync(folder, { recursive: true });
  await run(system, ['-m', 'venv', '--clear', folder]);
  await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]);
}

async function succeeds(command: string, args: string[]): Promise<boolean> {
  try {
    await run(command, args);
    return true;
  } catch {
    return false;
  }
}
