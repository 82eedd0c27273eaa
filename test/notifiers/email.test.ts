import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EmailConfig } from '../../src/config/schema.js';
import { emailSchema } from '../../src/config/schema-email.js';
import type { HoldfastError } from '../../src/errors.js';
import { Email } from '../../src/notifiers/email.js';
import { runNotification } from '../../src/notifiers/message.js';
import { type Certificates, makeCertificates } from '../support/certificates.js';
import { MailServer, partsOf } from '../support/mail-server.js';
import { failed } from './samples.js';

const user = 'backup@example.com';
const password = 'p@ss/word %&';
const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
const told = runNotification('web-1', 'failure', failed({ error: { code: 'X', message: '<b>bad</b> & "worse"' } }));

let folder: string;
let good: Certificates;
let foreign: Certificates;
let starttls: MailServer;
let implicit: MailServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-mail-'));
  good = makeCertificates(folder);
  foreign = makeCertificates(mkdtempSync(join(folder, 'foreign-')), 'elsewhere.example');
  const tls = { key: good.key, cert: good.cert, user, password };
  [starttls, implicit] = await Promise.all([MailServer.start(tls), MailServer.start({ ...tls, secure: true })]);
});
afterAll(async () => {
  await Promise.all([starttls.stop(), implicit.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

const config = (smtp: string, change: Partial<EmailConfig> = {}): EmailConfig => ({
  ...emailSchema.parse({
    type: 'email',
    smtp,
    from: 'Holdfast <backup@example.com>',
    to: ['a@example.com', 'b@example.com'],
  }),
  caFile: good.ca,
  ...change,
});
const never = new AbortController().signal;
const send = (parts: EmailConfig, signal = never): Promise<void> => new Email('ops', parts).send(told, signal);
async function failure(parts: EmailConfig): Promise<HoldfastError> {
  try {
    await send(parts);
  } catch (error) {
    return error as HoldfastError;
  }
  throw new Error('it was sent');
}
/** A server for one test. */
async function withServer<T>(
  options: Parameters<typeof MailServer.start>[0],
  work: (server: MailServer) => Promise<T>,
): Promise<T> {
  const server = await MailServer.start(options);
  try {
    return await work(server);
  } finally {
    await server.stop();
  }
}

test('goes out with STARTTLS and a login, as text and HTML', async () => {
  await send(config(`smtp://${login}@localhost:${starttls.port}`));
  const mail = starttls.mails.at(-1);
  expect(mail).toMatchObject({ from: user, to: ['a@example.com', 'b@example.com'], secure: true, user });
  const raw = mail?.raw ?? '';
  expect(raw).toMatch(/^subject: \[holdfast\] site: FAILED on offsite \(2 of 3 stored\)\r$/im);
  expect(raw).toMatch(/^from: Holdfast <backup@example.com>\r$/im);
  expect(raw).toMatch(/^auto-submitted: auto-generated\r$/im);
  expect(raw).toContain(`<${told.id}@holdfast.invalid>`);
  const parts = partsOf(raw);
  expect(parts.get('text/plain')).toMatch(/^What to do: Renew or correct the credentials of offsite/);
  const html = parts.get('text/html') ?? '';
  expect(html).toContain('<strong>What to do:</strong> Renew or correct');
  expect(html).toContain('&#60;b&#62;bad&#60;/b&#62; &#38; &#34;worse&#34;');
  expect(html).not.toMatch(/<b>|https?:|src=/);
});

test('goes out with TLS from the start', async () => {
  await send(config(`smtps://${login}@localhost:${implicit.port}`));
  expect(implicit.mails.at(-1)).toMatchObject({ secure: true, user });
});

describe('nothing is sent', () => {
  test('to a server with the certificate of an authority that is not trusted', async () => {
    const before = starttls.mails.length;
    for (const parts of [{ caFile: undefined }, { caFile: foreign.ca }]) {
      const error = await failure(config(`smtp://${login}@localhost:${starttls.port}`, parts));
      expect(error).toMatchObject({ code: 'NotifyFailed', retryable: false });
      expect(error.message).toMatch(/cannot prove who it is/);
      expect(error.hint).toMatch(/caFile/);
    }
    expect(starttls.mails).toHaveLength(before);
  });

  test('to a server with the certificate of another', async () => {
    await withServer({ key: foreign.key, cert: foreign.cert, secure: true }, async (server) => {
      const error = await failure(config(`smtps://localhost:${server.port}`, { caFile: foreign.ca }));
      expect(error.message).toMatch(/cannot prove who it is.*localhost/);
      expect(server.mails).toEqual([]);
    });
  });

  test('in the clear, unless the config says so', async () => {
    await withServer({ disabledCommands: ['STARTTLS', 'AUTH'] }, async (server) => {
      const error = await failure(config(`smtp://localhost:${server.port}`));
      expect(error).toMatchObject({ code: 'NotifyFailed', retryable: false });
      expect(error.message).toMatch(/offers no STARTTLS/);
      expect(server.mails).toEqual([]);
      for (const startTls of ['optional', 'off'] as const)
        await send(config(`smtp://localhost:${server.port}`, { startTls }));
      expect(server.mails.map(({ secure }) => secure)).toEqual([false, false]);
    });
  });

  test('with a wrong password, which is not tried again', async () => {
    const error = await failure(config(`smtp://${encodeURIComponent(user)}:wrong@localhost:${starttls.port}`));
    expect(error).toMatchObject({ code: 'AuthDenied', retryable: false });
    expect(error.message).toMatch(/refused the login/);
  });

  test('where nobody listens: it is tried again', async () => {
    const error = await failure(config('smtp://127.0.0.1:9'));
    expect(error).toMatchObject({ code: 'NotifyFailed', retryable: true });
    expect(error.message).toMatch(/ECONNREFUSED/);
  });
});

test('what the server says decides whether it is tried again', async () => {
  const refuse = (code: number) => ({
    disabledCommands: ['STARTTLS', 'AUTH'],
    onRcptTo: (_: unknown, __: unknown, done: (error?: Error | null) => void) =>
      done(Object.assign(new Error('no'), { responseCode: code })),
  });
  for (const [code, retryable] of [
    [451, true],
    [550, false],
  ] as const) {
    await withServer(refuse(code), async (server) => {
      const error = await failure(config(`smtp://localhost:${server.port}`, { startTls: 'off' }));
      expect(error).toMatchObject({ code: 'NotifyFailed', retryable });
    });
  }
});

test('a server that takes some recipients only is not silent success', async () => {
  const options = {
    disabledCommands: ['STARTTLS', 'AUTH'],
    onRcptTo: ({ address }: { address: string }, _: unknown, done: (error?: Error | null) => void) =>
      done(address.startsWith('b') ? Object.assign(new Error('no such user'), { responseCode: 550 }) : null),
  };
  await withServer(options, async (server) => {
    const error = await failure(config(`smtp://localhost:${server.port}`, { startTls: 'off' }));
    expect(error.message).toMatch(/refused 1 of 2 recipients/);
    expect(server.mails).toHaveLength(1);
  });
});

test('a server that never answers is left when the step is cancelled', async () => {
  const options = { disabledCommands: ['STARTTLS', 'AUTH'], onConnect: () => undefined };
  await withServer(options, async (server) => {
    const cancel = new AbortController();
    const sending = send(config(`smtp://localhost:${server.port}`, { startTls: 'off' }), cancel.signal);
    setTimeout(() => cancel.abort(), 200);
    const began = Date.now();
    await expect(sending).rejects.toMatchObject({ name: 'AbortError' });
    expect(Date.now() - began).toBeLessThan(5000);
  });
});
