import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DropboxDestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { DropboxServer } from '../support/dropbox-server.js';
import { conformance, type Subject } from './conformance.js';

const MiB = 1024 * 1024;

function configFor(server: DropboxServer, more: Partial<DropboxDestinationConfig> = {}): DropboxDestinationConfig {
  const { clientId: appKey, clientSecret: appSecret } = server.oauth;
  const refreshToken = server.oauth.login();
  return { type: 'dropbox', path: '/b', appKey, appSecret, refreshToken, endpoint: server.endpoint, ...more };
}

async function setUp(): Promise<Subject> {
  const server = await DropboxServer.start();
  const states: string[] = [];
  const open = async (more?: Partial<DropboxDestinationConfig>, at = server): Promise<Destination> => {
    const state = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
    states.push(state);
    return await openDestination('box', configFor(at, more), { state });
  };
  return {
    open: () => open(),
    async seed(keys, bytes) {
      for (const key of keys) server.add(`/b/${key}`, bytes);
    },
    async leftovers() {
      return [...server.home.keys()].filter((path) => path.includes('.tmp-')).length;
    },
    away: () => server.http.stop(),
    back: () => server.http.start(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const appSecret = 'not-the-right-secret-at-all';
      const refreshToken = server.oauth.login();
      const destination = await open({ appSecret, refreshToken });
      return { destination, secrets: [appSecret, refreshToken], done: () => destination.close() };
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
      const small = await DropboxServer.start();
      small.quota = 8 * MiB;
      small.add('/b');
      const destination = await open({}, small);
      return {
        destination,
        codes: ['DestinationFull'],
        async done() {
          await destination.close();
          await small.stop();
        },
      };
    },
    async readCutShort(key) {
      server.http.fault = ({ url }) =>
        url.pathname.endsWith('/files/download') ? { cutAnswerAfter: 5 * MiB } : undefined;
      const destination = await open();
      const stream = await destination.get(key);
      await once(stream, 'readable');
      server.http.fault = () => undefined;
      return stream;
    },
    async stop() {
      await server.stop();
      for (const state of states) await rm(state, { recursive: true });
    },
  };
}

conformance('a Dropbox', setUp);
