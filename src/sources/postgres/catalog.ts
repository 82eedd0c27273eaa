import { type TableRows, unfinishedMark } from '../database.js';
import { quoted } from '../sql-names.js';
import { parsePattern } from './patterns.js';
import type { Queries } from './queries.js';

/** What is asked of the server's catalogues. */

/**
 * Tables whose rows a dump holds: ordinary ones, partitions included, but for those that belong to an extension. A standby
 * has no rows of unlogged ones.
 */
const dumpedTables = `
  SELECT c.oid::text AS oid, n.nspname AS schema, c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery()) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  ORDER BY n.nspname, c.relname`;

const tablesPerQuery = 50;

export interface Table {
  oid: string;
  schema: string;
  name: string;
}

export const qualified = ({ schema, name }: Pick<Table, 'schema' | 'name'>): string => `${schema}.${name}`;
export const literal = (text: string): string =>
  text.includes('\\') ? ` E'${text.replace(/[\\']/g, '$&$&')}'` : `'${text.replaceAll("'", "''")}'`;

/** What is left out of a dump, as pg_dump takes it. */
export interface Exclusions {
  excludeSchemas: readonly string[];
  excludeTables: readonly string[];
}

export async function listTables(
  client: Queries,
  { excludeSchemas, excludeTables }: Exclusions = { excludeSchemas: [], excludeTables: [] },
): Promise<Table[]> {
  const left = [
    ...excludeSchemas.map((pattern) => `t.schema ~ ${literal(parsePattern(pattern).name)}`),
    ...excludeTables.map((pattern) => {
      const { schema, name } = parsePattern(pattern);
      const where = schema === undefined ? 'pg_table_is_visible(t.oid::oid)' : `t.schema ~ ${literal(schema)}`;
      return `(t.name ~ ${literal(name)} AND ${where})`;
    }),
  ];
  const kept = left.length === 0 ? '' : ` WHERE NOT (${left.join(' OR ')})`;
  return (await client.query<Table>(`SELECT t.* FROM (${dumpedTables}) t${kept}`)).rows;
}

/**
 * Which of the tables have other files now, or another name, than this transaction's snapshot knows: rewritten, emptied or
 * renamed since. The rows of a rewritten one are not seen in the snapshot any more, whatever they were.
 */
export async function rewrittenTables(client: Queries, tables: readonly Table[]): Promise<Table[]> {
  if (tables.length === 0) return [];
  const { rows } = await client.query<{ oid: string }>(
    `SELECT c.oid::text AS oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid IN (${tables.map(({ oid }) => oid).join(', ')}) AND (c.relfilenode <> coalesce(pg_relation_filenode(c.oid), 0)
       OR to_regclass(format('%I.%I', n.nspname, c.relname)) IS DISTINCT FROM c.oid::regclass)`,
  );
  const changed = new Set(rows.map(({ oid }) => oid));
  return tables.filter(({ oid }) => changed.has(oid));
}

/** Where each table's rows are, by its oid: another place once it was rewritten or emptied. */
export async function tablePlaces(
  client: Queries,
  tables: readonly Table[],
  which: 'all' | 'filled',
): Promise<Map<string, string>> {
  const places = new Map<string, string>();
  for (let at = 0; at < tables.length; at += tablesPerQuery) {
    const { rows } = await client.query<{ oid: string; place: string | null }>(
      tables
        .slice(at, at + tablesPerQuery)
        .map(({ oid, schema, name }) => {
          const filled = which === 'all' ? '' : ` WHERE EXISTS (SELECT FROM ONLY ${quoted(schema)}.${quoted(name)})`;
          return `SELECT '${oid}' AS oid, pg_relation_filenode(${oid})::text AS place${filled}`;
        })
        .join(' UNION ALL '),
    );
    for (const { oid, place } of rows) if (place !== null) places.set(oid, place);
  }
  return places;
}

/** What of a database this user may not read, by name; of large objects (before version 18) only who owns none of them. */
export async function unreadableObjects(client: Queries, tables: readonly Table[]): Promise<string[]> {
  const oids = tables.length === 0 ? 'NULL' : tables.map(({ oid }) => oid).join(', ');
  const { rows } = await client.query<{ name: string }>(
    `SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.oid IN (${oids}) AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT') OR row_security_active(c.oid))
     UNION ALL
     SELECT 'the sequence ' || n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname !~ '^pg_' AND c.relpersistence <> 't' AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT') ELSE false END
     UNION ALL
     SELECT 'large objects of ' || pg_get_userbyid(o.lomowner) FROM pg_largeobject_metadata o
       WHERE NOT pg_has_role(o.lomowner, 'USAGE') AND NOT EXISTS (SELECT FROM aclexplode(o.lomacl) a
         WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
       GROUP BY o.lomowner
     ORDER BY 1`,
  );
  return rows.map(({ name }) => name);
}

/** Keeps everybody from altering or emptying the tables until the transaction ends; reading and writing go on. */
export async function lockTables(client: Queries, tables: readonly Table[]): Promise<void> {
  for (let at = 0; at < tables.length; at += tablesPerQuery) {
    const names = tables
      .slice(at, at + tablesPerQuery)
      .map(({ schema, name }) => `ONLY ${quoted(schema)}.${quoted(name)}`);
    await client.query(`LOCK TABLE ${names.join(', ')} IN ACCESS SHARE MODE`);
  }
}

/** Rows of every table that a dump would hold, and of those named besides. Counts what each holds itself, without heirs. */
export async function countTables(client: Queries, besides: ReadonlySet<string>): Promise<TableRows[]> {
  const all = await client.query<Table & { own: boolean }>(
    `SELECT t.oid, t.schema, t.name, true AS own FROM (${dumpedTables}) t
     UNION ALL
     SELECT c.oid::text, n.nspname, c.relname, false
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
     WHERE c.relkind = 'r'`,
  );
  const wanted = all.rows.filter((table) => table.own || besides.has(qualified(table)));
  const counts: TableRows[] = [];
  for (let at = 0; at < wanted.length; at += tablesPerQuery) {
    const part = wanted.slice(at, at + tablesPerQuery);
    const { rows } = await client.query<{ at: number; rows: string }>(
      part
        .map(
          (table, number) =>
            `SELECT ${number} AS at, count(*) AS rows FROM ONLY ${quoted(table.schema)}.${quoted(table.name)}`,
        )
        .join(' UNION ALL '),
    );
    for (const row of rows) {
      const table = part[row.at];
      if (table) counts.push({ name: qualified(table), rows: Number(row.rows) });
    }
  }
  return counts;
}

export interface ServerFacts {
  /** Such as 15. */
  major: number;
  /** Such as `15.13 (Debian 15.13-0+deb12u1)`. */
  version: string;
}

export async function serverFacts(client: Queries): Promise<ServerFacts> {
  const { rows } = await client.query<{ number: string; version: string }>(
    `SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS version`,
  );
  const number = Number(rows[0]?.number);
  return { major: Math.floor(number / 10_000), version: rows[0]?.version ?? '' };
}

export interface DatabaseRow {
  name: string;
  connectable: boolean;
}

export async function listServerDatabases(client: Queries): Promise<DatabaseRow[]> {
  const { rows } = await client.query<DatabaseRow>(
    `SELECT datname AS name, datallowconn AS connectable FROM pg_database ORDER BY datname`,
  );
  return rows;
}

/** Bytes of the current database with its indexes: more than a dump reads, but known without looking at a table. */
export async function databaseBytes(client: Queries): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>('SELECT pg_database_size(current_database()) AS bytes');
  return Number(rows[0]?.bytes ?? 0);
}

/**
 * Bytes of the current database that a dump reads: tables and large objects without their indexes. Fails when somebody
 * keeps a table locked.
 */
export async function tableBytes(client: Queries): Promise<number> {
  await client.query("SET lock_timeout = '1s'");
  const { rows } = await client.query<{ bytes: string | null }>(
    `SELECT sum(pg_table_size(c.oid)) AS bytes FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' OR c.relname = 'pg_largeobject')`,
  );
  return Number(rows[0]?.bytes ?? 0);
}

/** With what the current database was made, and what is set for it; keys beginning with `set:` are settings. */
export async function databaseMade(client: Queries): Promise<Record<string, string>> {
  const { rows } = await client.query<{
    made: Record<string, unknown>;
    encoding: string;
    owner: string;
    tablespace: string;
  }>(
    `SELECT to_jsonb(d) AS made, pg_encoding_to_char(d.encoding) AS encoding, pg_get_userbyid(d.datdba) AS owner, t.spcname AS tablespace
     FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = current_database()`,
  );
  const row = rows[0];
  const made: Record<string, string> = { encoding: row?.encoding ?? '', owner: row?.owner ?? '' };
  const keep = (name: string, value: unknown): void => {
    if (typeof value === 'string') made[name] = value;
  };
  if (row?.tablespace !== 'pg_default') keep('tablespace', row?.tablespace);
  keep('collate', row?.made.datcollate);
  keep('ctype', row?.made.datctype);
  keep('provider', row?.made.datlocprovider);
  keep('locale', row?.made.datlocale ?? row?.made.daticulocale);
  keep('icuRules', row?.made.daticurules);
  if (row?.made.datistemplate === true) made.template = 'true';
  if (typeof row?.made.datconnlimit === 'number' && row.made.datconnlimit >= 0)
    made.connections = String(row.made.datconnlimit);
  const about = await client.query<{ comment: string | null; acl: string | null; ofRoles: string | null }>(
    `SELECT shobj_description(d.oid, 'pg_database') AS comment,
       (SELECT json_agg(json_build_object('to', CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
          'right', a.privilege_type, 'grantable', a.is_grantable))::text FROM aclexplode(d.datacl) a) AS acl,
       (SELECT json_agg(json_build_object('role', pg_get_userbyid(s.setrole), 'setting', x.setting))::text
          FROM pg_db_role_setting s, unnest(s.setconfig) x(setting) WHERE s.setdatabase = d.oid AND s.setrole <> 0) AS "ofRoles"
     FROM pg_database d WHERE d.datname = current_database()`,
  );
  for (const [name, value] of Object.entries(about.rows[0] ?? {})) keep(name, value);
  const settings = await client.query<{ setting: string }>(
    `SELECT unnest(s.setconfig) AS setting FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
     WHERE d.datname = current_database() AND s.setrole = 0`,
  );
  for (const { setting } of settings.rows) {
    const at = setting.indexOf('=');
    made[`set:${setting.slice(0, at)}`] = setting.slice(at + 1);
  }
  return made;
}

/** Roles that own something in the current database or have rights to it. */
export async function rolesUsed(client: Queries): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT DISTINCT r.rolname AS name FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
     WHERE s.refclassid = 'pg_authid'::regclass
       AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND r.rolname !~ '^pg_'
     ORDER BY 1`,
  );
  return rows.map(({ name }) => name);
}

export async function rolesThere(client: Queries): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>('SELECT rolname AS name FROM pg_roles');
  return new Set(rows.map(({ name }) => name));
}

/** Tablespaces, other than the database's own, that something in the current database is in. */
export async function tablespacesUsed(client: Queries): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT DISTINCT t.spcname AS name FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
     WHERE t.spcname <> 'pg_global' ORDER BY 1`,
  );
  return rows.map(({ name }) => name);
}

export async function tablespacesThere(client: Queries): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>('SELECT spcname AS name FROM pg_tablespace');
  return new Set(rows.map(({ name }) => name));
}

/** The subscriptions of a database, whichever the current one is. Servers before 10 know none. */
export async function subscriptionsThere(client: Queries, database: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT s.subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = ${literal(database)}`,
  );
  return rows.map(({ name }) => name);
}

/** Whether a restore into the current database did not come to its end. */
export async function isMarked(client: Queries): Promise<boolean> {
  const { rows } = await client.query<{ marked: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = '${unfinishedMark}') AS marked`,
  );
  return rows[0]?.marked === true;
}

/** Whether the current database holds anything of a user's. */
export async function isEmpty(client: Queries): Promise<boolean> {
  const user = (catalogue: string, namespace: string): string =>
    `EXISTS (SELECT FROM ${catalogue} o JOIN pg_namespace n ON n.oid = o.${namespace}
       WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_depend d
         WHERE d.classid = '${catalogue}'::regclass AND d.objid = o.oid AND d.deptype = 'e'))`;
  const { rows } = await client.query<{ holds: boolean }>(
    `SELECT ${user('pg_class', 'relnamespace')} OR ${user('pg_proc', 'pronamespace')} OR ${user('pg_type', 'typnamespace')}
       OR EXISTS (SELECT FROM pg_largeobject_metadata)
       OR EXISTS (SELECT FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')) AS holds`,
  );
  return rows[0]?.holds === false;
}
