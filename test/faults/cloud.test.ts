import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import { TestHost } from '../support/cli.js';
import { DropboxServer } from '../support/dropbox-server.js';
import { DriveServer } from '../support/gdrive-server.js';

const program = resolve(import.meta.dirname, '../../bin/holdfast.js');

let host: TestHost;
let drive: DriveServer;
let box: DropboxServer;

beforeAll(async () => {
  [host, drive, box] = await Promise.all([TestHost.make(), DriveServer.start(), DropboxServer.start()]);
  await mkdir(host.path('nas'));
  await writeFile(host.path('client.json'), drive.clientJson(), { mode: 0o600 });
  const { clientId: appKey, clientSecret: appSecret } = box.oauth;
  await host.configure({
    destinations: {
      nas: { type: 'local', path: host.path('nas') },
      drive: { type: 'gdrive', credentials: `\${file:${host.path('client.json')}}`, endpoint: drive.endpoint },
      box: { type: 'dropbox', path: '/b', appKey, appSecret, endpoint: box.endpoint },
    },
    jobs: {
      home: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['nas', 'drive', 'box'] },
    },
  });
});

afterAll(async () => {
  await host?.remove();
  await Promise.all([drive?.stop(), box?.stop()]);
});

/** Runs `login` as a person would: opens the address it shows and enters what the page says. */
async function logIn(
  args: string[],
  read: (page: Response) => Promise<string>,
): Promise<{ stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [program, '--config', host.configFile, 'login', ...args, '--json']);
  let stderr = '';
  let opened = false;
  child.stderr.setEncoding('utf8').on('data', async (said: string) => {
    stderr += said;
    const [address] = /http:\/\/\S+auth\S*\?\S+(?=\s)/.exec(stderr) ?? [];
    if (address === undefined || opened) return;
    opened = true;
    child.stdin.write(`${await read(await fetch(address, { redirect: 'manual' }))}\n`);
  });
  const stdout = await text(child.stdout);
  return { stdout, stderr };
}

const logInToDrive = () => logIn(['gdrive', '--paste'], async (page) => page.headers.get('location') ?? '');
const logInToBox = () => logIn(['box'], async (page) => / (code-\w+)/.exec(await page.text())?.[1] ?? '');

it('logs in, backs up to three places and restores from each', async () => {
  const before = await host.run(['destinations', 'test', 'drive']);
  expect(before.code).toBe(1);
  expect(before.stdout).toContain('holdfast login drive');

  const google = await logInToDrive();
  expect(JSON.parse(google.stdout)).toEqual({ destination: 'drive', type: 'gdrive', account: 'ann@example.com' });
  const dropbox = await logInToBox();
  expect(JSON.parse(dropbox.stdout)).toMatchObject({ destination: 'box', account: 'ann@example.com' });
  for (const name of ['drive', 'box']) {
    const token = JSON.parse(readFileSync(join(host.state, 'tokens', `${name}.json`), 'utf8')) as { account: string };
    expect(token.account).toBe('ann@example.com');
  }

  const files = new Map([
    ['small.txt', Buffer.from('small')],
    ['large.bin', randomBytes(12 << 20)],
  ]);
  for (const [name, bytes] of files) await writeFile(join(host.source, name), bytes);
  const run = await host.json<RunDocument>(['backup', 'home']);
  expect(run.status).toBe('succeeded');
  expect(run.destinations.map(({ name, status }) => [name, status])).toEqual([
    ['nas', 'stored'],
    ['drive', 'stored'],
    ['box', 'stored'],
  ]);
  const checked = await host.json<{ checks: { name: string; status: string; message: string }[] }>([
    'destinations',
    'test',
  ]);
  expect(checked.checks.filter(({ status }) => status === 'fail')).toEqual([]);
  expect(checked.checks.find(({ name }) => name === 'destination drive account')?.message).toContain('ann@example.com');
  for (const name of ['drive', 'box']) {
    const target = host.path(`restored-${name}`);
    await host.json(['restore', 'home', '--to', target, '--from', name]);
    for (const [file, bytes] of files)
      expect((await readFile(join(target, host.source, file))).equals(bytes)).toBe(true);
  }
  const log = host.logTail(1e6);
  for (const secret of [drive.oauth.clientSecret, ...drive.oauth.loggedIn, ...box.oauth.loggedIn])
    expect(log).not.toContain(secret);
});

it('waits in sight when logins are worth nothing any more, and goes on by itself after new ones', async () => {
  drive.oauth.revokeLogins();
  box.oauth.revokeLogins();
  await writeFile(join(host.source, 'later.bin'), randomBytes(1 << 20));
  await host.up();
  const run = await host.startRun('home');
  await vi.waitFor(
    async () => {
      const { stdout } = await host.run(['runs', 'show', run]);
      expect(stdout).toMatch(/1 of 3 stored; .*drive retrying until \d\d:\d\d: token expired/);
      expect(stdout).toMatch(/box retrying until \d\d:\d\d: token expired/);
    },
    { timeout: 60_000, interval: 300 },
  );
  expect(host.document(run)?.warnings.filter(({ code }) => code === 'AuthExpired')).toHaveLength(2);
  const google = await logInToDrive();
  expect(JSON.parse(google.stdout)).toMatchObject({ destination: 'drive' });
  await logInToBox();
  const document = await host.finished(run);
  expect(document.status).toBe('succeeded');
  const target = host.path('restored-later');
  await host.json(['restore', 'home', '--to', target, '--from', 'box']);
  expect(await readFile(join(target, host.source, 'later.bin'))).toEqual(
    await readFile(join(host.source, 'later.bin')),
  );
});
