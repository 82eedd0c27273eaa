import { availableParallelism } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { TargetServer } from '../activities/restore-database.js';
import { findJob } from '../config/load.js';
import { parseReferences } from '../config/references.js';
import type { Config, DatabaseSourceConfig } from '../config/schema.js';
import { resolveSecret, secretRegistry } from '../config/secrets.js';
import { HoldfastError } from '../errors.js';
import { dumpPath } from '../sources/dump-paths.js';
import type { RestoreDatabase } from '../workflows/restore-types.js';

/** A database's restore as the command line asks for it. */
export interface DatabaseRequest {
  /** The database's name; of SQLite the file's absolute path. */
  database: string;
  /** The source that has it, where the job has several. */
  source?: string | undefined;
  /** Another server than the source's own; may hold references. */
  targetUrl?: string | undefined;
  /** Another name, or file, than the database's own. */
  into?: string | undefined;
  create?: boolean | undefined;
  clean?: boolean | undefined;
  globals?: boolean | undefined;
  /** Parallel connections; default: the cores, at most 4. */
  jobs?: number | undefined;
}

export interface DatabasePlan {
  database: RestoreDatabase;
  /** The paths of the snapshot that hold it. */
  paths: string[];
  /** The server in place of the source's own. */
  server: TargetServer | undefined;
}

/**
 * Finds out what is meant.
 * @throws HoldfastError JobUnknown; UsageInvalid when no source, or more than one, can be meant.
 */
export async function planDatabase(
  config: Config,
  job: string,
  request: DatabaseRequest,
  filesOnly: boolean,
): Promise<DatabasePlan> {
  const url = request.targetUrl === undefined ? undefined : await resolveSecret(request.targetUrl, '--target-url');
  if (url !== undefined) secretRegistry.add(url);
  const source = sourceOf(config, job, request, url);
  const name = request.database;
  const paths = source.type === 'sqlite' ? [dumpPath(source.name, name), name] : [dumpPath(source.name, name)];
  const database: RestoreDatabase = { source: source.name, name };
  if (filesOnly) return { database, paths, server: undefined };
  const server = url === undefined ? undefined : serverOf(url);
  database.load = {
    into: request.into ?? server?.database ?? name,
    create: request.create === true,
    clean: request.clean === true,
    globals: request.globals === true,
    jobs: request.jobs ?? Math.min(4, availableParallelism()),
    ...(server === undefined ? {} : { server: server.place }),
  };
  if (source.type === 'sqlite' && !isAbsolute(database.load.into))
    throw new HoldfastError('UsageInvalid', `expected an absolute path after --into, found '${database.load.into}'`);
  return { database, paths, server: server && { url: server.url, ...reference(request.targetUrl ?? '') } };
}

/** An URL as it was given, when no secret stands in it: references are followed where it is used. */
function reference(given: string): { reference?: string } {
  const parsed = parseReferences(given);
  if ('problem' in parsed) return {};
  const plain = parsed.pieces.filter((piece) => typeof piece === 'string').join('');
  if (plain === '') return { reference: given };
  const url = URL.canParse(plain) ? new URL(plain) : undefined;
  return url?.password === '' && !/pass/i.test(url.search) ? { reference: given } : {};
}

/** The private folder that the dump passes through; the same for the same request, so that it can be taken up again. */
export const passingFolder = (config: Config, id: string): string => join(config.spool.path, 'restore', `dump-${id}`);

const schemes: Readonly<Record<string, DatabaseSourceConfig['type']>> = {
  'postgres:': 'postgres',
  'postgresql:': 'postgres',
  'mysql:': 'mysql',
  'mariadb:': 'mysql',
};

function sourceOf(
  config: Config,
  job: string,
  { database, source }: DatabaseRequest,
  url: string | undefined,
): DatabaseSourceConfig {
  const all = findJob(config, job).sources.filter((each): each is DatabaseSourceConfig => each.type !== 'files');
  const names = (list: readonly DatabaseSourceConfig[]): string => list.map(({ name }) => name).join(', ');
  if (all.length === 0) throw new HoldfastError('UsageInvalid', `job ${job} has no databases`);
  if (source !== undefined) {
    const named = all.find(({ name }) => name === source);
    if (named) return named;
    throw new HoldfastError('UsageInvalid', `job ${job} has no database source ${source}`, {
      hint: `It has ${names(all)}.`,
    });
  }
  const kind = url === undefined ? undefined : schemes[schemeOf(url)];
  const possible = all.filter((each) =>
    kind === undefined ? (each.type === 'sqlite') === isAbsolute(database) : each.type === kind,
  );
  const exact = possible.filter(
    (each) => 'databases' in each && each.databases !== 'all' && each.databases.includes(database),
  );
  const [only, ...others] = exact.length > 0 ? exact : possible;
  if (only && others.length === 0) return only;
  throw new HoldfastError(
    'UsageInvalid',
    only
      ? `${database} can be of ${names([only, ...others])}`
      : `no source of job ${job} can have the database ${database}`,
    {
      hint: only
        ? 'Say which with --source NAME.'
        : `It has ${names(all)}; SQLite databases are named by absolute path.`,
    },
  );
}

const schemeOf = (url: string): string => /^([a-z]+:)\/\//i.exec(url)?.[1]?.toLowerCase() ?? '';

/** An URL's parts: whom to ask without the database, which one to fill, and how people call it. */
function serverOf(text: string): { url: string; database: string | undefined; place: string } {
  if (schemes[schemeOf(text)] === undefined || !URL.canParse(text)) {
    throw new HoldfastError(
      'UsageInvalid',
      'expected --target-url as postgresql://USER:PASSWORD@HOST:PORT/DATABASE or mysql://...',
      {
        hint: `A reference keeps the password off the command line: --target-url '\${env:TARGET_URL}'.`,
      },
    );
  }
  const url = new URL(text);
  if (url.password !== '') secretRegistry.add(decodeURIComponent(url.password));
  const database = decodeURIComponent(url.pathname.slice(1));
  const place = `${url.protocol}//${url.host}`;
  url.pathname = '';
  return { url: url.href, database: database === '' ? undefined : database, place };
}
