import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { notifySchema } from '../../src/config/schema-notify.js';
import { runNotification, testNotification } from '../../src/notifiers/message.js';
import type { Notification } from '../../src/notifiers/notifier.js';
import { openNotifier } from '../../src/notifiers/open.js';
import { Receiver } from '../support/receiver.js';
import { failed, run } from './samples.js';

let receiver: Receiver;
beforeAll(async () => {
  receiver = await Receiver.start();
});
beforeEach(() => {
  receiver.received.length = 0;
  receiver.next.length = 0;
});
afterAll(() => receiver.stop());

const bad = runNotification('web-1', 'failure', failed());
const good = runNotification('web-1', 'success', run());
const started = runNotification('web-1', 'start', run({ status: 'running', endedAt: null, durationMs: null }));
const never = new AbortController().signal;
const send = (config: Record<string, unknown>, notification: Notification): Promise<void> =>
  openNotifier('it', notifySchema.parse(config)).send(notification, never);

test('slack: markup of file names means nothing', async () => {
  const notification = { ...bad, subject: '<!channel> & <http://x|y>' };
  await send({ type: 'slack', url: `${receiver.url}/services/T/B/X` }, notification);
  expect(receiver.last()).toMatchObject({ method: 'POST', url: '/services/T/B/X' });
  expect(receiver.json().text).toBe('❌ &lt;!channel&gt; &amp; &lt;http://x|y&gt;');
  const blocks = receiver.json().blocks as { text: { type: string; text: string } }[];
  expect(blocks[1]?.text).toMatchObject({ type: 'plain_text' });
  expect(blocks[1]?.text.text).toMatch(/^What to do: Renew/);
});

test('discord: nobody is mentioned', async () => {
  receiver.next.push({ status: 204 });
  await send({ type: 'discord', url: `${receiver.url}/api/webhooks/1/x` }, bad);
  expect(receiver.json()).toMatchObject({
    embeds: [{ title: bad.subject, color: 0xcf222e, timestamp: bad.time }],
    allowed_mentions: { parse: [] },
  });
});

test('teams: a card', async () => {
  receiver.next.push({ status: 202 });
  await send({ type: 'teams', url: `${receiver.url}/workflows/x` }, bad);
  const [attachment] = receiver.json().attachments as { contentType: string; content: { body: { text?: string }[] } }[];
  expect(attachment?.contentType).toBe('application/vnd.microsoft.card.adaptive');
  expect(attachment?.content.body.map(({ text }) => text)).toEqual([
    bad.subject,
    `What to do: ${bad.next}`,
    ...bad.problems.map((problem) => `- ${problem}`),
    undefined,
  ]);
});

test('telegram', async () => {
  receiver.next.push({ status: 200, body: '{"ok":true}' });
  const config = { type: 'telegram', server: receiver.url, token: '12:AB', chat: '-100' };
  await send(config, bad);
  expect(receiver.last().url).toBe('/bot12:AB/sendMessage');
  expect(receiver.json()).toMatchObject({ chat_id: '-100', link_preview_options: { is_disabled: true } });
  expect(String(receiver.json().text)).toMatch(/^❌ site: FAILED on offsite/);
  receiver.next.push({ status: 200, body: '<html>login</html>' });
  await expect(send(config, bad)).rejects.toThrow(/answered something else than expected: <html>/);
  receiver.next.push({ status: 400, body: '{"ok":false,"description":"Bad Request: chat not found"}' });
  await expect(send(config, bad)).rejects.toThrow(/answered 400: .*chat not found/);
});

test('ntfy', async () => {
  await send({ type: 'ntfy', server: receiver.url, topic: 'backups', token: 'tk' }, bad);
  expect(receiver.last()).toMatchObject({ url: '/', headers: { authorization: 'Bearer tk' } });
  expect(receiver.json()).toMatchObject({ topic: 'backups', title: bad.subject, priority: 5, tags: ['x'] });
});

test('gotify, below a path', async () => {
  await send({ type: 'gotify', server: `${receiver.url}/gotify/`, token: 'tk' }, good);
  expect(receiver.last()).toMatchObject({ url: '/gotify/message', headers: { 'x-gotify-key': 'tk' } });
  expect(receiver.json()).toMatchObject({ title: good.subject, priority: 2 });
});

test('services get no more than they take, in whatever script', async () => {
  const facts = Array.from({ length: 400 }, (_, at) => ({ name: `job-${at}`, value: '備份'.repeat(40) }));
  const long = { ...bad, facts, text: `${'備份失敗 '.repeat(3000)}\n` };
  await send({ type: 'ntfy', server: receiver.url, topic: 'backups' }, long);
  expect(Buffer.byteLength(String(receiver.json().message))).toBeLessThanOrEqual(4096);
  expect(receiver.json().message).not.toContain('\ufffd');
  await send({ type: 'teams', url: `${receiver.url}/workflows/x` }, long);
  expect(Buffer.byteLength(receiver.last().body)).toBeLessThan(28_000);
  expect(receiver.last().body).toContain('more');
  await send({ type: 'slack', url: `${receiver.url}/services/x` }, long);
  const blocks = receiver.json().blocks as { text: { text: string } }[];
  expect(Math.max(...blocks.map(({ text }) => text.text.length))).toBeLessThanOrEqual(3000);
});

test('discord: names of files are no markup, commands stay code', async () => {
  receiver.next.push({ status: 204 });
  const text = 'What to do: `holdfast login my_nas`\n\n- /srv/__init__.py [x](http://y) could not be read\n';
  await send({ type: 'discord', url: `${receiver.url}/api/webhooks/1/x` }, { ...bad, text });
  const [embed] = receiver.json().embeds as { description: string }[];
  expect(embed?.description).toContain('`holdfast login my_nas`');
  expect(embed?.description).toContain('\\_\\_init\\_\\_.py \\[x\\](http://y)');
});

test('pushover, within its limits', async () => {
  receiver.next.push({ status: 200, body: '{"status":1}' });
  const long = { ...bad, text: 'x'.repeat(5000), subject: 'y'.repeat(500) };
  await send({ type: 'pushover', server: receiver.url, token: 'a', userKey: 'u' }, long);
  expect(receiver.last().url).toBe('/1/messages.json');
  const { token, user, title, message, priority } = receiver.json();
  expect({ token, user, priority }).toEqual({ token: 'a', user: 'u', priority: 1 });
  expect(String(title).length).toBeLessThanOrEqual(250);
  expect(String(message).length).toBeLessThanOrEqual(1024);
});

describe('pings', () => {
  test('healthchecks: start, success and fail of one run belong together', async () => {
    const config = { type: 'healthchecks', url: `${receiver.url}/ping/uuid` };
    for (const notification of [started, good, bad]) await send(config, notification);
    const urls = receiver.received.map(({ url }) => new URL(url, receiver.url));
    expect(urls.map(({ pathname }) => pathname)).toEqual(['/ping/uuid/start', '/ping/uuid', '/ping/uuid/fail']);
    const rids = urls.map((url) => url.searchParams.get('rid'));
    expect(new Set(rids).size).toBe(1);
    expect(rids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(receiver.last().body).toBe(bad.text);
    await send(config, testNotification('web-1', 'it'));
    expect(receiver.last().url).toBe('/ping/uuid/log');
  });

  test('uptime kuma: up or down, with the duration', async () => {
    receiver.usual = { status: 200, body: '{"ok":true}' };
    const config = { type: 'uptimekuma', url: `${receiver.url}/api/push/key?status=up&msg=OK&ping=` };
    for (const notification of [good, bad]) await send(config, notification);
    const queries = receiver.received.map(({ url }) => Object.fromEntries(new URL(url, receiver.url).searchParams));
    expect(queries).toEqual([
      { status: 'up', msg: good.subject, ping: '250000' },
      { status: 'down', msg: bad.subject, ping: '250000' },
    ]);
    expect(receiver.last()).toMatchObject({ method: 'GET', body: '' });
    receiver.next.push({ status: 200, body: '{"ok":false,"msg":"Monitor not found"}' });
    await expect(send(config, good)).rejects.toThrow(/Monitor not found/);
  });
});
