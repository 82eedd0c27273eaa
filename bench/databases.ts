// Two dumps of a database of at least 500 MB: after 1 % of its rows were appended and 1 % changed in one range, how much does
// the second one store? npm run bench:databases [-- postgres|mariadb|sqlite ...]

import { statSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { ConfigInput } from '../src/config/schema.js';
import type { RunDocument } from '../src/workflows/types.js';
import { TestHost } from '../test/support/cli.js';
import { startMariaDb } from '../test/support/mariadb.js';
import { PostgresServer } from '../test/support/postgres.js';

const rows = 2_500_000;
const one = rows / 100;
const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

type Source = ConfigInput['jobs'][string]['sources'][number];

/** What is made of a server that runs; when that fails it is ended. */
async function filled<T>(end: () => Promise<void>, fill: () => Promise<T>): Promise<T> {
  try {
    return await fill();
  } catch (error) {
    await end();
    throw error;
  }
}

/** A filled database of one kind. */
interface Bench {
  source: Source;
  /** Bytes of the table where it is. */
  size: number;
  /** Appends 1 % of the rows and changes 1 % in one range. */
  change(): Promise<void> | void;
  remove(): Promise<void> | void;
}

async function postgres(): Promise<Bench> {
  const server = await PostgresServer.start();
  const row = (from: number, to: number): string =>
    `SELECT g AS id, md5(g::text) AS a, md5((g * 7)::text) AS b, md5((g * 13)::text) AS c, repeat(chr(97 + g % 26), 90) AS filler, now() AS at FROM generate_series(${from}, ${to}) g`;
  const size = await filled(
    () => server.remove(),
    async () => {
      await server.sql('CREATE DATABASE big');
      await server.sql(`CREATE TABLE orders AS ${row(1, rows)}; ALTER TABLE orders ADD PRIMARY KEY (id)`, 'big');
      return Number(await server.sql("SELECT pg_table_size('orders')", 'big'));
    },
  );
  return {
    source: { type: 'postgres', url: server.url(), databases: ['big'] },
    size,
    async change() {
      await server.sql(`INSERT INTO orders ${row(rows + 1, rows + one)}`, 'big');
      await server.sql(`UPDATE orders SET a = md5(a) WHERE id BETWEEN ${rows / 2} AND ${rows / 2 + one}`, 'big');
    },
    remove: () => server.remove(),
  };
}

async function mariadb(): Promise<Bench> {
  const server = await startMariaDb('--skip-log-bin', '--innodb-buffer-pool-size=256M');
  const row = (from: number, to: number): string =>
    `SELECT seq, MD5(seq), MD5(seq * 7), MD5(seq * 13), REPEAT(CHAR(97 + seq % 26), 90), NOW() FROM seq_${from}_to_${to}`;
  const size = await filled(
    () => server.stop(),
    async () => {
      server.sql(`CREATE DATABASE big; USE big; CREATE TABLE orders (id INT PRIMARY KEY, a CHAR(32), b CHAR(32), c CHAR(32), filler VARCHAR(100), at DATETIME);
    INSERT INTO orders ${row(1, rows)}; ANALYZE TABLE orders`);
      return statSync(`${server.folder}/data/big/orders.ibd`).size;
    },
  );
  return {
    source: { type: 'mysql', socket: server.socket, user: 'root', databases: ['big'] },
    size,
    change() {
      server.sql(`USE big; INSERT INTO orders ${row(rows + 1, rows + one)};
        UPDATE orders SET a = MD5(a) WHERE id BETWEEN ${rows / 2} AND ${rows / 2 + one}`);
    },
    remove: () => server.stop(),
  };
}

function sqlite(folder: string): Bench {
  const file = `${folder}/big.db`;
  const database = new Database(file);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = OFF');
  // As random as a hash, and the same each time.
  const hash = (factor: number, column: string): string =>
    `hex(printf('%016x', (n * ${factor}) * 2654435761 % 4294967291)) AS ${column}`;
  const row = (from: number, to: number): string =>
    `WITH RECURSIVE g(n) AS (SELECT ${from} UNION ALL SELECT n + 1 FROM g WHERE n < ${to})
     INSERT INTO orders SELECT n, ${hash(1, 'a')}, ${hash(7, 'b')}, ${hash(13, 'c')}, printf('%.*c', 90, char(97 + n % 26)), 1700000000 + n FROM g`;
  database.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT, filler TEXT, at INTEGER)');
  database.exec(row(1, rows));
  return {
    source: { type: 'sqlite', path: file },
    size: statSync(file).size,
    change() {
      database.exec(row(rows + 1, rows + one));
      database.exec(`UPDATE orders SET a = hex(substr(a, 17)) WHERE id BETWEEN ${rows / 2} AND ${rows / 2 + one}`);
    },
    remove: () => void database.close(),
  };
}

async function measure(kind: string, make: (folder: string) => Bench | Promise<Bench>): Promise<void> {
  const host = await TestHost.make();
  let bench: Bench | undefined;
  try {
    bench = await make(host.folder);
    await host.configure({
      spool: { path: host.spool, max: '20GB' },
      destinations: { nas: { type: 'local', path: host.path('nas') } },
      jobs: { big: { sources: [bench.source], destinations: ['nas'] } },
    });
    const backup = (): Promise<RunDocument> => host.json<RunDocument>(['backup', 'big']);
    const first = await backup();
    await bench.change();
    const second = await backup();
    const unchanged = await backup();
    const line = (what: string, { status, bytes, durationMs }: RunDocument): string =>
      `  ${what}: ${status}, ${mb(bytes.read)} dumped, ${mb(bytes.new)} new, ${mb(bytes.stored)} stored, ${((durationMs ?? 0) / 1000).toFixed(1)} s`;
    process.stdout.write(
      [
        `${kind}: table ${mb(bench.size)}, ${rows} rows; Node ${process.version}`,
        line('first', first),
        line('1 % appended and 1 % changed', second),
        line('unchanged', unchanged),
        `  the second dump stored ${((100 * second.bytes.stored) / first.bytes.stored).toFixed(2)} % of the first (aim: below 5 %)`,
        '',
      ].join('\n'),
    );
  } finally {
    await bench?.remove();
    await host.remove();
  }
}

const kinds = { postgres, mariadb, sqlite };
const asked = process.argv.slice(2);
for (const [kind, make] of Object.entries(kinds))
  if (asked.length === 0 || asked.includes(kind)) await measure(kind, make);
