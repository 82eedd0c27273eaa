import { once } from 'node:events';
import { createServer } from 'node:net';
import { pino } from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { serveMetrics } from '../../src/metrics/server.js';
import { freePort } from '../support/free-port.js';

const log = pino({ level: 'silent' });
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

async function serve(token: string | undefined, render = async () => 'a 1\n', healthy = () => true): Promise<string> {
  const port = await freePort();
  open.push(serveMetrics({ host: '127.0.0.1', port, token, render, healthy, log }));
  await vi.waitFor(() => fetch(`http://127.0.0.1:${port}/health`));
  return `http://127.0.0.1:${port}`;
}

test.each([
  [undefined, 401],
  ['Bearer wrong', 401],
  ['Bearer', 401],
  ['Basic right', 401],
  ['Bearer right more', 401],
  ['Bearer right', 200],
])('with a token, %s is answered with %d', async (authorization, status) => {
  const url = await serve('right');
  const answer = await fetch(`${url}/metrics`, authorization === undefined ? {} : { headers: { authorization } });
  expect(answer.status).toBe(status);
  expect((await answer.text()).includes('a 1')).toBe(status === 200);
});

test('without a token everybody is answered, and what else is asked for is not found', async () => {
  const url = await serve(undefined);
  const answer = await fetch(`${url}/metrics`);
  expect([answer.status, await answer.text()]).toEqual([200, 'a 1\n']);
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect((await fetch(`${url}/`)).status).toBe(404);
  expect((await fetch(`${url}/metrics/x`)).status).toBe(404);
  expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(404);
});

test('/health needs no token and gives no details', async () => {
  const up = await serve('right');
  const down = await serve('right', undefined, () => false);
  const answers = await Promise.all([up, down].map((url) => fetch(`${url}/health`)));
  expect(answers.map(({ status }) => status)).toEqual([200, 503]);
  expect(await Promise.all(answers.map((answer) => answer.text()))).toEqual(['ok\n', 'no worker\n']);
});

test('what goes wrong is not told to who asks', async () => {
  const url = await serve(undefined, () => Promise.reject(new Error('secret path')));
  const answer = await fetch(`${url}/metrics`);
  expect(answer.status).toBe(500);
  expect(await answer.text()).not.toContain('secret');
});

test('where the port is taken it says so once and serves when it is free', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = other.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const warnings: unknown[] = [];
  const heard = pino({ level: 'warn' }, { write: (line: string) => warnings.push(line) });
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const { port } = address;
    open.push(
      serveMetrics({
        host: '127.0.0.1',
        port,
        token: undefined,
        render: async () => '',
        healthy: () => true,
        log: heard,
      }),
    );
    while (warnings.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await vi.advanceTimersByTimeAsync(5000);
    while (vi.getTimerCount() === 0) await new Promise((resolve) => setImmediate(resolve));
    other.close();
    await once(other, 'close');
    vi.advanceTimersByTime(5000);
    vi.useRealTimers();
    await vi.waitFor(async () => expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200));
    expect(warnings).toEqual([expect.stringContaining('EADDRINUSE')]);
  } finally {
    vi.useRealTimers();
    other.close();
  }
});
