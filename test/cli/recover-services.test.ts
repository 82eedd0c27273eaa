import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import type { RestoreDocument } from '../../src/workflows/restore-types.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { plainDump } from '../sources/mysql/rig.js';
import { TestHost } from '../support/cli.js';
import { DropboxServer } from '../support/dropbox-server.js';
import { DriveServer } from '../support/gdrive-server.js';
import { type MariaDb, startMariaDb } from '../support/mariadb.js';
import { PostgresServer } from '../support/postgres.js';
import { startVsftpd, type Vsftpd } from '../support/vsftpd.js';

interface Recovered {
  jobs: { job: string; snapshots: number; error: unknown }[];
  placeholders: { key: string; reference: string }[];
  restored: RestoreDocument[];
}

let host: TestHost;
let ftp: Vsftpd;
let drive: DriveServer;
let box: DropboxServer;
let pg: PostgresServer;
let maria: MariaDb;
const secret = 'what all of it is encrypted with';
const write = (name: string, text: string): string => {
  writeFileSync(host.path(name), text, { mode: 0o600 });
  return host.path(name);
};

beforeAll(async () => {
  [host, ftp, drive, box, pg, maria] = await Promise.all([
    TestHost.make(),
    startVsftpd(),
    DriveServer.start(),
    DropboxServer.start(),
    PostgresServer.start(),
    startMariaDb('--skip-log-bin'),
  ]);
  await ftp.folder('backups');
  drive.sharedDrive = drive.add({ id: 'Shared1', name: 'shared', parents: [], foreign: true }).id;
  await pg.sql('CREATE DATABASE shop');
  await pg.sql('CREATE TABLE orders AS SELECT n, md5(n::text) AS words FROM generate_series(1, 5000) n', 'shop');
  maria.sql('CREATE DATABASE books; CREATE TABLE books.t (id INT PRIMARY KEY); INSERT INTO books.t VALUES (1), (2)');
  writeFileSync(join(host.source, 'letter'), 'Dear reader');
  const { clientId: appKey, clientSecret: appSecret } = box.oauth;
  const sources = [
    { type: 'files', name: 'www', paths: [host.source] },
    { type: 'postgres', name: 'pg', url: pg.url(), databases: ['shop'] },
    { type: 'mysql', name: 'my', socket: maria.socket, user: 'root', databases: ['books'] },
  ] satisfies NonNullable<ConfigInput['jobs']['x']>['sources'];
  const destinations = ['server', 'drive', 'box'];
  await host.configure({
    encryption: { passphrase: `\${file:${write('passphrase', secret)}}` },
    destinations: {
      server: {
        type: 'ftp',
        host: '127.0.0.1',
        port: ftp.port,
        user: ftp.user,
        password: ftp.password,
        path: '/backups',
        tls: 'off',
      },
      drive: {
        type: 'gdrive',
        driveId: 'Shared1',
        credentials: `\${file:${write('robot.json', drive.serviceJson())}}`,
        endpoint: drive.endpoint,
      },
      box: {
        type: 'dropbox',
        path: '/b',
        appKey,
        appSecret,
        refreshToken: box.oauth.login(),
        endpoint: box.endpoint,
      },
    },
    jobs: {
      live: { sources, destinations },
      nightly: { sources, destinations, format: 'archive', archive: { type: 'tar.zst' } },
    },
  });
  const runs = await host.json<RunDocument[]>(['backup', 'live', 'nightly']);
  expect(runs.map(({ status }) => status)).toEqual(['succeeded', 'succeeded']);
  // The machine is gone, and the key of the robot with it.
  for (const name of ['state', 'source']) renameSync(host.path(name), host.path(`lost-${name}`));
  mkdirSync(host.path('new'));
});
afterAll(async () => {
  await Promise.all([ftp?.stop(), drive?.stop(), box?.stop(), pg?.remove(), maria?.stop()]);
  await host?.remove();
});

/** Recovers from `url` and proves that files came back, of both kinds of job; returns the new config. */
async function recovered(name: string, url: string): Promise<string> {
  const config = host.path('new', name, 'holdfast.yaml');
  const out = host.path('new', name, 'out');
  const done = await host.json<Recovered>(
    [
      ...['recover', url, '--state', host.path('new', name, 'state'), '--to', out],
      ...['--passphrase-file', host.path('passphrase')],
    ],
    [3],
    config,
  );
  expect(done.jobs).toMatchObject([
    { job: 'live', snapshots: 1, error: null },
    { job: 'nightly', snapshots: 1, error: null },
  ]);
  // The second job's dumps go where the first one's are by then.
  expect(done.restored).toMatchObject([
    { status: 'succeeded' },
    { status: 'partial', damaged: [], files: { failed: 0 } },
  ]);
  expect(readFileSync(join(out, host.source, 'letter'), 'utf8')).toBe('Dear reader');
  expect(readFileSync(config, 'utf8')).not.toContain(secret);
  return config;
}

test('from an FTP server, and a PostgreSQL database from either kind of job', async () => {
  const password = `password=\${file:${write('ftp-password', ftp.password)}}`;
  const config = await recovered('ftp', `ftp://${ftp.user}@127.0.0.1:${ftp.port}/backups?tls=off&${password}`);
  for (const job of ['live', 'nightly']) {
    const url = ['--target-url', pg.url(`from_${job}`), '--create'];
    await host.json(['restore', job, '--database', 'shop', ...url], [0], config);
    expect(await pg.sql('SELECT count(*), max(words) FROM orders', `from_${job}`)).toBe(
      await pg.sql('SELECT count(*), max(words) FROM orders', 'shop'),
    );
  }
});

test('from a shared drive, with the robot’s key put in place', async () => {
  const credentials = `credentials=\${file:${host.path('robot.json')}}`;
  await recovered('drive', `gdrive://Shared1?driveId=Shared1&${credentials}&endpoint=${drive.endpoint}`);
});

test('from Dropbox, and a MySQL database from either kind of job', async () => {
  const { clientId: appKey, clientSecret } = box.oauth;
  const secrets = `appSecret=\${file:${write('box-secret', clientSecret)}}&refreshToken=\${file:${write('box-token', box.oauth.login())}}`;
  const config = await recovered('box', `dropbox:///b?appKey=${appKey}&${secrets}&endpoint=${box.endpoint}`);
  for (const job of ['live', 'nightly']) {
    const url = `mysql://root@localhost/from_${job}?socket=${encodeURIComponent(maria.socket)}`;
    await host.json(['restore', job, '--database', 'books', '--target-url', url, '--create'], [0], config);
    expect(plainDump(maria, `from_${job}`)).toBe(plainDump(maria, 'books'));
  }
});
