import { readFileSync } from 'node:fs';

let known: string | undefined;

/** An id that changes with every boot of the system; empty where it has none. */
export function bootId(): string {
  if (known === undefined) {
    try {
      known = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    } catch {
      known = '';
    }
  }
  return known;
}
