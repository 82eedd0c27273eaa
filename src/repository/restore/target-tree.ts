import type { SafeRoot } from '../../platform/restore-fs.js';
import type { RelativePath } from '../../platform/restore-path.js';
import type { EntryType } from '../entry.js';
import { isWithin } from '../reader.js';

interface Frame {
  rel: RelativePath;
  /** There before the restore. */
  there: boolean;
  /** Why nothing can be restored in it. */
  blocked: string | undefined;
  /** Anything but a directory. */
  other?: EntryType;
}

/** The directories on the way to the present entry, as entries come in order. */
export class TargetTree {
  private readonly stack: Frame[];

  constructor(private readonly target: SafeRoot | undefined) {
    this.stack = [{ rel: '', there: target !== undefined, blocked: undefined }];
  }

  /** The directory that holds `rel`; directories that no entry names are told to `implied`. */
  enter(rel: RelativePath, implied: (rel: RelativePath, there: boolean) => void): Frame {
    while (this.stack.length > 1 && !isBelow(rel, this.stack[this.stack.length - 1]!.rel)) this.stack.pop();
    for (;;) {
      const top = this.stack[this.stack.length - 1]!;
      if (top.other !== undefined) {
        top.blocked = `the snapshot has a ${top.other} at ${top.rel.toString()}, so nothing can lie below it`;
      }
      const from = top.rel.length === 0 ? 0 : top.rel.length + 1;
      const end =
        typeof rel === 'string'
          ? indexAfter(rel, top.rel, from)
          : rel.indexOf(0x2f, from === 0 ? 0 : Buffer.byteLength(top.rel) + 1);
      if (end < 0 || top.blocked !== undefined) return top;
      const between = typeof rel === 'string' ? rel.slice(0, end) : rel.subarray(0, end);
      const stat = top.there ? this.target?.lstat(between) : undefined;
      const blocked =
        stat && !stat.isDirectory() ? 'something that is no directory is in its way at the target' : undefined;
      if (blocked === undefined) implied(between, stat !== undefined);
      this.stack.push({ rel: between, there: stat !== undefined, blocked });
    }
  }

  pushDir(rel: RelativePath, there: boolean, blocked: string | undefined): void {
    if (rel.length === 0) return;
    this.stack.push({ rel, there, blocked });
  }

  /** Nothing may lie below anything but a directory. */
  pushOther(rel: RelativePath, type: EntryType): void {
    this.stack.push({ rel, there: true, blocked: undefined, other: type });
  }
}

const isBelow = (rel: RelativePath, directory: RelativePath): boolean =>
  rel.length > directory.length && isWithin(rel, directory);

function indexAfter(rel: string, top: RelativePath, from: number): number {
  return rel.indexOf('/', typeof top === 'string' ? from : top.toString().length + 1);
}
