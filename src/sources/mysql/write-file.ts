import { open } from 'node:fs/promises';
import path from 'node:path';

/** Writes a private file that is not there yet, to the disk. */
export async function writeFileDurably(
  folder: string,
  name: string,
  content: string,
): Promise<{ path: string; bytes: number }> {
  const file = await open(path.join(folder, name), 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  return { path: name, bytes: Buffer.byteLength(content) };
}
