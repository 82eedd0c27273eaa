// Two dumps of a PostgreSQL database of at least 500 MB: after 1 % of its rows were appended and 1 % changed in one range,
// how much does the second one store? npm run bench:databases

import type { RunDocument } from '../src/workflows/types.js';
import { TestHost } from '../test/support/cli.js';
import { PostgresServer } from '../test/support/postgres.js';

const rows = 2_500_000;
const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

const [host, server] = await Promise.all([TestHost.make(), PostgresServer.start()]);
try {
  const row = (from: number, to: number): string =>
    `SELECT g AS id, md5(g::text) AS a, md5((g * 7)::text) AS b, md5((g * 13)::text) AS c, repeat(chr(97 + g % 26), 90) AS filler, now() AS at FROM generate_series(${from}, ${to}) g`;
  await server.sql('CREATE DATABASE big');
  await server.sql(`CREATE TABLE orders AS ${row(1, rows)}; ALTER TABLE orders ADD PRIMARY KEY (id)`, 'big');
  const size = Number(await server.sql("SELECT pg_table_size('orders')", 'big'));
  await host.configure({
    spool: { path: host.spool, max: '20GB' },
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    jobs: { big: { sources: [{ type: 'postgres', url: server.url(), databases: ['big'] }], destinations: ['nas'] } },
  });
  const backup = async (): Promise<RunDocument> => host.json<RunDocument>(['backup', 'big']);
  const first = await backup();
  const one = rows / 100;
  await server.sql(`INSERT INTO orders ${row(rows + 1, rows + one)}`, 'big');
  await server.sql(`UPDATE orders SET a = md5(a) WHERE id BETWEEN ${rows / 2} AND ${rows / 2 + one}`, 'big');
  const second = await backup();
  const unchanged = await backup();
  const line = (what: string, { status, bytes, durationMs }: RunDocument): string =>
    `${what}: ${status}, ${mb(bytes.read)} dumped, ${mb(bytes.new)} new, ${mb(bytes.stored)} stored, ${((durationMs ?? 0) / 1000).toFixed(1)} s`;
  process.stdout.write(
    [
      `table ${mb(size)}, ${rows} rows; Node ${process.version}`,
      line('first', first),
      line('1 % appended and 1 % changed', second),
      line('unchanged', unchanged),
      `the second dump stored ${((100 * second.bytes.stored) / first.bytes.stored).toFixed(2)} % of the first (aim: below 5 %)`,
      '',
    ].join('\n'),
  );
} finally {
  await host.remove();
  await server.remove();
}
