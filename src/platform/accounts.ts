import { readFileSync } from 'node:fs';

/** Names of users and groups, from /etc/passwd and /etc/group. */
export interface Accounts {
  userName(uid: number): string | undefined;
  groupName(gid: number): string | undefined;
  uid(name: string): number | undefined;
  gid(name: string): number | undefined;
}

interface Names {
  byId: Map<number, string>;
  byName: Map<string, number>;
}

/** Both files are `name:password:id:...`; the first line for a name or an id counts. */
function parse(file: string): Names {
  const names: Names = { byId: new Map(), byName: new Map() };
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return names;
  }
  for (const line of text.split('\n')) {
    const [name, , id] = line.split(':');
    if (name === undefined || name === '' || name.startsWith('#') || id === undefined || !/^\d+$/.test(id)) continue;
    const number = Number(id);
    if (!names.byId.has(number)) names.byId.set(number, name);
    if (!names.byName.has(name)) names.byName.set(name, number);
  }
  return names;
}

/** Reads both files now; a missing file means that nobody has a name. */
export function readAccounts(passwd = '/etc/passwd', group = '/etc/group'): Accounts {
  const users = parse(passwd);
  const groups = parse(group);
  return {
    userName: (uid) => users.byId.get(uid),
    groupName: (gid) => groups.byId.get(gid),
    uid: (name) => users.byName.get(name),
    gid: (name) => groups.byName.get(name),
  };
}

const maxAgeMs = 60_000;
let cached: { accounts: Accounts; readAt: number } | undefined;

/** The system's accounts, read again at most once a minute. */
export function accounts(): Accounts {
  const now = performance.now();
  if (cached === undefined || now - cached.readAt > maxAgeMs) cached = { accounts: readAccounts(), readAt: now };
  return cached.accounts;
}
