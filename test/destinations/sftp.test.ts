import { once } from 'node:events';
import { mkdir, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { SftpDestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { mayMount, mountTmpfs } from '../support/mounts.js';
import { type Sshd, startSshd } from '../support/sshd.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { conformance, type Subject } from './conformance.js';

function configFor(server: Sshd, path: string, more: Partial<SftpDestinationConfig> = {}): SftpDestinationConfig {
  const { port, user, privateKey, hostKey } = server;
  return {
    type: 'sftp',
    host: '127.0.0.1',
    port,
    user,
    privateKey,
    hostKey,
    path,
    connections: 4,
    timeout: 20_000,
    ...more,
  };
}

async function temporaryFiles(path: string): Promise<string[]> {
  const all = await readdir(path, { recursive: true });
  return all.filter((name) => name.split('/').some((part) => part.startsWith('.tmp-')));
}

async function setUp(): Promise<Subject> {
  const server = await startSshd();
  const proxy = await startTcpProxy(server.port);
  const path = join(server.dir, 'backups');
  const open = (more?: Partial<SftpDestinationConfig>, folder = path): Promise<Destination> =>
    openDestination('vault', configFor(server, folder, more));
  return {
    open: () => open(),
    async seed(keys, bytes) {
      for (const folder of new Set(keys.map((key) => dirname(join(path, key)))))
        await mkdir(folder, { recursive: true });
      for (const key of keys) await writeFile(join(path, key), bytes);
    },
    leftovers: async () => (await temporaryFiles(path)).length,
    away: () => server.kill(),
    back: () => server.restart(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const password = 'not-the-right-password';
      const destination = await open({ password, privateKey: undefined });
      return { destination, secrets: [password, server.privateKey], done: () => destination.close() };
    },
    async readOnly() {
      const sealed = join(server.dir, 'sealed');
      const mount = mayMount ? await mountTmpfs(sealed, '8m') : undefined;
      if (mount === undefined) await mkdir(sealed, { mode: 0o500 });
      else mount.remount('ro');
      const destination = await open({}, sealed);
      return {
        destination,
        codes: [mount === undefined ? 'AuthDenied' : 'DestinationReadOnly'],
        async done() {
          await destination.close();
          await mount?.remove();
        },
      };
    },
    async nearlyFull() {
      const small = join(server.dir, 'small');
      const mount = await mountTmpfs(small, '8m');
      const destination = await open({}, small);
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
      await destination.close();
      return stream;
    },
    async stop() {
      await proxy.stop();
      await server.stop();
    },
  };
}

conformance('a folder on an SSH server', setUp);
