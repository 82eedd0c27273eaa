import { readFileSync } from 'node:fs';
import { type NativeName, whyMissing } from './libc.js';

export interface Ability {
  available: boolean;
  /** Why not; only when not available. */
  reason?: string;
}

/** What this process can do on this system. A filesystem may still refuse. */
export interface Abilities {
  /** Setting times exact to the nanosecond, also before 1970. */
  nsTimes: Ability;
  xattrs: Ability;
  /** Giving restored files to other users. */
  owners: Ability;
  fifos: Ability;
  devices: Ability;
  /** Finding the holes of sparse files. */
  sparse: Ability;
}

const CAP_CHOWN = 0n;
const CAP_MKNOD = 27n;

function needs(...names: NativeName[]): Ability {
  for (const name of names) {
    const reason = whyMissing(name);
    if (reason !== undefined) return { available: false, reason };
  }
  return { available: true };
}

/** Root may lack a capability (containers), and others may have it. */
function privileged(capability: bigint, name: string): Ability {
  if (process.geteuid === undefined) return { available: false, reason: `not available on ${process.platform}` };
  let has = process.geteuid() === 0;
  if (process.platform === 'linux') {
    try {
      const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
      if (effective !== undefined) has = ((BigInt(`0x${effective}`) >> capability) & 1n) === 1n;
    } catch {
      // Without /proc, the user id has to do.
    }
  }
  return has ? { available: true } : { available: false, reason: `needs root (or ${name})` };
}

/** What works here, with the reason for what doesn't. */
export function abilities(): Abilities {
  const nodes = needs('mknod');
  return {
    nsTimes: needs('utimensat', 'futimens'),
    xattrs: needs('listXattrs', 'getXattr', 'setXattr', 'listXattrsFd', 'getXattrFd', 'setXattrFd'),
    owners: privileged(CAP_CHOWN, 'CAP_CHOWN'),
    fifos: needs('mkfifo'),
    devices: nodes.available ? privileged(CAP_MKNOD, 'CAP_MKNOD') : nodes,
    sparse: needs('lseek'),
  };
}
