import { createHash, randomBytes } from 'node:crypto';
import { temporaryPrefix } from './keys.js';

/** The name an object has while it is being written. */
export interface TemporaryName {
  readonly name: string;
  /** Whether a later upload of the same object finds it again, and goes on where this one ended. */
  readonly resumable: boolean;
  /** Lets others in this process have the name. */
  release(): void;
}

/** Below this, going on is not worth asking what is there. */
const resumeFrom = 1024 * 1024;

/** Gives out temporary names, and a resumable one to one writer at a time. */
export class TemporaryNames {
  private readonly taken = new Set<string>();

  /** @param sha256 of the whole content; without it nothing could tell whose bytes are there */
  take(key: string, size: number, sha256: string | undefined): TemporaryName {
    if (sha256 !== undefined && size > resumeFrom) {
      const name = `${temporaryPrefix}r-${createHash('sha256').update(`${key}\0${sha256}`).digest('hex').slice(0, 32)}`;
      if (!this.taken.has(name)) {
        this.taken.add(name);
        return { name, resumable: true, release: () => this.taken.delete(name) };
      }
    }
    return {
      name: `${temporaryPrefix}${process.pid}-${randomBytes(8).toString('hex')}`,
      resumable: false,
      release() {},
    };
  }
}
