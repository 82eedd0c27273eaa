import { statfs } from 'node:fs/promises';

/** Bytes that this user can still write on the filesystem of `path`, and its size. */
export async function freeSpace(path: string): Promise<{ free: number; total: number }> {
  const { bavail, blocks, bsize } = await statfs(path, { bigint: true });
  return { free: Number(bavail * bsize), total: Number(blocks * bsize) };
}
