import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import type { RestoreDocument } from '../../src/workflows/restore-types.js';
import { TestHost } from '../support/cli.js';

interface Recovered {
  host: string;
  config: string;
  jobs: { job: string; snapshots: number; latest: { files: number } | null; error: { code: string } | null }[];
  placeholders: { key: string; reference: string; was: string | null }[];
  restored: RestoreDocument[];
}

let host: TestHost;
let sheet: string;
const secret = 'the passphrase of the lost host';
const file = (name: string): string => host.path('new', name, 'holdfast.yaml');

beforeAll(async () => {
  host = await TestHost.make();
  writeFileSync(join(host.source, 'letter'), 'Dear reader');
  mkdirSync(host.path('etc'));
  writeFileSync(host.path('etc', 'conf'), 'a = 1');
  mkdirSync(host.path('disk'));
  writeFileSync(host.path('passphrase'), secret, { mode: 0o600 });
  await host.configure({
    encryption: { passphrase: `\${file:${host.path('passphrase')}}` },
    destinations: {
      disk: { type: 'local', path: host.path('disk') },
      cloud: {
        type: 's3',
        bucket: 'b',
        region: 'eu',
        endpoint: 'http://127.0.0.1:9',
        accessKeyId: 'LITERALID',
        secretAccessKey: `\${command:echo hidden > ${host.path('ran')}}`,
        giveUpAfter: '1s',
      },
    },
    notify: { hook: { type: 'webhook', url: 'http://127.0.0.1:9/token', on: ['failure'] } },
    jobs: {
      site: {
        sources: [{ type: 'files', name: 'www', paths: [host.source], exclude: ['*.tmp'] }],
        destinations: ['disk', 'cloud'],
        schedule: { cron: '0 3 * * *', timezone: 'Europe/Berlin', jitter: '5m' },
        retention: { keepLast: 3, keepWithin: '30d' },
        notify: ['hook'],
      },
      etc: { sources: [{ type: 'files', name: 'etc', paths: [host.path('etc')] }], destinations: ['disk'] },
    },
  });
  await host.json(['backup', 'site', 'etc'], [3]);
  const [exported] = await host.json<{ sheet: string }[]>(['key', 'export', 'site']);
  sheet = host.path('sheet');
  writeFileSync(sheet, exported?.sheet ?? '');
  // The machine is gone; its disk is found at another place.
  for (const name of ['state', 'source', 'etc', 'disk', 'ran'])
    if (existsSync(host.path(name))) renameSync(host.path(name), host.path(`lost-${name}`));
  mkdirSync(host.path('new'));
});
afterAll(() => host?.remove());

const recover = (name: string, ...options: string[]) =>
  host.json<Recovered>(
    ['recover', `file://${host.path('lost-disk')}`, '--state', host.path('new', name, 'state'), ...options],
    [0],
    file(name),
  );

test('a lost host is found at a destination: config, catalogs and files come back', async () => {
  const done = await recover('a', '--passphrase-file', host.path('passphrase'), '--to', host.path('out'));
  expect(done).toMatchObject({ host: 'fault-host', config: file('a') });
  expect(done.jobs.map(({ job, snapshots, error }) => [job, snapshots, error])).toEqual([
    ['etc', 1, null],
    ['site', 1, null],
  ]);
  expect(done.restored.map(({ status }) => status)).toEqual(['succeeded', 'succeeded']);
  expect(readFileSync(host.path('out') + join(host.source, 'letter'), 'utf8')).toBe('Dear reader');
  expect(readFileSync(host.path('out') + host.path('etc', 'conf'), 'utf8')).toBe('a = 1');

  // What was a literal secret, and what would have run a command, has to be put in place.
  expect(done.placeholders.map(({ key }) => key).sort()).toEqual([
    'destinations.cloud.accessKeyId',
    'destinations.cloud.secretAccessKey',
    'notify.hook.url',
  ]);
  expect(done.placeholders.find(({ key }) => key.endsWith('secretAccessKey'))?.was).toContain('echo hidden');
  expect(existsSync(host.path('ran'))).toBe(false);
  const text = readFileSync(file('a'), 'utf8');
  for (const word of [secret, 'LITERALID', 'http://127.0.0.1:9/token']) expect(text).not.toContain(word);

  const { config } = loadConfig(file('a'));
  expect(config).toMatchObject({
    host: 'fault-host',
    encryption: { passphrase: `\${file:${host.path('passphrase')}}` },
    destinations: { disk: { type: 'local', path: host.path('lost-disk') }, cloud: { type: 's3', bucket: 'b' } },
    jobs: {
      site: {
        sources: [{ paths: [host.source], exclude: ['*.tmp'] }],
        destinations: ['disk', 'cloud'],
        schedule: { cron: '0 3 * * *', timezone: 'Europe/Berlin', jitter: 300_000 },
        retention: { keepLast: 3, keepWithin: 30 * 86_400_000 },
        notify: ['hook'],
      },
    },
  });
  // It works as it is.
  const listed = await host.run(['ls', 'etc', '-r'], file('a'));
  expect(listed).toMatchObject({ code: 0, stdout: expect.stringContaining('conf') });

  const again = await host.run(['recover', host.path('lost-disk')], file('a'));
  expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('exists already') });
});

test('with a recovery sheet the new passphrase opens it', async () => {
  writeFileSync(host.path('new-passphrase'), 'a new one\n');
  const done = await recover(
    'b',
    '--job',
    'site',
    '--sheet',
    sheet,
    '--new-passphrase-file',
    host.path('new-passphrase'),
  );
  expect(done.jobs).toMatchObject([{ job: 'site', snapshots: 1 }]);
  const listed = await host.run(['ls', 'site', '-r'], file('b'));
  expect(listed).toMatchObject({ code: 0, stdout: expect.stringContaining('letter') });
});

test('what is wrong is said, and nothing is written', async () => {
  const cases: [string[], RegExp][] = [
    [['recover', host.path('lost-disk')], /no terminal to ask on: Passphrase/],
    [['recover', host.path('new')], /no repository at this place/],
    [['recover', 'gopher://x'], /no kind of destination 'gopher'/],
    [['recover', 's3://key:secret@bucket'], /holds a password/],
    [['recover', 's3://bucket?secretAccessKey=x&accessKeyId=y'], /holds `secretAccessKey`/],
    [['recover', `file://${host.path('lost-disk')}?pth=1`], /unknown key 'pth'/],
    [['recover', host.path('lost-disk'), '--passphrase-file', sheet], /does not open/],
  ];
  for (const [args, message] of cases) {
    const ended = await host.run(args, file('c'));
    expect(ended.stderr).toMatch(message);
    expect(ended.code).not.toBe(0);
  }
  expect(existsSync(file('c'))).toBe(false);
});
