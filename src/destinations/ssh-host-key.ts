import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { ServerHostKeyAlgorithm } from 'ssh2';
import { errnoOf, HoldfastError } from '../errors.js';
import { fingerprintOf, isFingerprintOf } from './fingerprint.js';
import { type KnownKey, keyTypeOf, knownHostName, knownKeys } from './ssh-known-hosts.js';

/** The signature algorithms that prove each type of key, best first. */
const algorithmsOf: Readonly<Record<string, readonly ServerHostKeyAlgorithm[]>> = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ecdsa-sha2-nistp384': ['ecdsa-sha2-nistp384'],
  'ecdsa-sha2-nistp521': ['ecdsa-sha2-nistp521'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
};

/** Decides about one server's host key. */
export interface HostKeyCheck {
  /** Types to ask the server for, best first: what is known comes first, so that another of its keys is not taken for a changed one. */
  readonly algorithms: ServerHostKeyAlgorithm[];
  /** The refusal of the key that was shown last, if it was refused. */
  refusal: HoldfastError | undefined;
  accept(key: Buffer): boolean;
}

export interface HostKeyOptions {
  /** Names the destination in messages. */
  label: string;
  host: string;
  port: number;
  /** `SHA256:...`; then known_hosts is not read. */
  pinned?: string;
  knownHosts?: string;
  /** Ask for this type of key alone. */
  type?: string;
}

export const hostKeyTypes: readonly string[] = Object.keys(algorithmsOf);

/** Prepares the check of a server's host key. An unreadable known_hosts file is an error, an absent default one is not. */
export async function hostKeyCheck(options: HostKeyOptions): Promise<HostKeyCheck> {
  const { host, port, pinned, label } = options;
  const at = `${label}: ${knownHostName(host, port)}`;
  const files = options.knownHosts === undefined ? defaultFiles() : [options.knownHosts];
  const known = pinned === undefined ? await readKnown(files, options) : [];
  const trusted = known.filter(({ revoked }) => !revoked);
  const types =
    options.type === undefined ? [...new Set([...trusted.map(({ type }) => type), ...hostKeyTypes])] : [options.type];
  const check: HostKeyCheck = {
    algorithms: types.flatMap((type) => algorithmsOf[type] ?? []),
    refusal: undefined,
    accept(key) {
      check.refusal = pinned === undefined ? judge(at, key, known, files) : judgePinned(at, key, pinned);
      return check.refusal === undefined;
    },
  };
  return check;
}

function defaultFiles(): string[] {
  return [join(homedir(), '.ssh', 'known_hosts'), '/etc/ssh/ssh_known_hosts'];
}

async function readKnown(files: readonly string[], options: HostKeyOptions): Promise<KnownKey[]> {
  const { host, port, knownHosts, label } = options;
  const found: KnownKey[] = [];
  for (const file of files) {
    try {
      found.push(...knownKeys(await readFile(file, 'utf8'), file, knownHostName(host, port)));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' && knownHosts === undefined) continue;
      throw new HoldfastError('ConfigInvalid', `${label}: cannot read ${file} (${errnoOf(error) ?? 'unknown error'})`, {
        hint: 'Correct `knownHosts`, or put the server’s fingerprint in `hostKey`.',
        cause: error,
      });
    }
  }
  return found;
}

const compare = 'On the server: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub (or the file of that type).';

function judgePinned(at: string, key: Buffer, pinned: string): HoldfastError | undefined {
  if (isFingerprintOf(pinned, key)) return undefined;
  const shown = fingerprintOf(key);
  return new HoldfastError(
    'HostKeyMismatch',
    `${at} shows the host key ${shown} (${keyTypeOf(key)}), but \`hostKey\` in the config is ${pinned}`,
    {
      hint: `Nothing was sent. Find out why: either the server was set up anew, or somebody is in between. ${compare}`,
    },
  );
}

function judge(
  at: string,
  key: Buffer,
  known: readonly KnownKey[],
  files: readonly string[],
): HoldfastError | undefined {
  const shown = `${fingerprintOf(key)} (${keyTypeOf(key)})`;
  const same = known.filter((entry) => entry.key.equals(key));
  const revoked = same.find((entry) => entry.revoked);
  if (revoked !== undefined) {
    return new HoldfastError('HostKeyMismatch', `${at} shows the host key ${shown}, which ${revoked.where} revokes`, {
      hint: 'Nothing was sent. Do not trust this server before that is explained.',
    });
  }
  if (same.length > 0) return undefined;
  const trusted = known.filter((entry) => !entry.revoked);
  if (trusted.length === 0) {
    return new HoldfastError(
      'HostKeyMismatch',
      `${at} is not known; it shows the host key ${shown}, ${files.join(' and ')} have none`,
      {
        hint: `If that is the server’s own, put \`hostKey: "${fingerprintOf(key)}"\` in the config (?hostKey=${fingerprintOf(key)} in a URL), or connect once with ssh. ${compare}`,
      },
    );
  }
  const expected = trusted.map((entry) => `${fingerprintOf(entry.key)} (${entry.type}, ${entry.where})`).join(', ');
  return new HoldfastError('HostKeyMismatch', `${at} shows the host key ${shown}, but known is ${expected}`, {
    hint: `Nothing was sent. Find out why: either the server was set up anew, or somebody is in between. ${compare}`,
  });
}
