import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import type { RestoreDocument } from '../../src/workflows/restore-types.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { TestHost } from '../support/cli.js';
import { type S3Server, startS3 } from '../support/s3-server.js';
import { type Sshd, startSshd } from '../support/sshd.js';

interface Recovered {
  host: string;
  config: string;
  jobs: { job: string; snapshots: number; latest: { files: number } | null; error: { code: string } | null }[];
  placeholders: { key: string; reference: string; was: string | null }[];
  restored: RestoreDocument[];
}

let host: TestHost;
let s3: S3Server;
let sshd: Sshd;
let sheet: string;
const secret = 'the passphrase of the lost host';
const file = (name: string): string => host.path('new', name, 'holdfast.yaml');

beforeAll(async () => {
  [host, s3, sshd] = await Promise.all([TestHost.make(), startS3(), startSshd()]);
  await s3.bucket('backups');
  writeFileSync(host.path('login'), sshd.privateKey, { mode: 0o600 });
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
      bucket: {
        type: 's3',
        bucket: 'backups',
        prefix: 'all',
        region: s3.region,
        endpoint: s3.endpoint,
        accessKeyId: s3.accessKeyId,
        secretAccessKey: s3.secretAccessKey,
        storageClass: 'STANDARD',
      },
      vault: {
        type: 'sftp',
        host: '127.0.0.1',
        port: sshd.port,
        user: sshd.user,
        path: join(sshd.dir, 'vault'),
        privateKey: `\${file:${host.path('login')}}`,
        hostKey: sshd.hostKey,
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
      shop: {
        sources: [
          { type: 'files', name: 'etc', paths: [host.path('etc')] },
          { type: 'sqlite', name: 'orders', path: host.path('orders.db') },
        ],
        destinations: ['bucket', 'vault'],
      },
    },
  });
  const orders = new Database(host.path('orders.db'));
  orders.exec("CREATE TABLE orders (item TEXT); INSERT INTO orders VALUES ('tea'), ('cake')");
  orders.close();
  await host.json(['backup', 'site', 'etc', 'shop'], [3]);
  const [exported] = await host.json<{ sheet: string }[]>(['key', 'export', 'site']);
  sheet = host.path('sheet');
  writeFileSync(sheet, exported?.sheet ?? '');
  // The machine is gone; its disk is found at another place.
  for (const name of ['state', 'source', 'etc', 'disk', 'ran'])
    if (existsSync(host.path(name))) renameSync(host.path(name), host.path(`lost-${name}`));
  mkdirSync(host.path('new'));
});
afterAll(async () => {
  await Promise.all([s3?.stop(), sshd?.stop(), host?.remove()]);
});

const itemsIn = (file: string): unknown[] => {
  const database = new Database(file, { readonly: true });
  try {
    return database.prepare('SELECT item FROM orders').pluck().all();
  } finally {
    database.close();
  }
};

/** Runs a command on a terminal and types what it asks for: questions and answers, in their order. */
async function typing(args: string[], config: string, answers: [question: string, answer: string][]): Promise<string> {
  const program = [process.execPath, join(import.meta.dirname, '../../bin/holdfast.js'), '--config', config];
  const command = [...program, ...args].map((word) => `'${word}'`).join(' ');
  const child = spawn('script', ['-qefc', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  let at = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    const [question, answer] = answers[0] ?? [];
    const found = question === undefined ? -1 : said.indexOf(question, at);
    if (question === undefined || found < 0) return;
    at = found + question.length;
    answers.shift();
    child.stdin.write(`${answer}\r`);
  });
  const [code] = (await once(child, 'close')) as [number];
  expect({ code, said, unasked: answers }).toMatchObject({ code: 0, unasked: [] });
  return said;
}

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

test('from a bucket whose keys are typed, databases too, and the next backup goes on from there', async () => {
  const [config, folder, state] = [file('s3'), host.path('new', 's3'), host.path('new', 's3', 'state')];
  const url = `s3://backups/all?region=${s3.region}&endpoint=${s3.endpoint}&forcePathStyle=true`;
  const said = await typing(['recover', url, '--state', state, '--to', join(folder, 'out')], config, [
    ['accessKeyId (Enter: none): ', s3.accessKeyId],
    ['secretAccessKey (Enter: none): ', s3.secretAccessKey],
    ['sessionToken (Enter: none): ', ''],
    ['Passphrase: ', secret],
  ]);
  expect(said).not.toContain(s3.secretAccessKey);
  expect(itemsIn(join(folder, 'out', host.path('orders.db')))).toEqual(['tea', 'cake']);
  const text = readFileSync(config, 'utf8');
  for (const word of [secret, s3.secretAccessKey, s3.accessKeyId]) expect(text).not.toContain(word);
  const { bucket, vault } = loadConfig(config).config.destinations;
  expect(bucket).toMatchObject({
    prefix: 'all',
    secretAccessKey: `\${file:${join(folder, 'destination-secretAccessKey')}}`,
    storageClass: 'STANDARD',
  });
  expect(vault).toMatchObject({ hostKey: sshd.hostKey });
  expect(readdirSync(folder).sort()).toEqual([
    ...['destination-accessKeyId', 'destination-secretAccessKey', 'holdfast.yaml', 'out', 'passphrase', 'state'],
  ]);

  mkdirSync(host.path('etc'));
  writeFileSync(host.path('etc', 'conf'), 'a = 2');
  renameSync(join(folder, 'out', host.path('orders.db')), host.path('orders.db'));
  const next = await host.json<RunDocument>(['backup', 'shop', '--take-over'], [0], config);
  expect(next).toMatchObject({ status: 'succeeded', mode: 'incremental' });
  // The place has one name, whatever it was called while it was looked for.
  const [newest] = await host.json<{ destinations: string[] }[]>(['snapshots', 'shop'], [0], config);
  expect(newest?.destinations.sort()).toEqual(['bucket', 'vault']);
});

test('from an SSH server, with the key that logs in there and the host key named', async () => {
  const at = `sftp://${sshd.user}@127.0.0.1:${sshd.port}${join(sshd.dir, 'vault')}`;
  const login = `privateKey=\${file:${host.path('login')}}`;
  renameSync(host.path('login'), host.path('old-login'));
  const options = ['--state', host.path('new', 'ssh', 'state'), '--passphrase-file', host.path('passphrase')];
  // A key whose file is on the lost machine only has to be put in place.
  writeFileSync(host.path('new', 'login'), sshd.privateKey, { mode: 0o600 });
  const found = `${at}?privateKey=\${file:${host.path('new', 'login')}}`;
  const unknown = await host.run(['recover', found, ...options], file('ssh'));
  expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining(`?hostKey=${sshd.hostKey} in a URL`) });
  const none = await host.run(['recover', `${at}?${login}&hostKey=${sshd.hostKey}`, ...options], file('ssh'));
  expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining('the file does not exist') });

  const out = host.path('new', 'ssh', 'out');
  const done = await host.json<Recovered>(
    ['recover', `${found}&hostKey=${sshd.hostKey}`, ...options, '--to', out],
    [0],
    file('ssh'),
  );
  expect(done.jobs).toMatchObject([{ job: 'shop', snapshots: 2, error: null }]);
  expect(readFileSync(join(out, host.path('etc', 'conf')), 'utf8')).toBe('a = 2');
  expect(itemsIn(join(out, host.path('orders.db')))).toEqual(['tea', 'cake']);
  expect(loadConfig(file('ssh')).config.destinations.vault).toMatchObject({
    privateKey: `\${file:${host.path('new', 'login')}}`,
    hostKey: sshd.hostKey,
  });
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
