import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GoogleDriveDestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { TokenFile } from '../../src/destinations/tokens.js';
import { DriveServer } from '../support/gdrive-server.js';
import { conformance, type Subject } from './conformance.js';

const MiB = 1024 * 1024;

async function logIn(server: DriveServer, state: string, name = 'drive'): Promise<void> {
  await new TokenFile(state, name).write({ refreshToken: server.oauth.login() });
}

function configFor(server: DriveServer, more: Partial<GoogleDriveDestinationConfig> = {}): GoogleDriveDestinationConfig {
  return { type: 'gdrive', credentials: server.clientJson(), endpoint: server.endpoint, ...more };
}

async function setUp(): Promise<Subject> {
  const server = await DriveServer.start();
  const state = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
  await logIn(server, state);
  const open = (more?: Partial<GoogleDriveDestinationConfig>): Promise<Destination> =>
    openDestination('drive', configFor(server, more), { state });
  const rootId = (): string => [...server.files.values()].find(({ name }) => name === 'Holdfast')?.id ?? '';
  return {
    open: () => open(),
    async seed(keys, bytes) {
      server.seed(rootId(), keys, bytes);
    },
    async leftovers() {
      const unfinished = [...server.sessions.values()].filter(({ file }) => file === undefined).length;
      return unfinished + server.paths(rootId()).filter((path) => path.includes('.tmp-')).length;
    },
    away: () => server.http.stop(),
    back: () => server.http.start(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const other = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
      const refreshToken = server.oauth.login();
      await new TokenFile(other, 'drive').write({ refreshToken });
      const clientSecret = 'not-the-right-secret-at-all';
      const config = configFor(server, { credentials: server.clientJson({ client_secret: clientSecret }) });
      const destination = await openDestination('drive', config, { state: other });
      return {
        destination,
        secrets: [clientSecret, refreshToken],
        async done() {
          await destination.close();
          await rm(other, { recursive: true });
        },
      };
    },
    async readOnly() {
      const destination = await open();
      server.readOnly = true;
      return {
        destination,
        codes: ['DestinationReadOnly'],
        async done() {
          server.readOnly = false;
          await destination.close();
        },
      };
    },
    async nearlyFull() {
      const small = await DriveServer.start();
      small.quota = 8 * MiB;
      const folder = small.add({ name: 'small' });
      const other = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
      await logIn(small, other);
      const destination = await openDestination('drive', configFor(small, { folderId: folder.id }), { state: other });
      return {
        destination,
        codes: ['DestinationFull'],
        async done() {
          await destination.close();
          await small.stop();
          await rm(other, { recursive: true });
        },
      };
    },
    async readCutShort(key) {
      server.http.fault = ({ method, url }) =>
        method === 'GET' && url.searchParams.get('alt') === 'media' ? { cutAnswerAfter: 5 * MiB } : undefined;
      const destination = await open();
      const stream = await destination.get(key);
      await once(stream, 'readable');
      server.http.fault = () => undefined;
      return stream;
    },
    async stop() {
      await server.stop();
      await rm(state, { recursive: true });
    },
  };
}

conformance('a Google Drive', setUp);
