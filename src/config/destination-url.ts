import { HoldfastError } from '../errors.js';
import { type Found, problemsOf } from './issues.js';
import { parseReferences } from './references.js';
import type { DestinationConfig } from './schema.js';
import { destinationSchema } from './schema-destinations.js';
import { isSensitive } from './sensitive.js';

type Fields = Record<string, string | number | boolean>;

/** What each scheme's host, user, port and path stand for. The query is the rest of the destination's keys, whatever its type. */
const schemes: Readonly<Record<string, (url: URL) => Fields>> = {
  'file:': (url) => ({ type: 'local', path: pathOf(url) }),
  's3:': (url) => ({ type: 's3', bucket: url.hostname, prefix: pathOf(url).replace(/^\/+|\/+$/g, '') }),
  'sftp:': (url) => ({ type: 'sftp', ...serverOf(url) }),
  'ftp:': (url) => ({ type: 'ftp', ...serverOf(url) }),
  'ftps:': (url) => ({ type: 'ftp', ...serverOf(url), tls: 'implicit' }),
  'gdrive:': (url) => ({ type: 'gdrive', folderId: url.hostname }),
  'dropbox:': (url) => ({ type: 'dropbox', path: pathOf(url) }),
};

const pathOf = (url: URL): string => decoded(url.pathname);

function serverOf(url: URL): Fields {
  return {
    host: url.hostname,
    ...(url.port === '' ? {} : { port: Number(url.port) }),
    ...(url.username === '' ? {} : { user: decoded(url.username) }),
    path: pathOf(url),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new HoldfastError('UsageInvalid', `'${text}' has a % that begins no character; write it as %25`);
  }
}

/**
 * A destination's config from a URL such as `file:///mnt/disk`, `s3://bucket/prefix?region=eu-central-1` or
 * `sftp://user@host/path`; an absolute path will do for a folder.
 *
 * @param secrets what the URL can't say: values of secret keys.
 * @throws HoldfastError UsageInvalid, also for a secret in the URL: others can read a process's arguments.
 */
export function destinationOfUrl(text: string, secrets: Readonly<Record<string, string>> = {}): DestinationConfig {
  const url = parse(text);
  const make = schemes[url.protocol];
  if (make === undefined) {
    throw new HoldfastError('UsageInvalid', `there is no kind of destination '${url.protocol.slice(0, -1)}'`, {
      hint: `Known: ${Object.keys(schemes).join(', ')}`,
    });
  }
  if (url.password !== '') throw visible('a password');
  const fields: Fields = { ...make(url) };
  // A plus is a plus: fingerprints of host keys have it.
  for (const [key, value] of new URLSearchParams(url.search.replaceAll('+', '%2B'))) {
    if (isSensitive([key]) && isLiteral(value)) throw visible(`\`${key}\``);
    fields[key] = typed(value);
  }
  const parsed = destinationSchema.safeParse({ ...fields, ...secrets });
  if (parsed.success) return parsed.data;
  const at = ['destinations', 'url'];
  const issues = parsed.error.issues.map((issue) => ({ ...issue, path: [...at, ...issue.path] }));
  const problems = problemsOf(issues, { destinations: { url: fields } }).map(textOf);
  throw new HoldfastError('UsageInvalid', `${text.split('?')[0]}: ${problems.join('; ')}`, {
    hint: 'Keys of the destination go into the query: s3://bucket/prefix?region=eu-central-1&endpoint=https://...',
  });
}

/** Names of the secret keys that a destination of this URL may have. */
export function secretKeysOfUrl(text: string): string[] {
  const { type } = schemes[parse(text).protocol]?.(parse(text)) ?? {};
  const option = destinationSchema.options.find(({ shape }) => shape.type.value === type);
  return Object.keys(option?.shape ?? {}).filter((key) => isSensitive([key]));
}

function parse(text: string): URL {
  if (text.startsWith('/')) return new URL(`file://${text.split('/').map(encodeURIComponent).join('/')}`);
  if (URL.canParse(text)) return new URL(text);
  throw new HoldfastError('UsageInvalid', `expected where the backups are, found '${text}'`, {
    hint: 'Such as file:///mnt/disk/backups, s3://bucket/prefix or sftp://user@host/path.',
  });
}

function typed(value: string): string | number | boolean {
  if (value === 'true' || value === 'false') return value === 'true';
  return /^[0-9]{1,15}$/.test(value) ? Number(value) : value;
}

function isLiteral(value: string): boolean {
  const parsed = parseReferences(value);
  return 'pieces' in parsed && parsed.pieces.some((piece) => typeof piece === 'string');
}

const visible = (what: string): HoldfastError =>
  new HoldfastError('UsageInvalid', `the URL holds ${what}: other users of this machine can read it there`, {
    hint: `Leave it out to be asked for it, or refer to it: ?secretAccessKey=\${file:/path} or \${env:NAME}, in quotes.`,
  });

const textOf = ({ path, message }: Found): string =>
  path.length <= 2 ? message : `${path.slice(2).join('.')}: ${message}`;
