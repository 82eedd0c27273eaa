import { execFileSync } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';

/** A file system of its own, in memory. */
export interface Mount {
  readonly path: string;
  /** Mount options, such as `ro` or `size=64m`. */
  remount(options: string): void;
  remove(): Promise<void>;
}

/** Mounts a tmpfs of `size` (such as `8m`) at a new folder. Needs root. */
export async function mountTmpfs(path: string, size: string): Promise<Mount> {
  await mkdir(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'holdfast-test', path]);
  return {
    path,
    remount(options) {
      execFileSync('mount', ['-o', `remount,${options}`, path]);
    },
    async remove() {
      execFileSync('umount', ['--lazy', path]);
      await rm(path, { recursive: true, force: true });
    },
  };
}

/** Whether this process may mount file systems. */
export const mayMount = process.platform === 'linux' && process.getuid?.() === 0;
