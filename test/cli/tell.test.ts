import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LogEntry } from '../../src/control/log-line.js';
import type { RunDocument } from '../../src/run-document.js';
import { makeCertificates } from '../support/certificates.js';
import { type Running, TestHost } from '../support/cli.js';
import { MailServer } from '../support/mail-server.js';
import { Receiver } from '../support/receiver.js';
import { until } from '../workflows/harness.js';

/** The real program tells a real mail server and a real receiver. */
let host: TestHost;
let receiver: Receiver;
let mail: MailServer;
let up: Running;
const secret = 'a key to sign with';
const login = 'backup:a%20long%20password';

beforeAll(async () => {
  [host, receiver] = await Promise.all([TestHost.make(), Receiver.start()]);
  const { ca, key, cert } = makeCertificates(host.folder);
  mail = await MailServer.start({ key, cert, user: 'backup', password: 'a long password' });
  writeFileSync(join(host.source, 'a'), 'content');
  await host.configure({
    destinations: {
      nas: { type: 'local', path: host.path('nas') },
      usb: { type: 'local', path: host.path('usb'), mountPoint: host.path('usb'), giveUpAfter: '1s' },
    },
    notify: {
      hook: {
        type: 'webhook',
        url: `${receiver.url}/hook`,
        secret,
        on: ['start', 'success', 'warning', 'failure', 'recovery', 'missed'],
      },
      ping: { type: 'healthchecks', url: `${receiver.url}/ping` },
      ops: {
        type: 'email',
        smtp: `smtp://${login}@localhost:${mail.port}`,
        caFile: ca,
        from: 'backup@example.com',
        to: ['ops@example.com'],
      },
      gone: { type: 'slack', url: 'http://127.0.0.1:9/slack', on: ['success'] },
    },
    jobs: {
      site: {
        sources: [{ type: 'files', paths: [host.source] }],
        destinations: ['nas'],
        notify: ['hook', 'ping', 'ops'],
        schedule: { every: '1d' },
        expect: { within: '4s' },
      },
      broken: {
        sources: [{ type: 'files', paths: [host.source] }],
        destinations: ['nas', 'usb'],
        minimumDestinations: 2,
        notify: ['ops'],
      },
    },
  });
  up = await host.up();
});
afterAll(async () => {
  await up?.kill('SIGTERM');
  await Promise.all([receiver?.stop(), mail?.stop()]);
  await host?.remove();
});

const hooks = () => receiver.received.filter(({ url }) => url === '/hook');
const pings = (): string[] =>
  receiver.received.map(({ url }) => new URL(url, receiver.url).pathname).filter((pathname) => pathname !== '/hook');
const events = (): unknown[] => hooks().map(({ headers }) => headers['x-holdfast-event']);
const subjects = (): string[] =>
  mail.mails.map(({ raw }) => /^subject: (.*(?:\r\n .*)*)$/im.exec(raw)?.[1]?.replace(/\r\n /g, ' ') ?? '');

test('a job that is missed, then succeeds: missed, start, recovery; signed and mailed', async () => {
  await until(() => events().includes('missed'), 'the miss was told', 20_000);
  const { run } = await host.json<RunDocument>(['backup', 'site']);
  await until(() => events().includes('recovery'), 'the recovery was told');
  expect(events().slice(0, 3)).toEqual(['missed', 'start', 'recovery']);
  for (const { headers, body } of hooks()) {
    const expected = createHmac('sha256', secret).update(`${headers['x-holdfast-timestamp']}.${body}`).digest('hex');
    expect(headers['x-holdfast-signature']).toBe(`sha256=${expected}`);
  }
  expect(pings()).toEqual(['/ping/start', '/ping']);
  await until(() => subjects().length >= 2, 'both were mailed');
  expect(subjects()[0]).toBe('[holdfast] site: MISSED, no backup yet');
  expect(subjects()[1]).toMatch(/^\[holdfast\] site: recovered after 1 failure since /);

  const lines = await host.json<LogEntry[]>(['logs', run]);
  expect(lines.length).toBeGreaterThan(1);
  expect(new Set(lines.map((line) => line.run))).toEqual(new Set([run]));
  expect(lines.map(({ msg }) => msg)).toContain('backup of site succeeded');
});

test('a run that fails says where, how much is stored, and what to do', async () => {
  await host.json<RunDocument>(['backup', 'broken'], [1]);
  await until(() => subjects().some((subject) => subject.includes('broken')), 'it was mailed');
  expect(subjects().at(-1)).toBe('[holdfast] broken: FAILED on usb (1 of 2 stored)');
  expect(mail.mails.at(-1)).toMatchObject({ secure: true, user: 'backup' });
  const text = await host.run(['logs', 'broken', '--level', 'warn']);
  expect(text.stdout).toMatch(/commit failed/);
});

test('notify list and test', async () => {
  const list = await host.json<{ name: string; jobs: string[] }[]>(['notify', 'list']);
  expect(list.map(({ name, jobs }) => [name, jobs])).toEqual([
    ['hook', ['site']],
    ['ping', ['site']],
    ['ops', ['site', 'broken']],
    ['gone', []],
  ]);
  const results = await host.json<{ name: string; status: string; error?: { code: string } }[]>(
    ['notify', 'test', 'ops', 'ping', 'gone'],
    [1],
  );
  expect(results.map(({ name, status, error }) => [name, status, error?.code])).toEqual([
    ['ops', 'sent', undefined],
    ['ping', 'sent', undefined],
    ['gone', 'failed', 'NotifyFailed'],
  ]);
  expect(subjects().at(-1)).toBe('[holdfast] fault-host: a test of the notifier ops');
  expect(pings().at(-1)).toBe('/ping/log');
  const { code, stderr } = await host.run(['notify', 'test', 'opps']);
  expect([code, stderr]).toEqual([2, expect.stringContaining("did you mean 'ops'")]);
});

test('logs --follow prints what is written from now on', async () => {
  const following = host.start(['logs', 'site', '--follow', '-n', '0', '--json']);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const { run } = await host.json<RunDocument>(['backup', 'site']);
  await until(() => following.stdout.includes('backup of site succeeded'), 'it was printed');
  const { code } = await following.kill('SIGINT');
  const entries = following.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LogEntry);
  expect(entries.some((entry) => entry.run === run)).toBe(true);
  expect([0, 130]).toContain(code);
});
