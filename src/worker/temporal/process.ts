import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * A text that differs between two processes that had the same pid, also across reboots; undefined when no such process runs.
 * Linux: boot id and start time in ticks; elsewhere what `ps` says; where there is no `ps`, only whether the pid exists.
 */
export async function processIdentity(pid: number): Promise<string | undefined> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  if (process.platform === 'linux') {
    const stat = await readStat(pid);
    if (stat === undefined) return undefined;
    // A zombie is dead but for its parent, once its last thread, and with that its open files, are gone.
    if (stat.state === 'Z' && (await readdir(`/proc/${pid}/task`).catch(() => [])).length <= 1) return undefined;
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
    return `${boot.trim()}:${stat.startTicks}`;
  }
  if (!exists(pid)) return undefined;
  if (process.platform === 'win32') return 'pid';
  const { stdout } = await run('ps', ['-o', 'lstart=,stat=', '-p', String(pid)], {
    env: { ...process.env, LC_ALL: 'C' },
  }).catch(() => ({
    stdout: '',
  }));
  const text = stdout.trim();
  if (text === '') return undefined;
  const state = text.slice(text.lastIndexOf(' ') + 1);
  return state.startsWith('Z') ? undefined : text.slice(0, text.lastIndexOf(' ')).trim();
}

/** Pids of the processes that have `argument` among their arguments; none where that can't be told (Windows). */
export async function findByArgument(argument: string): Promise<number[]> {
  if (process.platform === 'win32') return [];
  if (process.platform !== 'linux') {
    const { stdout } = await run('ps', ['-axo', 'pid=,command='], { maxBuffer: 64 << 20 });
    return stdout
      .split('\n')
      .filter((line) => line.includes(argument))
      .map((line) => Number.parseInt(line, 10))
      .filter((pid) => pid !== process.pid && Number.isSafeInteger(pid));
  }
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || name === String(process.pid)) continue;
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (line.split('\0').includes(argument)) found.push(Number(name));
  }
  return found;
}

/** SIGTERM, then SIGKILL after `graceMs`; returns once that very process is gone. */
export async function terminate(pid: number, identity: string, graceMs: number): Promise<void> {
  const started = Date.now();
  let killed = false;
  signal(pid, 'SIGTERM');
  while ((await processIdentity(pid)) === identity) {
    if (!killed && Date.now() - started > graceMs) {
      signal(pid, 'SIGKILL');
      killed = true;
    }
    if (Date.now() - started > graceMs + 10_000) throw new Error(`process ${pid} does not end, not even by SIGKILL`);
    await sleep(20);
  }
}

async function readStat(pid: number): Promise<{ state: string; startTicks: string } | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', startTicks: fields[19] ?? '' };
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}
