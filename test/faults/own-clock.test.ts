import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { type HttpProxy, startProxy } from '../support/http-proxy.js';
import { describeTree, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';

const random = new Random(11);
vi.setConfig({ testTimeout: 180_000 });

let arena: Arena;
let proxy: HttpProxy;
let hook: Server;
const told: { event: string; run: RunDocument }[] = [];
let config: Pick<ConfigInput, 'destinations' | 'jobs' | 'notify'>;
const expiredKey = 'AKIAEXPIRED';

const far = (bandwidth: string, giveUpAfter: string): Promise<void> => {
  Object.assign(config.destinations.far ?? {}, { bandwidth, giveUpAfter });
  return arena.host.configure(config);
};
const key = (id: string): void => writeFileSync(arena.host.path('key'), `${id}\n`);
const newFiles = (count: number): void => {
  for (let i = 0; i < count; i++) writeFileSync(join(arena.host.source, `new-${i}`), random.bytes(4_000_000));
};

beforeAll(async () => {
  arena = await Arena.make({ bandwidth: '200MB/s' });
  proxy = await startProxy(arena.s3.port);
  proxy.meddle = ({ headers }) =>
    headers.authorization?.includes(expiredKey)
      ? {
          answer: {
            status: 400,
            body: '<Error><Code>ExpiredToken</Code><Message>The token has expired</Message></Error>',
          },
        }
      : undefined;
  hook = createServer((request, response) => {
    let body = '';
    request.on('data', (data) => {
      body += String(data);
    });
    request.on('end', () => {
      told.push(JSON.parse(body) as (typeof told)[number]);
      response.end();
    });
  }).listen(0, '127.0.0.1');
  await once(hook, 'listening');
  const address = hook.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  key(arena.s3.accessKeyId);
  config = arena.config();
  Object.assign(config.destinations.far ?? {}, {
    endpoint: proxy.endpoint,
    accessKeyId: `\${file:${arena.host.path('key')}}`,
  });
  config.notify = { hook: { type: 'webhook', url: `http://127.0.0.1:${address.port}/`, on: ['auth'] } };
  Object.assign(config.jobs.site ?? {}, { notify: ['hook'] });
  await arena.host.configure(config);
  makeTree(arena.host.source, random, { small: 40, big: 1 });
  await arena.host.up();
});
afterAll(async () => {
  await arena?.remove();
  await proxy?.stop();
  hook?.closeAllConnections();
  hook?.close();
});

it('a slow destination does not hold the other back', async () => {
  const { host } = arena;
  await far('3MB/s', '1m');
  newFiles(8);
  const run = await host.startRun('site');
  arena.watchForSuccess(run, 'slow');
  const snapshots = (folder: string): number => arena.namesOf(folder, 'snapshots').length;
  await vi.waitFor(() => expect(snapshots(arena.near)).toBe(1), { timeout: 60_000, interval: 20 });
  const { near, far: there } = arena.storedBytes();
  // The fast one is done when the slow one has a part of it.
  expect(there).toBeLessThan(near / 2);
  expect(snapshots(arena.far)).toBe(0);
  const shown = await host.json<RunDocument>(['runs', 'show', run]);
  expect(shown.status).toBe('running');
  const document = await host.finished(run);
  expect(document.destinations).toMatchObject([{ status: 'stored' }, { status: 'stored' }]);
  expect(document.warnings).toEqual([]);
});

it('expired credentials are waited for, in sight, and taken up when they are renewed', async () => {
  const { host } = arena;
  await far('200MB/s', '1m');
  key(expiredKey);
  newFiles(2);
  const run = await host.startRun('site');
  await vi.waitFor(
    async () => {
      const { stdout } = await host.run(['runs', 'show', run]);
      expect(stdout).toMatch(
        /1 of 2 stored; far retrying until \d\d:\d\d: token expired: .*the credentials have expired/,
      );
    },
    { timeout: 60_000, interval: 200 },
  );
  await vi.waitFor(() => expect(told).toHaveLength(1), 10_000);
  expect(told[0]).toMatchObject({
    event: 'auth',
    run: { run, status: 'running', warnings: [{ code: 'AuthExpired' }] },
  });
  key(arena.s3.accessKeyId);
  await host.json(['destinations', 'retry']);
  const document = await host.finished(run);
  expect(document).toMatchObject({ status: 'succeeded', destinations: [{ status: 'stored' }, { status: 'healed' }] });
  expect(told).toHaveLength(1);
});

it('and after the run by the delivery', async () => {
  const { host } = arena;
  await far('200MB/s', '1s');
  key(expiredKey);
  newFiles(1);
  const expected = describeTree(host.source);
  const run = await host.startRun('site');
  const document = await host.finished(run);
  expect(document).toMatchObject({
    status: 'partial',
    destinations: [{ status: 'stored' }, { status: 'missed', error: expect.stringMatching(/^AuthExpired/) }],
  });
  await vi.waitFor(
    async () => {
      const { stdout } = await host.run(['runs', 'show', run]);
      expect(stdout).toMatch(/delivery.*: tried again at \d\d:\d\d: .*the credentials have expired/);
    },
    { timeout: 60_000, interval: 200 },
  );
  key(arena.s3.accessKeyId);
  await host.json(['destinations', 'retry']);
  await arena.delivered(run, 'far');
  // This run told of it when it waited and when it ended; the delivery that went on waiting did not tell again.
  expect(told.map(({ run: { run: of, status } }) => [of, status]).slice(1)).toEqual([
    [run, 'running'],
    [run, 'partial'],
  ]);
  const work = host.path('work');
  mkdirSync(work);
  await arena.restoreFrom(arena.far, work, expected);
});
