import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { secretRegistry } from '../../../src/config/secrets.js';
import { scratchName } from '../../../src/sources/database.js';
import { type MariaDb, startMariaDb } from '../../support/mariadb.js';
import { type Sshd, startSshd } from '../exec/sshd.js';
import { dumpOf, plainDump, withSource } from './rig.js';

/** Whatever an option file, a shell or SQL might take for its own. */
const password = `p#a "b" 'c' \\n $HOME; ü%=`;

let server: MariaDb;
let sshd: Sshd;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-tls-'));
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
    '-subj',
    '/CN=Test CA',
  );
  openssl(
    'req',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'server.key',
    '-out',
    'server.csr',
    '-subj',
    '/CN=localhost',
  );
  writeFileSync(path.join(folder, 'ext'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  openssl(
    'x509',
    '-req',
    '-in',
    'server.csr',
    '-CA',
    'ca.pem',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-out',
    'server.pem',
    '-days',
    '2',
    '-extfile',
    'ext',
  );
  sshd = await startSshd();
  server = await startMariaDb(
    '--log-bin=binlog',
    `--ssl-ca=${folder}/ca.pem`,
    `--ssl-cert=${folder}/server.pem`,
    `--ssl-key=${folder}/server.key`,
  );
  const quoted = password.replaceAll('\\', '\\\\').replaceAll("'", "''");
  server.sql(`CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE TABLE shop.t (a INT PRIMARY KEY, \`ü\` TEXT); INSERT INTO shop.t VALUES (1, 'ü😀'), (2, NULL);
    CREATE DATABASE other; SET GLOBAL log_bin_trust_function_creators = 1;
    CREATE VIEW shop.v AS SELECT * FROM shop.t; CREATE PROCEDURE shop.p() SELECT 1;
    CREATE TRIGGER shop.g BEFORE INSERT ON shop.t FOR EACH ROW SET NEW.a = NEW.a;
    CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO DO 1;
    CREATE USER strange@'127.0.0.1' IDENTIFIED BY '${quoted}'; GRANT ALL ON *.* TO strange@'127.0.0.1';
    CREATE USER backup@'127.0.0.1' IDENTIFIED BY 'backup-word';
    GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON shop.* TO backup@'127.0.0.1'; GRANT SELECT ON mysql.proc TO backup@'127.0.0.1';
    CREATE USER owner@'127.0.0.1' IDENTIFIED BY 'owner-word'; GRANT ALL ON \`mine%\`.* TO owner@'127.0.0.1';`);
});
afterAll(async () => {
  await server.stop();
  await sshd.stop();
  rmSync(folder, { recursive: true, force: true });
});

const tcp = () => ({ host: '127.0.0.1', port: server.port });
const root = { user: 'root', databases: ['shop'] };
const target = { clean: false, create: true, globals: false, id: 'a restore' };

test('a password of any characters reaches driver and tools, and neither arguments, environment nor messages', async () => {
  secretRegistry.add(password);
  await withSource({ ...tcp(), user: 'strange', password, databases: ['shop'] }, async (source, context) => {
    const bin = path.join(context.folder, 'bin');
    const log = path.join(context.folder, 'log');
    mkdirSync(bin);
    const usual = process.env.PATH;
    for (const tool of ['mariadb-dump', 'mariadb']) {
      const look =
        'for a in "$@"; do case $a in --defaults-file=*) stat -c "mode %a" "$(echo "$a" | cut -d= -f2)";; esac; done';
      writeFileSync(
        path.join(bin, tool),
        `#!/bin/sh\n{ echo "$0 $*"; env; ${look}; } >>${log}\nPATH=${usual} exec ${tool} "$@"\n`,
      );
      chmodSync(path.join(bin, tool), 0o755);
    }
    process.env.PATH = `${bin}:${usual}`;
    process.env.MYSQL_PWD = 'from elsewhere';
    try {
      const dump = await dumpOf(source, 'shop', context);
      expect(await source.scratch(dump, scratchName('a test'), context)).toMatchObject({ differences: [] });
    } finally {
      process.env.PATH = usual;
      delete process.env.MYSQL_PWD;
    }
    const said = readFileSync(log, 'utf8');
    expect(said).toContain('--single-transaction');
    expect(said.match(/^mode .*/gm)).toEqual(['mode 600', 'mode 600']);
    expect(said).not.toMatch(/p#a|from elsewhere/);
    expect(readdirSync(context.tempDir)).toEqual([]);
  });
});

test('a URL says the same', async () => {
  const url = `mysql://strange:${encodeURIComponent(password)}@127.0.0.1:${server.port}/`;
  await withSource({ url }, async (source, context) => {
    expect((await source.preflight(context)).databases.map(({ name }) => name)).toEqual(['other', 'shop']);
  });
  await withSource({ url: `mariadb://root@localhost/?socket=${server.socket}` }, async (source, context) => {
    expect((await source.preflight(context)).databases).toHaveLength(2);
  });
  await withSource({ url: 'postgres://x/' }, async (source, context) => {
    await expect(source.preflight(context)).rejects.toMatchObject({ code: 'ConfigInvalid' });
  });
});

test('a wrong password and a missing database are told apart, and neither is tried again', async () => {
  await withSource({ ...tcp(), user: 'strange', password: 'wrong' }, async (source, context) => {
    await expect(source.preflight(context)).rejects.toMatchObject({
      code: 'AuthDenied',
      retryable: false,
      message: expect.stringContaining(`127.0.0.1:${server.port}: Access denied for user 'strange'`),
    });
  });
  await withSource({ socket: server.socket, user: 'root', databases: ['shop', 'shpo'] }, async (source, context) => {
    await expect(source.preflight(context)).rejects.toMatchObject({
      code: 'SourceMissing',
      message: expect.stringContaining('shpo'),
      hint: expect.stringContaining('shop'),
    });
  });
});

test('few rights are enough for a dump; what they don’t show is said', async () => {
  await withSource({ ...tcp(), user: 'backup', password: 'backup-word' }, async (source, context) => {
    expect((await source.preflight(context)).databases.map(({ name }) => name)).toEqual(['shop']);
    const { report, folder: dumped } = await dumpOf(source, 'shop', context);
    expect(report.tables).toEqual([{ name: 't', rows: 2 }]);
    expect(report.position).toBeUndefined();
    expect(report.warnings).toEqual([
      { code: 'GlobalsUnreadable', message: expect.stringContaining('globals: false') },
    ]);
    const text = readFileSync(path.join(dumped, 'dump.sql'), 'utf8');
    for (const part of ['PROCEDURE `p`', 'TRIGGER shop.g', 'EVENT `e`', 'VIEW `v`']) expect(text).toContain(part);
  });
});

test('the rights that the documentation names are enough for everything', async () => {
  const page = readFileSync(path.resolve(import.meta.dirname, '../../../docs/databases.md'), 'utf8');
  const [grants = ''] = /^CREATE USER holdfast@[\s\S]*?(?=^```)/m.exec(page) ?? [];
  server.sql(grants);
  const config = { socket: server.socket, user: 'holdfast', password: 'a password of your own', databases: ['shop'] };
  await withSource(config, async (source, context) => {
    const { report, folder: dumped } = await dumpOf(source, 'shop', context);
    expect(report).toMatchObject({ warnings: [], position: { gtid: expect.any(String) } });
    expect(readFileSync(path.join(dumped, 'users.sql'), 'utf8')).toContain('strange');
    expect(readFileSync(path.join(dumped, 'dump.sql'), 'utf8')).toContain('PROCEDURE `p`');
  });
});

test('what a user may not see is named, not silently missing', async () => {
  server.sql(`CREATE DATABASE \`less_x\`; CREATE TABLE less_x.seen (a INT); CREATE TABLE less_x.unseen (a INT);
    CREATE USER less@'127.0.0.1' IDENTIFIED BY 'less-word'; GRANT SELECT, SHOW VIEW, EVENT, LOCK TABLES ON \`less\\_x\`.* TO less@'127.0.0.1';
    CREATE USER least@'127.0.0.1' IDENTIFIED BY 'less-word'; GRANT SELECT, TRIGGER, SHOW VIEW ON less_x.seen TO least@'127.0.0.1'`);
  const less = { ...tcp(), password: 'less-word', databases: ['less_x'], globals: false };
  for (const [user, lacking] of [
    ['less', ['triggers (TRIGGER), procedures and functions (SELECT ON mysql.proc)']],
    ['backup', []],
  ] as const) {
    const own = user === 'backup' ? { password: 'backup-word', databases: ['shop'] } : {};
    await withSource({ ...less, user, ...own }, async (source, context) => {
      const { report } = await dumpOf(source, own.databases?.[0] ?? 'less_x', context);
      expect(
        report.warnings.map(({ code }) => code),
        user,
      ).toEqual(lacking.map(() => 'RightsMissing'));
      for (const [at, text] of lacking.entries()) expect(report.warnings[at]?.message).toContain(text);
    });
  }
  server.sql("REVOKE EVENT ON `less\\_x`.* FROM less@'127.0.0.1'");
  for (const user of ['less', 'least']) {
    await withSource({ ...less, user }, async (source, context) => {
      await expect(dumpOf(source, 'less_x', context)).rejects.toMatchObject({ code: 'AuthDenied', retryable: false });
      const { problems } = await source.examine(context);
      expect(problems.map(({ message }) => message).join()).toMatch(/less_x: .*events \(EVENT\)/);
    });
  }
});

test('who may not make views run as others restores them as his own', async () => {
  const dump = await withSource({ socket: server.socket, ...root }, async (source, context) => {
    const { folder: dumped, report } = await dumpOf(source, 'shop', context);
    execFileSync('cp', ['-r', dumped, path.join(folder, 'dump')]);
    return { folder: path.join(folder, 'dump'), report };
  });
  await withSource({ ...tcp(), user: 'owner', password: 'owner-word' }, async (source, context) => {
    const report = await source.restore(dump, { ...target, database: 'mine_1' }, context);
    expect(report.differences).toEqual([]);
    expect(report.warnings).toEqual([{ code: 'DefinersReplaced', message: expect.stringContaining('root@localhost') }]);
  });
  const definers = server.sql(`SELECT definer FROM information_schema.views WHERE table_schema='mine_1'
    UNION ALL SELECT definer FROM information_schema.routines WHERE routine_schema='mine_1'
    UNION ALL SELECT definer FROM information_schema.triggers WHERE trigger_schema='mine_1'
    UNION ALL SELECT definer FROM information_schema.events WHERE event_schema='mine_1'`);
  expect(definers).toBe('owner@127.0.0.1\n'.repeat(4));
  // The other way round: a definer whom this server does not have.
  server.sql(
    'CREATE USER gone@localhost; CREATE DEFINER=gone@localhost PROCEDURE other.q() SELECT 1; DROP USER gone@localhost',
  );
  await withSource({ socket: server.socket, user: 'root' }, async (source, context) => {
    const report = await source.restore(
      await dumpOf(source, 'other', context),
      { ...target, database: 'copy' },
      context,
    );
    expect(report.warnings).toEqual([{ code: 'DefinerMissing', message: expect.stringContaining('gone@localhost') }]);
  });
});

test('through an SSH host, to a port or a socket there', async () => {
  const { port, user, privateKey, hostKey } = sshd;
  const ssh = { host: '127.0.0.1', port, user, privateKey, hostKey };
  for (const where of [
    { ...tcp(), user: 'strange', password },
    { socket: server.socket, user: 'root' },
  ]) {
    await withSource({ ...where, ssh, databases: ['shop'] }, async (source, context) => {
      const dump = await dumpOf(source, 'shop', context);
      expect(dump.report.tables).toEqual([{ name: 't', rows: 2 }]);
      expect(await source.scratch(dump, scratchName('a test'), context)).toMatchObject({ differences: [] });
    });
  }
  await withSource({ ...tcp(), ssh: { ...ssh, hostKey: `SHA256:${'B'.repeat(43)}` } }, async (source, context) => {
    await expect(source.preflight(context)).rejects.toMatchObject({ code: 'AuthDenied' });
  });
});

test('behind a command, which sees none of our files', async () => {
  const ssh = ['ssh', '-F', '/dev/null', '-p', sshd.port, '-i', sshd.keyFile, '-o', 'StrictHostKeyChecking=no'];
  const viaSsh = [...ssh, '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', `${sshd.user}@127.0.0.1`].join(
    ' ',
  );
  // Like a container: words arrive as they are, and none of our temporary files is there.
  const inside = `unshare --mount sh -c 'mount -t tmpfs none "$0" && exec "$@"'`;
  for (const command of [viaSsh, undefined]) {
    await withSource({ ...tcp(), user: 'strange', password, databases: ['shop'] }, async (_, outer) => {
      const behind = command ?? `${inside} ${outer.tempDir}`;
      await withSource(
        { ...tcp(), user: 'strange', password, command: behind, databases: ['shop'] },
        async (source, context) => {
          expect((await source.preflight(context)).server).toMatch(/^MariaDB/);
          const dump = await dumpOf(source, 'shop', context);
          expect(dump.report).toMatchObject({
            tables: [{ name: 't', rows: 2 }],
            position: { gtid: expect.any(String) },
          });
          expect(readFileSync(path.join(dump.folder, 'users.sql'), 'utf8')).toContain('strange');
          const report = await source.restore(dump, { ...target, database: 'behind', clean: true }, context);
          expect(report.differences).toEqual([]);
          expect(
            plainDump(server, 'behind').replace(
              'TRIGGER g BEFORE INSERT ON t',
              'TRIGGER shop.g BEFORE INSERT ON shop.t',
            ),
          ).toBe(plainDump(server, 'shop'));
        },
      );
      await withSource({ ...tcp(), user: 'strange', password: 'wrong', command: behind }, async (source, context) => {
        await expect(source.preflight(context)).rejects.toMatchObject({ code: 'AuthDenied' });
      });
    });
  }
  await withSource({ ...root, command: 'env PATH=/nowhere' }, async (source, context) => {
    await expect(source.preflight(context)).rejects.toMatchObject({ code: 'ToolMissing' });
  });
});

test('TLS: required, verified, refused', async () => {
  server.sql(
    "CREATE USER safe@'127.0.0.1' IDENTIFIED BY 'safe-word' REQUIRE SSL; GRANT ALL ON *.* TO safe@'127.0.0.1'",
  );
  const safe = { host: 'localhost', port: server.port, user: 'safe', password: 'safe-word', databases: ['shop'] };
  const caFile = path.join(folder, 'ca.pem');
  for (const tls of [{ mode: 'require' }, { mode: 'verify-full', caFile }]) {
    await withSource({ ...safe, tls }, async (source, context) => {
      const dump = await dumpOf(source, 'shop', context);
      expect(await source.scratch(dump, scratchName('a test'), context)).toMatchObject({ differences: [] });
    });
  }
  for (const tls of [{ mode: 'off' }, { mode: 'verify-full' }, { mode: 'verify-ca' }]) {
    await withSource({ ...safe, tls }, async (source, context) => {
      await expect(source.preflight(context)).rejects.toMatchObject({ code: 'AuthDenied' });
    });
  }
});
