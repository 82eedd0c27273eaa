import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { configJsonSchema } from '../../src/config/json-schema.js';
import type * as ConfigModule from '../../src/config/load.js';
import type * as SecretsModule from '../../src/config/secrets.js';
import type * as ApplyModule from '../../src/control/apply.js';
import type * as BackupModule from '../../src/control/backup.js';
import type * as LogModule from '../../src/control/log.js';
import type * as SessionModule from '../../src/control/session.js';
import { LocalDestination } from '../../src/destinations/local.js';
import { unlock } from '../../src/repository/keys.js';
import { snapshotIdOf } from '../../src/repository/layout.js';
import { rootLimit } from '../../src/repository/root.js';
import { Store } from '../../src/repository/store.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { MailServer } from '../support/mail-server.js';
import { Receiver } from '../support/receiver.js';
import { secretFields } from '../support/secret-fields.js';

const built = <T>(file: string): Promise<T> =>
  import(pathToFileURL(path.resolve(import.meta.dirname, '../../dist', file)).href) as Promise<T>;

// Planted literally, by environment, file and command; long enough not to turn up by chance.
const secrets = {
  passphrase: 'PLANTED-passphrase-correct-horse',
  accessKeyId: 'PLANTEDACCESSKEYID01',
  secretAccessKey: 'PLANTED/secret+access==key',
  sessionToken: 'PLANTED-session-token-of-the-file',
  hookPath: 'PLANTED-hook-token-in-the-path',
  hookSecret: 'PLANTED-hook-signing-secret',
  header: 'Bearer PLANTED-header-value',
  command: 'PLANTED-by-a-command',
  smtpPassword: 'PLANTED-p@ss/word&of-smtp',
  botToken: '12345:PLANTED-bot-token',
  topic: 'PLANTED-topic',
  pushToken: 'PLANTED-token-of-ntfy',
  slackPath: 'PLANTED-path-of-slack',
  discordPath: 'PLANTED-path-of-discord',
  teamsPath: 'PLANTED-path-of-teams',
  gotifyToken: 'PLANTED-token-of-gotify',
  pushoverToken: 'PLANTED-token-of-pushover',
  pushoverUser: 'PLANTED-user-of-pushover',
  checksPath: 'PLANTED-uuid-of-healthchecks',
  kumaPath: 'PLANTED-token-of-uptime-kuma',
  collector: 'Bearer PLANTED-token-of-the-collector',
  sftpPassword: 'PLANTED-password-of-sftp',
  jumpPassword: 'PLANTED-password-of-the-jump-host',
  sftpKey: 'PLANTED-private-key-of-sftp',
  sftpKeyPassphrase: 'PLANTED-passphrase-of-the-sftp-key',
  jumpKey: 'PLANTED-private-key-of-the-jump-host',
  jumpKeyPassphrase: 'PLANTED-passphrase-of-the-jump-key',
  ftpPassword: 'PLANTED-password-of-ftp',
  driveRefresh: 'PLANTED-refresh-token-of-drive',
  boxSecret: 'PLANTED-app-secret-of-dropbox',
  boxRefresh: 'PLANTED-refresh-token-of-dropbox',
  pgUrlPassword: 'PLANTED-password-in-a-postgres-url',
  pgPassword: 'PLANTED-password-of-postgres',
  mysqlUrlPassword: 'PLANTED-password-in-a-mysql-url',
  mysqlPassword: 'PLANTED-password-of-mysql',
  sshKey: 'PLANTED-private-key-of-ssh',
  sshKeyPassphrase: 'PLANTED-passphrase-of-the-ssh-key',
};
/** What this run has no use for: the embedded server asks for no key, no metrics are served, no repository is for an RSA key, no archive is made. */
const elsewhere = {
  'temporal.apiKey': 'PLANTED-key-of-temporal-cloud',
  'encryption.privateKey': 'PLANTED-private-key-of-repositories',
  'metrics.token': 'PLANTED-token-of-scrapers',
  'jobs.*.archive.password': 'PLANTED-password-of-archives',
};
const forms = Object.values(secrets).flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
  Buffer.from(secret).toString('base64'),
]);
const found = (text: string): string[] => [...forms, 'PLANTED'].filter((form) => text.includes(form));
/** Notifiers that are refused, of which the run tells. */
const unheard = ['mail', 'bot', 'push', 'slack', 'discord', 'teams', 'gotify', 'pushover', 'checks', 'kuma'];
/** Jobs with a database that nobody serves. */
const databases = ['pg-url', 'pg-ssh', 'mysql-url', 'mysql-ssh'];

let folder: string;
let receiver: Receiver;
let mailServer: MailServer;
let document: RunDocument;
let config: object;
const said = { stderr: '', argv: new Set<string>(), histories: [] as string[], heartbeats: [] as string[] };
const at = (...names: string[]): string => path.join(folder, ...names);

/** Command lines of this process's descendants. */
function commandLines(): string[] {
  const parents = new Map<number, { parent: number; line: string }>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parent = Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'latin1'))?.[1]);
      parents.set(Number(name), {
        parent,
        line: readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' '),
      });
    } catch {
      // It has ended.
    }
  }
  const isOurs = (pid: number): boolean =>
    pid === process.pid || (parents.has(pid) && isOurs(parents.get(pid)?.parent ?? 0));
  return [...parents].filter(([pid]) => pid !== process.pid && isOurs(pid)).map(([, { line }]) => line);
}

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-secrets-'));
  receiver = await Receiver.start();
  // Both say what they were sent: that comes back in errors.
  receiver.answer = ({ url, body }) =>
    url.startsWith('/good') ? { status: 200 } : { status: 404, body: `unknown: ${url} ${body}` };
  const plainAuth = { allowInsecureAuth: true, disabledCommands: ['STARTTLS'], user: 'backup', password: 'another' };
  mailServer = await MailServer.start(plainAuth);
  mkdirSync(at('source'));
  for (let i = 0; i < 20; i++) writeFileSync(at('source', `f${i}`), `content ${i}`);
  writeFileSync(at('token'), `${secrets.sessionToken}\n`, { mode: 0o600 });
  writeFileSync(at('say'), `#!/bin/sh\nsleep 1\ncat '${at('answer')}'\n`);
  chmodSync(at('say'), 0o700);
  writeFileSync(at('answer'), secrets.command, { mode: 0o600 });
  process.env.HOLDFAST_TEST_ACCESS_KEY = secrets.secretAccessKey;
  const ssh = {
    host: '127.0.0.1',
    port: 9,
    user: 'u',
    privateKey: secrets.sshKey,
    passphrase: secrets.sshKeyPassphrase,
    hostKey: `SHA256:${'a'.repeat(43)}`,
  };
  const database = (source: object) => ({ sources: [source], destinations: ['nas'], notify: [] });
  const server = { host: '127.0.0.1', port: 9, user: 'u' };
  config = {
    host: 'web-1',
    state: at('state'),
    encryption: { passphrase: secrets.passphrase },
    destinations: {
      nas: { type: 'local', path: at('nas') },
      // Nobody listens there: errors are what is looked through.
      cloud: {
        type: 's3',
        bucket: 'b',
        region: 'eu',
        endpoint: 'http://127.0.0.1:9',
        accessKeyId: secrets.accessKeyId,
        secretAccessKey: `\${env:HOLDFAST_TEST_ACCESS_KEY}`,
        sessionToken: `\${file:${at('token')}}`,
        giveUpAfter: '1s',
      },
      broken: {
        type: 's3',
        bucket: 'c',
        region: 'eu',
        endpoint: 'http://127.0.0.1:9',
        accessKeyId: 'a',
        secretAccessKey: `\${command:${at('say')}}`,
        giveUpAfter: '1s',
      },
      vault: {
        type: 'sftp',
        ...server,
        path: '/b',
        password: secrets.sftpPassword,
        jump: { ...server, password: secrets.jumpPassword },
        giveUpAfter: '1s',
      },
      keyed: {
        type: 'sftp',
        ...server,
        path: '/k',
        privateKey: secrets.sftpKey,
        passphrase: secrets.sftpKeyPassphrase,
        jump: { ...server, privateKey: secrets.jumpKey, passphrase: secrets.jumpKeyPassphrase },
        giveUpAfter: '1s',
      },
      old: { type: 'ftp', ...server, path: '/b', password: secrets.ftpPassword, tls: 'off', giveUpAfter: '1s' },
      drive: {
        type: 'gdrive',
        credentials: JSON.stringify({
          type: 'authorized_user',
          client_id: 'c',
          client_secret: 's',
          refresh_token: secrets.driveRefresh,
        }),
        endpoint: 'http://127.0.0.1:9',
        giveUpAfter: '1s',
      },
      box: {
        type: 'dropbox',
        path: '/b',
        appKey: 'k',
        appSecret: secrets.boxSecret,
        refreshToken: secrets.boxRefresh,
        endpoint: 'http://127.0.0.1:9',
        giveUpAfter: '1s',
      },
    },
    notify: {
      hook: {
        type: 'webhook',
        url: `http://127.0.0.1:9/${secrets.hookPath}`,
        secret: secrets.hookSecret,
        headers: { authorization: secrets.header },
        on: ['success', 'failure', 'warning'],
      },
      good: { type: 'webhook', url: `${receiver.url}/good/${secrets.hookPath}`, on: ['start', 'warning', 'missed'] },
      mail: {
        type: 'email',
        smtp: `smtp://backup:${encodeURIComponent(secrets.smtpPassword)}@127.0.0.1:${mailServer.port}`,
        startTls: 'off',
        from: 'a@example.com',
        to: ['b@example.com'],
      },
      bot: { type: 'telegram', server: receiver.url, token: secrets.botToken, chat: '1' },
      push: { type: 'ntfy', server: receiver.url, topic: secrets.topic, token: secrets.pushToken },
      slack: { type: 'slack', url: `${receiver.url}/${secrets.slackPath}` },
      discord: { type: 'discord', url: `${receiver.url}/${secrets.discordPath}` },
      teams: { type: 'teams', url: `${receiver.url}/${secrets.teamsPath}` },
      gotify: { type: 'gotify', server: receiver.url, token: secrets.gotifyToken },
      pushover: {
        type: 'pushover',
        server: receiver.url,
        token: secrets.pushoverToken,
        userKey: secrets.pushoverUser,
      },
      checks: { type: 'healthchecks', url: `${receiver.url}/${secrets.checksPath}`, on: ['warning'] },
      kuma: { type: 'uptimekuma', url: `${receiver.url}/${secrets.kumaPath}`, on: ['warning'] },
    },
    traces: { endpoint: `${receiver.url}/good/v1/traces`, headers: { authorization: secrets.collector } },
    jobs: {
      site: {
        sources: [{ type: 'files', name: 'www', paths: [at('source')] }],
        destinations: ['nas', 'cloud', 'broken', 'vault', 'keyed', 'old', 'drive', 'box'],
        notify: ['good', ...unheard, 'hook'],
        schedule: { every: '1d' },
        expect: { within: '2s' },
      },
      'pg-url': database({ type: 'postgres', url: `postgres://u:${secrets.pgUrlPassword}@127.0.0.1:9` }),
      'pg-ssh': database({ type: 'postgres', ...server, password: secrets.pgPassword, ssh }),
      'mysql-url': database({ type: 'mysql', url: `mysql://u:${secrets.mysqlUrlPassword}@127.0.0.1:9` }),
      'mysql-ssh': database({ type: 'mysql', ...server, password: secrets.mysqlPassword, ssh }),
    },
  };
  writeFileSync(at('holdfast.json'), JSON.stringify(config), { mode: 0o600 });

  const [{ loadConfig }, { openSession }, { startBackup }, { openLog }, { applyConfig }] = await Promise.all([
    built<typeof ConfigModule>('config/load.js'),
    built<typeof SessionModule>('control/session.js'),
    built<typeof BackupModule>('control/backup.js'),
    built<typeof LogModule>('control/log.js'),
    built<typeof ApplyModule>('control/apply.js'),
  ]);
  const loaded = loadConfig(at('holdfast.json'));
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = ((chunk: string | Uint8Array) => {
    said.stderr += chunk.toString();
    return true;
  }) as typeof process.stderr.write;
  const watch = setInterval(() => {
    for (const line of commandLines()) said.argv.add(line);
  }, 100);
  try {
    const workerLog = await openLog(loaded.config, { stderr: 'debug', debug: true });
    const tell = (text: string): void => {
      said.stderr += text;
    };
    const session = await openSession(loaded, {
      worker: true,
      command: 'test',
      log: { info: tell, warn: tell },
      workerLog,
    });
    try {
      await applyConfig(session);
      const { run } = await startBackup(session, 'site');
      for (const job of databases) await startBackup(session, job);
      const { client } = session.temporal;
      const handle = client.workflow.getHandle<() => Promise<RunDocument>>(run);
      const beats = setInterval(() => {
        void handle.describe().then(
          ({ raw }) => said.heartbeats.push(JSON.stringify(raw.pendingActivities)),
          () => undefined,
        );
      }, 150);
      // Until the notifier has failed once, after the run's end was recorded.
      const tried = async (): Promise<boolean> => {
        const { pendingActivities } = (await handle.describe()).raw;
        return (
          pendingActivities?.some(
            ({ activityType, attempt }) => activityType?.name === 'notify' && Number(attempt) > 1,
          ) === true
        );
      };
      // And the watch has told of the miss.
      const missed = (): boolean => receiver.received.some(({ body }) => body.includes('"event":"missed"'));
      const log = (): string => readFileSync(at('state', 'logs', 'holdfast.log'), 'utf8');
      const asked = (): boolean =>
        databases.every((job) => new RegExp(`"job":"${job}".*listDatabases failed`).test(log()));
      const noted = async (): Promise<boolean> => {
        const { warnings } = (await documentSoFar(run)) as RunDocument;
        return warnings.filter(({ code }) => code === 'NotifyFailed').length >= unheard.length;
      };
      while (!missed() || !asked() || !(await tried()) || !(await noted()))
        await new Promise((resolve) => setTimeout(resolve, 100));
      clearInterval(beats);
      document = (await documentSoFar(run)) as RunDocument;
      for await (const execution of client.workflow.list()) {
        const history = await client.workflow.getHandle(execution.workflowId).fetchHistory();
        said.histories.push(historyToJSON(history));
        await client.workflow
          .getHandle(execution.workflowId)
          .terminate()
          .catch(() => undefined);
      }
    } finally {
      await session.close();
    }
  } finally {
    clearInterval(watch);
    process.stderr.write = write;
  }
});
afterAll(async () => {
  await Promise.all([receiver.stop(), mailServer.stop()]);
  delete process.env.HOLDFAST_TEST_ACCESS_KEY;
  rmSync(folder, { recursive: true, force: true });
});

async function documentSoFar(run: string): Promise<RunDocument | undefined> {
  const { History } = await import('../../src/activities/history.js');
  const history = new History(at('state'));
  try {
    const one = history.get(run);
    return one?.endedAt ? one : undefined;
  } finally {
    history.close();
  }
}

/** Text of every file below `name`, but for what may hold secrets: the databases' and the server's own are read as bytes. */
function textsBelow(name: string): Map<string, string> {
  const texts = new Map<string, string>();
  for (const each of readdirSync(at(name), { recursive: true, withFileTypes: true })) {
    if (each.isFile())
      texts.set(path.join(each.parentPath, each.name), readFileSync(path.join(each.parentPath, each.name), 'latin1'));
  }
  return texts;
}

test('every secret that the schema knows is planted, and what this run has no use for is known', () => {
  const fields = [...secretFields(configJsonSchema(), config)];
  const planted = (value: string): boolean =>
    /PLANTED|HOLDFAST_TEST_ACCESS_KEY/.test(value) || value.includes(at('say')) || value.includes(at('token'));
  expect(fields.filter(([, values]) => !values.some(planted)).map(([field]) => field)).toEqual(Object.keys(elsewhere));
  expect(fields.length).toBeGreaterThan(35);
});

test('the run went as planned: one destination stored, the others missed, notifiers not reached', () => {
  expect(document.destinations.map(({ name, status }) => `${name} ${status}`)).toEqual([
    'nas stored',
    ...['cloud', 'broken', 'vault', 'keyed', 'old', 'drive', 'box'].map((name) => `${name} missed`),
  ]);
  expect(said.histories.length).toBeGreaterThanOrEqual(2);
  // They are told side by side.
  const place = (message: string): number => unheard.indexOf(message.split(' ')[1] ?? '');
  const unsent = document.warnings
    .filter(({ code }) => code === 'NotifyFailed')
    .map(({ message }) => message)
    .sort((a, b) => place(a) - place(b));
  expect(unsent).toEqual([
    expect.stringMatching(/^notifier mail .*refused the login.*wrong: backup \*\*\*/),
    expect.stringMatching(/^notifier bot .*answered 404: unknown: .*\*\*\*/),
    expect.stringMatching(/^notifier push .*answered 404.*\*\*\*/),
    ...unheard.slice(3).map((name) => expect.stringMatching(new RegExp(`^notifier ${name} .*answered 404`))),
  ]);
  expect(said.argv.size).toBeGreaterThan(0);
  expect([...said.argv].some((line) => line.includes('say'))).toBe(true);
});

test('no history holds a secret, not in inputs, results, failures or heartbeats', () => {
  for (const text of [...said.histories, ...said.heartbeats]) {
    expect(found(text)).toEqual([]);
    for (const [, data] of text.matchAll(/"data":"([A-Za-z0-9+/=]+)"/g)) {
      expect(found(Buffer.from(data ?? '', 'base64').toString())).toEqual([]);
    }
  }
});

test('nor does the document of the run, the log, stderr or any command line', () => {
  expect(found(JSON.stringify(document))).toEqual([]);
  expect(found(said.stderr)).toEqual([]);
  const log = readFileSync(at('state', 'logs', 'holdfast.log'), 'utf8');
  expect(log.length).toBeGreaterThan(0);
  expect(found(log)).toEqual([]);
  expect([...said.argv].flatMap(found)).toEqual([]);
});

test('nor what was told, of the start, the end and the miss', () => {
  const told = receiver.received.filter(({ url }) => url.startsWith('/good') && !url.includes('traces'));
  expect(told.map(({ headers }) => headers['x-holdfast-event']).sort()).toEqual(['missed', 'start', 'warning']);
  for (const { body } of told) expect(found(body)).toEqual([]);
  // What the others were to be told holds their own secrets only where it has to.
  const own = [secrets.topic, secrets.pushoverToken, secrets.pushoverUser];
  for (const { body } of receiver.received)
    expect(found(own.reduce((text, secret) => text.replace(secret, ''), body))).toEqual([]);
});

test('nor the traces', () => {
  const traces = receiver.received.filter(({ url }) => url.includes('traces'));
  expect(traces.map(({ body }) => body).join()).toContain('RunActivity:commit');
  expect(traces[0]?.headers.authorization).toBe(secrets.collector);
  for (const { body } of traces) expect(found(body)).toEqual([]);
});

test('nor anything that is left in state and spool', () => {
  const texts = textsBelow('state');
  const names = [...texts.keys()].join('\n');
  // The missed run keeps its frozen config.
  expect(names).toMatch(/config\.json/);
  expect(names).toMatch(/history\.db/);
  for (const [name, text] of texts) expect(found(text), name).toEqual([]);
});

test('nor the repository, its root decrypted', async () => {
  for (const [name, text] of textsBelow('nas')) expect(found(text), name).toEqual([]);
  const store = new Store(new LocalDestination('nas', { type: 'local', path: at('nas') }), 'web-1', 'site');
  const file = await store.keyFile();
  const key = file ? await unlock(file, secrets.passphrase) : undefined;
  expect(key).toBeDefined();
  let roots = 0;
  for await (const { name } of store.list('snapshots/')) {
    expect(snapshotIdOf(name)).toBeDefined();
    const root = (await store.readMeta(key, 'snapshot', name, rootLimit)).toString();
    roots++;
    expect(root).toContain('HOLDFAST_TEST_ACCESS_KEY');
    expect(found(root)).toEqual([]);
  }
  expect(roots).toBe(1);
});

test('an error met with a secret in it leaves without it', async () => {
  const { asFailure } = await built<{ asFailure: (error: unknown) => Error }>('activities/failures.js');
  const { resolveSecrets } = await built<typeof SecretsModule>('config/secrets.js');
  for (const [field, value] of Object.entries(elsewhere)) {
    const dot = field.lastIndexOf('.');
    await resolveSecrets({ [field.slice(dot + 1)]: value }, field.slice(0, dot));
    expect(found(asFailure(new Error(`with ${value} it failed`)).message), field).toEqual([]);
  }
  const url = `http://127.0.0.1:9/${secrets.hookPath}`;
  expect(found(asFailure(new Error(`POST ${url} and ${new URL(url).pathname}`)).message)).toEqual([]);
  const { hookPath: _, ...whole } = secrets;
  for (const secret of Object.values(whole)) {
    const failure = asFailure(
      new Error(`request to http://u:${secret}@h/${secret}?k=${encodeURIComponent(secret)} failed`),
    );
    expect(found(`${failure.message} ${JSON.stringify(failure)}`)).toEqual([]);
  }
});
