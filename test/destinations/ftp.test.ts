import { once } from 'node:events';
import { chown, mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FtpDestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { mayMount, mountTmpfs } from '../support/mounts.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { ftpUser, serverName, startVsftpd, type Vsftpd, type VsftpdOptions } from '../support/vsftpd.js';
import { conformance, type Subject } from './conformance.js';
import { cutting } from './cuts.js';

function configFor(
  server: Vsftpd,
  tls: FtpDestinationConfig['tls'],
  more: Partial<FtpDestinationConfig> = {},
): FtpDestinationConfig {
  const { port, user, password, certificate } = server;
  return {
    type: 'ftp',
    host: '127.0.0.1',
    port,
    user,
    password,
    path: '/backups',
    tls,
    ...(tls !== 'off' && { caFile: certificate.caFile, serverName }),
    verify: 'auto',
    connections: 4,
    timeout: 20_000,
    ...more,
  };
}

async function temporaryFiles(path: string): Promise<string[]> {
  const all = await readdir(path, { recursive: true });
  return all.filter((name) => name.split('/').some((part) => part.startsWith('.tmp-')));
}

async function setUp(tls: FtpDestinationConfig['tls']): Promise<Subject> {
  const options: VsftpdOptions = tls === 'off' ? {} : { tls };
  const server = await startVsftpd(options);
  const proxy = await startTcpProxy(server.port);
  const path = await server.folder('backups');
  const open = (more?: Partial<FtpDestinationConfig>): Promise<Destination> =>
    openDestination('old', configFor(server, tls, more));
  return {
    open: () => open(),
    async seed(keys, bytes) {
      for (const folder of new Set(keys.map((key) => dirname(join(path, key)))))
        await mkdir(folder, { recursive: true });
      for (const key of keys) await writeFile(join(path, key), bytes);
      for (const entry of ['', ...(await readdir(path, { recursive: true }))])
        await chown(join(path, entry), ftpUser.uid, ftpUser.uid);
    },
    leftovers: async () => (await temporaryFiles(path)).length,
    away: () => server.kill(),
    back: () => server.restart(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const password = 'not-the-right-password';
      const destination = await open({ password });
      return { destination, secrets: [password], done: () => destination.close() };
    },
    async readOnly() {
      const sealed = await server.folder('sealed');
      const mount = mayMount ? await mountTmpfs(sealed, '8m') : undefined;
      await chown(sealed, ftpUser.uid, ftpUser.uid);
      mount?.remount('ro');
      const destination = await open({ path: '/sealed' });
      return {
        destination,
        codes: ['AuthDenied', 'DestinationReadOnly'],
        async done() {
          await destination.close();
          await mount?.remove();
        },
      };
    },
    async nearlyFull() {
      const small = await server.folder('small');
      const mount = await mountTmpfs(small, '8m');
      await chown(small, ftpUser.uid, ftpUser.uid);
      const destination = await open({ path: '/small' });
      return {
        destination,
        codes: ['DestinationFull'],
        async done() {
          await destination.close();
          await mount.remove();
        },
      };
    },
    async readCutShort(key) {
      const destination = await open({ port: proxy.port });
      const stream = await destination.get(key);
      await once(stream, 'readable');
      proxy.cutAll();
      return stream;
    },
    async stop() {
      await proxy.stop();
      await server.stop();
    },
  };
}

conformance('a folder on an FTP server', () => setUp('off'));
conformance('a folder on an FTP server with TLS', () => setUp('explicit'));

for (const tls of ['off', 'explicit'] as const) {
  cutting(`a folder on an FTP server, tls ${tls}`, async () => {
    const server = await startVsftpd(tls === 'off' ? {} : { tls });
    // The data connections go where the control connection went, so that the proxy has to stand at another address.
    const proxy = await startTcpProxy(server.port, { host: '127.0.0.2', samePorts: server.passive });
    await server.folder('backups');
    return {
      proxy,
      open: () => openDestination('old', configFor(server, tls, { host: '127.0.0.2', port: proxy.port })),
      direct: await openDestination('old', configFor(server, tls)),
      async stop() {
        await proxy.stop();
        await server.stop();
      },
    };
  });
}
