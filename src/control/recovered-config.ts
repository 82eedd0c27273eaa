import { existsSync } from 'node:fs';
import { stringify } from 'yaml';
import { defaultLog } from '../config/default-log.js';
import { type LoadedConfig, parseConfig } from '../config/load.js';
import { expandHome } from '../config/paths.js';
import { parseReferences, type Reference } from '../config/references.js';
import type { Config, DestinationConfig, JobConfig, NotifyConfig } from '../config/schema.js';
import { resolveSecret } from '../config/secrets.js';
import { isSensitive, leaves, mask } from '../config/sensitive.js';
import { configForShow } from '../config/show.js';
import { HoldfastError } from '../errors.js';
import type { Root } from '../repository/root.js';

/** A secret, or a file of known hosts, that the config names and that has to be put in place. */
export interface Placeholder {
  key: string;
  /** What the config says now. */
  reference: string;
  /** What the lost host's config said, where that was a reference; the same as `reference`: it is to be here, and is not. */
  was: string | null;
}

export interface RecoveredConfig {
  text: string;
  loaded: LoadedConfig;
  placeholders: Placeholder[];
  /** The name that the destination of the URL has. */
  destination: string;
}

/** One job as its newest root tells of it. */
export interface FoundJob {
  root: Root;
  /** Whether nobody without a secret can have written the root. */
  authentic: boolean;
}

export interface RecoveredParts {
  host: string;
  state: string | undefined;
  encryption: Config['encryption'];
  /** Where the repositories were found. */
  found: DestinationConfig;
  jobs: readonly FoundJob[];
  file: string;
}

type Stored = { job?: unknown; destinations?: unknown; notify?: unknown };

/**
 * The config of a lost host from what its roots carry. Secrets are not among it: each becomes a placeholder. Commands that would
 * give one become placeholders, too, and so does every reference of a repository that anybody may have written: what a stranger
 * says is never run, nor read and sent to a place of his.
 *
 * @throws HoldfastError ConfigInvalid when what the roots carry is no config of this version.
 */
export async function recoverConfig(parts: RecoveredParts): Promise<RecoveredConfig> {
  const { host, state, encryption, file } = parts;
  const destinations: Record<string, DestinationConfig> = {};
  const notify: Record<string, NotifyConfig> = {};
  const jobs: Record<string, JobConfig> = {};
  const placeholders: Placeholder[] = [];
  // The newest root's word counts where jobs differ on a destination.
  const sorted = [...parts.jobs].sort((a, b) => (a.root.endedAt < b.root.endedAt ? -1 : 1));
  const untrusted = new Set<string>();
  for (const { root, authentic } of sorted) {
    const stored = structuredClone(root.config) as Stored;
    const take = <T>(kind: string, from: unknown, to: Record<string, T>): string[] => {
      const names = Object.keys(isRecord(from) ? from : {});
      for (const name of names) {
        define(to, name, Reflect.get(from as object, name) as T);
        if (authentic) untrusted.delete(`${kind}.${name}`);
        else untrusted.add(`${kind}.${name}`);
      }
      return names;
    };
    const names = take('destinations', stored.destinations, destinations);
    take('notify', stored.notify, notify);
    const { host: _, ...job } = isRecord(stored.job) ? stored.job : {};
    define(jobs, root.job, { ...job, destinations: names } as unknown as JobConfig);
  }
  const destination = placeFound(parts.found, destinations, jobs);
  for (const [kind, part] of Object.entries({ destinations, notify })) {
    for (const [name, value] of Object.entries(part)) {
      if (kind === 'destinations' && name === destination) continue;
      placeholders.push(...replaceSecrets(value, `${kind}.${name}`, !untrusted.has(`${kind}.${name}`)));
    }
  }
  for (const job of Object.values(jobs)) {
    if (Array.isArray(job.notify)) job.notify = job.notify.filter((name) => Object.hasOwn(notify, name));
    const name = Object.keys(jobs).find((one) => jobs[one] === job) ?? '';
    const found = sorted.find(({ root }) => root.job === name);
    placeholders.push(...replaceSecrets(job, `jobs.${name}`, found?.authentic === true));
  }
  const made = new Set(placeholders.map(({ key }) => key));
  const { [destination]: _, ...others } = destinations;
  placeholders.push(...(await notHere({ destinations: others, notify, jobs })).filter(({ key }) => !made.has(key)));
  const config: Config = {
    host,
    // Left out of the text: they are this machine's.
    state: '/nowhere/state',
    spool: { path: '/nowhere/spool', max: 20e9 },
    log: defaultLog('/nowhere/state'),
    ...(encryption === undefined ? {} : { encryption }),
    destinations,
    notify,
    jobs,
  };
  const text = textOf(config, state, placeholders);
  return { text, loaded: parseConfig(text, file), placeholders, destination };
}

const header = `# Written by \`holdfast recover\` from what the backups say of the host that made them. Look it over before you use it:
# sources, schedules and destinations are those of then.
`;

function textOf(config: Config, state: string | undefined, placeholders: readonly Placeholder[]): string {
  let shown: ReturnType<typeof configForShow>;
  try {
    shown = configForShow(config);
  } catch (error) {
    throw new HoldfastError('ConfigInvalid', 'what the backups carry is no config that this version knows', {
      hint: 'Use the version that made them, or write a config by hand: docs/recovery.md tells how.',
      cause: error,
    });
  }
  const { host, encryption, destinations, notify, jobs } = shown;
  const parts = {
    host,
    ...(state === undefined ? {} : { state }),
    ...(encryption === undefined ? {} : { encryption }),
    destinations,
    ...(Object.keys(notify ?? {}).length === 0 ? {} : { notify }),
    jobs,
  };
  const needed = placeholders.map(({ key, reference }) => `#   ${key}: ${reference}\n`).join('');
  const list = needed === '' ? '' : `# Secrets to put in place, or replace by other references:\n${needed}`;
  return `${header}${list}\n${stringify(parts, { lineWidth: 0, aliasDuplicateObjects: false })}`;
}

/** Puts the destination of the URL in the place of the one it was, and adds it where that can't be told. */
function placeFound(
  found: DestinationConfig,
  destinations: Record<string, DestinationConfig>,
  jobs: Record<string, JobConfig>,
): string {
  const sameType = Object.keys(destinations).filter((name) => destinations[name]?.type === found.type);
  const same = sameType.find((name) => isSamePlace(destinations[name], found));
  const name = same ?? (sameType.length === 1 ? sameType[0] : undefined);
  if (name !== undefined) {
    define(destinations, name, { ...found, ...settingsOf(destinations[name], found) } as DestinationConfig);
    return name;
  }
  let added = 'recovered';
  for (let count = 2; Object.hasOwn(destinations, added); count++) added = `recovered-${count}`;
  define(destinations, added, found);
  for (const job of Object.values(jobs)) job.destinations = [added, ...job.destinations];
  return added;
}

/** How a destination is used, whatever the way there. */
const settings = [
  ...[
    'bandwidth',
    'timezone',
    'deletes',
    'giveUpAfter',
    'presence',
    'storageClass',
    'sse',
    'sseKmsKeyId',
    'objectLock',
  ],
  ...['connections', 'timeout', 'verify', 'trash'],
] as const;

/** The settings that the lost host's config had. The way there, logins included, is that of the URL: it has just been gone. */
function settingsOf(was: DestinationConfig | undefined, found: DestinationConfig): object {
  const sameFolder = was?.type === 'local' && found.type === 'local' && was.path === found.path;
  const kept = Object.entries(was ?? {}).filter(
    ([key, value]) =>
      (settings.some((one) => one === key) || (key === 'mountPoint' && sameFolder)) &&
      [...leaves({ value })].every((leaf) => referencesOf(leaf.value).length === 0),
  );
  return Object.fromEntries(kept);
}

const placeKeys = ['path', 'bucket', 'prefix', 'endpoint', 'host', 'port', 'folderId'] as const;
const isSamePlace = (a: object | undefined, b: object): boolean =>
  a !== undefined && placeKeys.every((key) => (Reflect.get(a, key) ?? '') === (Reflect.get(b, key) ?? ''));

function replaceSecrets(part: unknown, at: string, authentic: boolean): Placeholder[] {
  const made: Placeholder[] = [];
  for (const leaf of leaves(part)) {
    const references = referencesOf(leaf.value);
    const masked = isSensitive([...at.split('.'), ...leaf.path]) && leaf.value.includes(mask);
    const risky = references.some(({ kind }) => kind === 'command') || (!authentic && references.length > 0);
    if (!masked && !risky) continue;
    const key = `${at}.${leaf.key}`;
    const reference = `\${env:HOLDFAST_${key.toUpperCase().replace(/[^A-Z0-9]+/g, '_')}}`;
    made.push({ key, reference, was: references.length > 0 ? leaf.value : null });
    leaf.set(reference);
  }
  return made;
}

/** References, and files of known hosts, that the lost host had and this one has not. */
async function notHere(parts: object): Promise<Placeholder[]> {
  const missing: Placeholder[] = [];
  for (const { path, key, value } of leaves(parts)) {
    const isReference = referencesOf(value).length > 0;
    if (!isReference && path.at(-1) !== 'knownHosts') continue;
    const there = isReference
      ? await resolveSecret(value, key).then(
          () => true,
          () => false,
        )
      : existsSync(expandHome(value));
    if (!there) missing.push({ key, reference: value, was: value });
  }
  return missing;
}

function referencesOf(value: string): Reference[] {
  const parsed = parseReferences(value);
  return 'pieces' in parsed ? parsed.pieces.filter((piece) => typeof piece !== 'string') : [];
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Also for names such as `__proto__`, which a hostile root may hold. */
function define<T>(record: Record<string, T>, name: string, value: T): void {
  Object.defineProperty(record, name, { value, writable: true, enumerable: true, configurable: true });
}
