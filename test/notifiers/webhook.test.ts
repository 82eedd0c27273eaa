import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { webhookSchema } from '../../src/config/schema-webhook.js';
import type { HoldfastError } from '../../src/errors.js';
import { runNotification } from '../../src/notifiers/message.js';
import { templateProblem } from '../../src/notifiers/template.js';
import { webhook } from '../../src/notifiers/webhook.js';
import { freePort } from '../support/free-port.js';
import { type Received, Receiver } from '../support/receiver.js';
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

const never = new AbortController().signal;
const told = runNotification('web-1', 'failure', failed());
const hook = (parts: Record<string, unknown> = {}, path = '/hook?a=1') =>
  webhook('hook', webhookSchema.parse({ type: 'webhook', url: `${receiver.url}${path}`, ...parts }));
async function failure(sending: Promise<void>): Promise<HoldfastError> {
  try {
    await sending;
  } catch (error) {
    return error as HoldfastError;
  }
  throw new Error('it was sent');
}

/** What docs/notifications.md tells receivers to do. */
function isGenuine({ headers, body }: Received, secret: string, now: number): boolean {
  const timestamp = String(headers['x-holdfast-timestamp']);
  if (Math.abs(now / 1000 - Number(timestamp)) > 300) return false;
  const expected = `sha256=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`;
  return headers['x-holdfast-signature'] === expected;
}

test('the document, as documented', async () => {
  await hook().send(told, never);
  const { method, url, headers } = receiver.last();
  expect([method, url]).toEqual(['POST', '/hook?a=1']);
  expect(headers).toMatchObject({
    'content-type': 'application/json',
    'user-agent': 'holdfast',
    'x-holdfast-event': 'failure',
    'x-holdfast-id': told.id,
  });
  expect(headers['x-holdfast-signature']).toBeUndefined();
  const document = receiver.json();
  expect(document).toEqual({ version: 1, ...told });
  expect(Object.keys(document).sort()).toEqual(
    [
      ...['version', 'id', 'event', 'severity', 'host', 'job', 'time', 'subject', 'next', 'facts', 'problems', 'text'],
      ...['run', 'repeated', 'missed', 'digest'],
    ].sort(),
  );
  expect(document.run).toEqual(failed());
});

test('signed over time stamp and body', async () => {
  await hook({ secret: 'hunter22' }).send(told, never);
  const received = receiver.last();
  expect(isGenuine(received, 'hunter22', Date.now())).toBe(true);
  expect(isGenuine(received, 'hunter23', Date.now())).toBe(false);
  expect(isGenuine({ ...received, body: received.body.replace('web-1', 'web-2') }, 'hunter22', Date.now())).toBe(false);
  const headers = { ...received.headers, 'x-holdfast-timestamp': '1' };
  expect(isGenuine({ ...received, headers }, 'hunter22', 1000)).toBe(false);
  expect(isGenuine(received, 'hunter22', Date.now() + 3_600_000)).toBe(false);
});

test('own headers and method', async () => {
  await hook({ method: 'PUT', headers: { Authorization: 'Bearer x', 'X-Holdfast-Event': 'mine' } }).send(told, never);
  expect(receiver.last()).toMatchObject({ method: 'PUT', headers: { authorization: 'Bearer x' } });
});

describe('templates', () => {
  const odd = runNotification('web-1', 'success', run({ job: 'a"b\\c', snapshot: '<&>' }));

  test('of JSON', async () => {
    const body = '{"t":"{{subject}}","s":"{{run.status}}","all":{{json run}},"none":{{json missed}},"n":"{{next}}"}';
    await hook({ body, secret: 's' }).send(odd, never);
    expect(receiver.json()).toEqual({ t: odd.subject, s: 'succeeded', all: odd.run, none: null, n: '' });
    expect(isGenuine(receiver.last(), 's', Date.now())).toBe(true);
  });

  test('of a form and of text', async () => {
    await hook({ body: 'msg={{subject}}&x={{run.snapshot}}', contentType: 'application/x-www-form-urlencoded' }).send(
      odd,
      never,
    );
    expect(Object.fromEntries(new URLSearchParams(receiver.last().body))).toEqual({ msg: odd.subject, x: '<&>' });
    await hook({ body: '{{host}}: {{run.snapshot}} {{repeated.count}}', contentType: 'text/plain' }).send(odd, never);
    expect(receiver.last().body).toBe('web-1: <&> ');
    await hook({ body: '<p>{{run.snapshot}}</p>', contentType: 'text/html' }).send(odd, never);
    expect(receiver.last().body).toBe('<p>&#60;&#38;&#62;</p>');
  });

  test('with mistakes are found in the config', () => {
    expect(templateProblem('{{ subject }} {{json run.files}}')).toBeUndefined();
    expect(templateProblem('{{subjct}}')).toMatch(/^there is no \{\{subjct\}\}; known: version, /);
    expect(templateProblem('{{#if run}}')).toMatch(/not a placeholder/);
    expect(webhookSchema.safeParse({ type: 'webhook', url: 'http://h', body: '{{x}}' }).success).toBe(false);
  });
});

describe('a receiver that misbehaves', () => {
  test.each([
    [500, true],
    [503, true],
    [429, true],
    [408, true],
    [400, false],
    [404, false],
    [410, false],
  ])('%d: tried again %s', async (status, retryable) => {
    receiver.next.push({ status, body: 'out of\norder' });
    const error = await failure(hook().send(told, never));
    expect(error).toMatchObject({ code: 'NotifyFailed', retryable });
    expect(error.message).toBe(`the server of notifier hook answered ${status}: out of order`);
  });

  test.each([401, 403])('%d is a refusal', async (status) => {
    receiver.next.push({ status });
    expect(await failure(hook().send(told, never))).toMatchObject({ code: 'AuthDenied', retryable: false });
  });

  test('asks for time: it gets it, within reason', async () => {
    receiver.next.push(
      { status: 429, headers: { 'retry-after': '7' } },
      { status: 503, headers: { 'retry-after': '999999' } },
    );
    expect(await failure(hook().send(told, never))).toMatchObject({ retryAfterMs: 7000 });
    expect(await failure(hook().send(told, never))).toMatchObject({ retryAfterMs: 30_000 });
    const date = new Date(Date.now() + 3_600_000).toUTCString();
    receiver.next.push({ status: 503, headers: { 'retry-after': date } });
    expect(await failure(hook().send(told, never))).toMatchObject({ retryAfterMs: 30_000 });
  });

  test('breaks off in the middle of a good answer: it was told all the same', async () => {
    receiver.next.push({ status: 200, body: 'half', headers: { 'content-length': '1000' } });
    await hook().send(told, AbortSignal.timeout(10_000));
  });

  test('redirects: the document does not go there', async () => {
    receiver.next.push({ status: 307, headers: { location: `${receiver.url}/elsewhere` } });
    const error = await failure(hook().send(told, never));
    expect(error).toMatchObject({ code: 'NotifyFailed', retryable: false });
    expect(receiver.received.map(({ url }) => url)).toEqual(['/hook?a=1']);
  });

  test.each(['garbage', 'reset'] as const)('%s', async (answer) => {
    receiver.next.push(answer);
    const error = await failure(hook().send(told, never));
    expect(error).toMatchObject({ code: 'NotifyFailed', retryable: true });
    expect(error.message).toMatch(/cannot be reached: \S/);
  });

  test('never ends its answer, or is slow: only its beginning is read', async () => {
    receiver.next.push({ status: 500, body: 'x'.repeat(1e6) }, { status: 200, delayMs: 300 });
    expect((await failure(hook().send(told, never))).message.length).toBeLessThan(300);
    await hook().send(told, never);
  });

  test('hangs: until the step is cancelled', async () => {
    receiver.next.push('hang');
    await expect(hook().send(told, AbortSignal.timeout(200))).rejects.toMatchObject({ name: 'TimeoutError' });
  });

  test('is not there; its URL is not in the message', async () => {
    const gone = webhook(
      'hook',
      webhookSchema.parse({ type: 'webhook', url: `http://127.0.0.1:${await freePort()}/PLANTED-token` }),
    );
    const error = await failure(gone.send(told, never));
    expect(error.message).toBe('the server of notifier hook cannot be reached: ECONNREFUSED');
    expect(`${error.message} ${error.hint}`).not.toContain('PLANTED');
  });
});
