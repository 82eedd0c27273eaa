import { statSync } from 'node:fs';

/** Bytes of the file; undefined when there is none. */
export function fileSize(file: string): number | undefined {
  return statSync(file, { throwIfNoEntry: false })?.size;
}
