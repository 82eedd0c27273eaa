import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../errors.js';
import { bootId } from '../../platform/boot.js';

/** Marks every process of a tool's group, also those whose leader has died. */
export const markerVariable = 'HOLDFAST_TOOL';

const ending = '.process';

/** Where a tool of this mark records itself. */
export function recordFile(folder: string, mark: string): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return path.join(folder, mark + ending);
}

/**
 * A shell script that records itself and then becomes the tool, so that there is no moment in which a tool runs and
 * nothing says so. Arguments: the record's file, the boot's id, the tool and its arguments.
 */
export const recordingScript = `umask 077
record=$1 boot=$2; shift 2
stat=; [ -r /proc/$$/stat ] && read -r stat </proc/$$/stat
printf '%s\\n%s\\n%s\\n' "$$" "$boot" "$stat" >"$record" || { echo "can't write $record" >&2; exit 125; }
exec "$@"`;

/**
 * Ends with SIGKILL what killed workers left running, as recorded in `folder` (and folders below), and removes the
 * records. A process counts only if it began when the record says (or carries the record's mark), in the same boot.
 * @returns how many processes were ended.
 */
export async function endOrphans(folder: string): Promise<number> {
  let ended = 0;
  for (const file of recordsIn(folder)) {
    const [pid = '', boot = '', stat = ''] = readFileSync(file, 'utf8').split('\n');
    if (/^\d+$/.test(pid) && boot === bootId()) {
      ended += await endGroup(Number(pid), startOf(stat), path.basename(file, ending));
    }
    rmSync(file, { force: true });
  }
  return ended;
}

function recordsIn(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith(ending))
      .map((name) => path.join(folder, name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

async function endGroup(group: number, start: string | undefined, mark: string): Promise<number> {
  const known = new Set<number>();
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(20)) {
    const members = groupMembers(group, start, mark);
    if (members.length === 0) break;
    for (const pid of members) {
      known.add(pid);
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if (errnoOf(error) !== 'ESRCH') throw error;
      }
    }
  }
  return known.size;
}

/** Processes of the group that are ours and not yet dead; none where there is no /proc to prove it. */
function groupMembers(group: number, start: string | undefined, mark: string): number[] {
  const members: number[] = [];
  for (const name of namesIn('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = read(`/proc/${name}/stat`);
    const fields = fieldsOf(stat);
    if (fields[2] !== String(group) || fields[0] === 'Z') continue;
    const isLeader = Number(name) === group && start !== undefined && startOf(stat) === start;
    if (isLeader || read(`/proc/${name}/environ`).split('\0').includes(`${markerVariable}=${mark}`))
      members.push(Number(name));
  }
  return members;
}

/** The fields of a /proc/PID/stat line after the command's name (which may hold anything): state, ppid, pgrp, ... (proc(5)). */
function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** When the process began, in clock ticks since the boot; field 22 of the line. */
function startOf(stat: string): string | undefined {
  return fieldsOf(stat)[19];
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
