import { readFileSync, readlinkSync } from 'node:fs';

/** Of /proc/self/status: what a service manager takes away. */
const statusLines = /^(?:CapEff|NoNewPrivs|Seccomp|Umask):.*$/gm;

/**
 * What decides what this process may write, where it lands and whose it is: user, groups, umask, capabilities, mounts, root folder,
 * security label, largest file. Two processes with the same text do the same. Undefined where it can't be told (Linux only).
 */
export function processRights(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const status = readFileSync('/proc/self/status', 'utf8').match(statusLines);
    const largest = /^Max file size.*$/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    const { geteuid, getegid, getgroups } = process;
    if (status === null || largest === null || !geteuid || !getegid || !getgroups) return undefined;
    return JSON.stringify([
      geteuid(),
      getegid(),
      getgroups().sort((a, b) => a - b),
      status,
      largest[0],
      readlinkSync('/proc/self/ns/mnt'),
      readlinkSync('/proc/self/ns/user'),
      readlinkSync('/proc/self/root'),
      label(),
    ]);
  } catch {
    return undefined;
  }
}

/** Absent on kernels without such a security module. */
function label(): string {
  try {
    return readFileSync('/proc/self/attr/current', 'utf8');
  } catch {
    return '';
  }
}
