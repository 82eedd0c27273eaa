import { HoldfastError } from '../../errors.js';
import type { RelativePath } from '../../platform/restore-path.js';

export function unsafeEntry(path: string | Buffer, why: string): HoldfastError {
  return new HoldfastError(
    'TargetUnsafe',
    `the manifest is not safe to restore: ${JSON.stringify(path.toString())} ${why}`,
    {
      hint: 'No Holdfast writes such a manifest: the repository was tampered with, or its key is in other hands.',
    },
  );
}

const badComponent = /(^|\/)(\.\.?)?(\/|$)/;

/**
 * Where a source path lands below the target: without its leading slash, `C:/x` as `C/x`. Relative paths, which no files
 * source has, land below `.holdfast/SOURCE`.
 * @throws HoldfastError TargetUnsafe for `..`, NULs, empty components and relative paths.
 */
export function targetOf(path: string | Buffer, within: string | undefined): RelativePath {
  const text = typeof path === 'string' ? path : path.toString('latin1');
  let below: string;
  if (text.startsWith('/')) below = text.slice(1);
  else if (/^[A-Za-z]:(\/|$)/.test(text)) below = text[0] + text.slice(2);
  else if (within !== undefined) below = text === '' ? `.holdfast/${within}` : `.holdfast/${within}/${text}`;
  else throw unsafeEntry(path, 'is not absolute');
  if (below.includes('\0')) throw unsafeEntry(path, 'contains a NUL');
  if (below !== '' && badComponent.test(below)) throw unsafeEntry(path, 'has an empty, `.` or `..` component');
  return typeof path === 'string' ? below : Buffer.from(below, 'latin1');
}
