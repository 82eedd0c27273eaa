import { abilities } from '../../platform/abilities.js';
import { accounts } from '../../platform/accounts.js';
import type { RestoreMetadata } from '../../platform/restore-metadata.js';
import type { Entry } from '../entry.js';
import type { PlannedMetadata, Tally } from './plan-files.js';
import { warn } from './tally.js';

/** Decides which owner an entry gets here: by name where that name exists, else by number, nobody else's without the right. */
export class Owners {
  private readonly may = abilities().owners;
  private readonly own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  private readonly users = new Map<string, number>();
  private readonly groups = new Map<string, number>();

  constructor(private readonly tally: Tally) {}

  metadata(entry: Entry): PlannedMetadata {
    const meta: PlannedMetadata = { mode: entry.mode & 0o7777, mtime: entry.mtime };
    if (entry.xattrs) meta.xattrs = entry.xattrs;
    const uid = this.id(this.users, entry.user, entry.uid, (name) => accounts().uid(name));
    const gid = this.id(this.groups, entry.group, entry.gid, (name) => accounts().gid(name));
    if (this.may.available) {
      meta.uid = uid;
      meta.gid = gid;
    } else if (uid !== this.own.uid || gid !== this.own.gid) {
      // A setuid bit for somebody else than its owner would be another right than the one recorded.
      meta.mode &= ~0o6000;
      warn(this.tally, 'OwnerNotRestored', `owners are not restored: ${this.may.reason ?? 'not possible here'}`);
    }
    return meta;
  }

  private id(
    known: Map<string, number>,
    name: string | undefined,
    number: number,
    find: (name: string) => number | undefined,
  ): number {
    if (name === undefined) return number;
    let id = known.get(name);
    if (id === undefined) {
      id = find(name) ?? -1;
      known.set(name, id);
    }
    return id < 0 ? number : id;
  }
}

/** Planned metadata in the form the platform sets it. */
export function toSet(type: RestoreMetadata['type'], meta: PlannedMetadata): RestoreMetadata {
  const result: RestoreMetadata = { type, mode: meta.mode, mtimeNs: BigInt(meta.mtime) };
  if (meta.uid !== undefined) result.uid = meta.uid;
  if (meta.gid !== undefined) result.gid = meta.gid;
  if (meta.xattrs) {
    result.xattrs = meta.xattrs.map(([name, value, encoding]) => [
      encoding === 'base64' ? Buffer.from(name, 'base64') : name,
      Buffer.from(value, 'base64'),
    ]);
  }
  return result;
}
