import { cString, errnoError, lastErrno, native } from './libc.js';

const fileTypes = { fifo: 0o010000, char: 0o020000, block: 0o060000, socket: 0o140000 } as const;
export type NodeType = keyof typeof fileTypes;

/**
 * Makes a FIFO, socket or device at `path`. `mode` is cut by the umask; `rdev` as stat reports it, for devices.
 * Throws errno errors as node:fs does, `ENOTSUP` where the platform can't.
 */
export function makeNode(path: string | Buffer, type: NodeType, mode: number, rdev: bigint = 0n): void {
  const permissions = mode & 0o7777;
  if (type === 'fifo') {
    const mkfifo = native('mkfifo');
    if (mkfifo === undefined) throw errnoError(0, 'mkfifo', path, 'ENOTSUP');
    if (mkfifo(cString(path), permissions) !== 0) throw errnoError(lastErrno(), 'mkfifo', path);
    return;
  }
  const mknod = native('mknod');
  if (mknod === undefined) throw errnoError(0, 'mknod', path, 'ENOTSUP');
  const device = type === 'socket' ? 0n : rdev;
  const dev = process.platform === 'darwin' ? Number(BigInt.asIntN(32, device)) : device;
  if (mknod(cString(path), fileTypes[type] | permissions, dev) !== 0) throw errnoError(lastErrno(), 'mknod', path);
}
