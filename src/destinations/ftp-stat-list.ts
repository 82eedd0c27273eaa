import { posix } from 'node:path';
import type { FileInfo } from 'basic-ftp';
import { strictList } from './ftp-list.js';
import { type FtpReply, pipelined, refusalOf } from './ftp-pipeline.js';
import type { FtpPool } from './ftp-pool.js';

/** A path that no server takes for a pattern or an option. */
export const plainPath = /^(?:\/[A-Za-z0-9_][A-Za-z0-9._-]*)+\/?$/;

/**
 * Lists folders over control connections, by STAT (RFC 959, 4.1.3): any number of them in one round trip, where LIST needs several
 * for each. Not every server does that: a listing counts only when it has the folder itself in it, as it has for `-a`.
 */
export class StatLists {
  /** Cleared once the server turned out not to list so. */
  usable = true;
  private waiting: Asked[] = [];

  constructor(private readonly pool: FtpPool) {}

  /**
   * What is in a folder, relative to the root; undefined when that has to be asked in another way. Those asked for at the same
   * time go together.
   */
  list(folder: string): Promise<FileInfo[] | undefined> {
    if (!this.usable) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      if (this.waiting.length === 0) setImmediate(() => void this.ask());
      this.waiting.push({ folder, resolve, reject });
    });
  }

  private async ask(): Promise<void> {
    const asked = this.waiting;
    this.waiting = [];
    try {
      await this.pool.use(async (connection) => {
        // A listing of its own kind has exact times, those of STAT are to the minute.
        if (connection.features.has('MLST') || !connection.pipelines) this.usable = false;
        const path = ({ folder }: Asked): string => posix.join(connection.root, folder);
        const plain = this.usable ? asked.filter((one) => plainPath.test(path(one))) : [];
        const replies = await pipelined(
          connection,
          plain.map((one) => `STAT -a ${path(one)}`),
        );
        if (replies.some(({ code }) => code >= 500 && code <= 504)) this.usable = false;
        for (const [at, { resolve }] of plain.entries()) resolve(listingIn(replies[at]));
      });
    } catch (error) {
      // Should it be for the commands, the next attempt goes without.
      this.usable = false;
      for (const { reject } of asked) reject(error);
    }
    for (const { resolve } of asked) resolve(undefined);
  }
}

interface Asked {
  folder: string;
  resolve: (found: FileInfo[] | undefined) => void;
  reject: (error: unknown) => void;
}

/** Undefined unless it is the whole listing of a folder that is there. */
export function listingIn(reply: FtpReply | undefined): FileInfo[] | undefined {
  if (reply === undefined || refusalOf(reply) !== undefined) return undefined;
  const lines = reply.text.split('\n').slice(1, -1);
  if (!lines.some((line) => /^d.*\s\.$/.test(line)) || !lines.some((line) => /^d.*\s\.\.$/.test(line)))
    return undefined;
  return strictList(`${lines.join('\n')}\n`);
}
