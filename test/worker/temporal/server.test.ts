import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connect } from '../../../src/control/connection.js';
import { usableSearchAttributes } from '../../../src/control/search-attributes.js';
import { processIdentity } from '../../../src/worker/temporal/process.js';
import { startEmbedded } from '../../../src/worker/temporal/server.js';
import { acquireServer, takeUpLock, upHolder } from '../../../src/worker/temporal/share.js';
import { readRecord, serverPaths } from '../../../src/worker/temporal/state.js';
import { compileSource } from '../../support/compile.js';

let stateDir: string;
let messages: string[];
const log = { info: (text: string) => void messages.push(text), warn: (text: string) => void messages.push(text) };
const stops: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'holdfast-server-'));
  messages = [];
});
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
  await rm(stateDir, { recursive: true, force: true });
});

async function start(options: Partial<Parameters<typeof startEmbedded>[0]> = {}) {
  const server = await startEmbedded({ stateDir, log, ...options });
  stops.push(() => server.stop());
  return server;
}

async function acquire() {
  const handle = await acquireServer({ stateDir, log });
  stops.push(() => handle.release());
  return handle;
}

const runs = async (pid: number) => (await processIdentity(pid)) !== undefined;

describe('the embedded server', () => {
  test('keeps what it knows, its address and its retention across a restart', async () => {
    const first = await start();
    expect(first.adopted).toBe(false);
    let temporal = await connect(undefined, first);
    await temporal.client.workflow.start('backup', { taskQueue: 'holdfast', workflowId: 'kept' });
    expect(await usableSearchAttributes(temporal.connection, 'default')).toEqual(
      new Set(['HoldfastJob', 'HoldfastHost', 'HoldfastOutcome']),
    );
    await temporal.close();
    await first.stop();
    expect(await runs(first.pid)).toBe(false);
    await expect(stat(serverPaths(stateDir).record)).rejects.toMatchObject({ code: 'ENOENT' });

    const second = await start();
    expect([second.address, second.ui]).toEqual([first.address, first.ui]);
    temporal = await connect(undefined, second);
    expect((await temporal.client.workflow.getHandle('kept').describe()).status.name).toBe('RUNNING');
    const { config } = await temporal.connection.workflowService.describeNamespace({ namespace: 'default' });
    expect(Number(config?.workflowExecutionRetentionTtl?.seconds)).toBe(30 * 86_400);
    await temporal.close();
    expect(await fetch(second.ui).then(({ status }) => status)).toBe(200);
    expect(second.warnings.length).toBe(process.getuid?.() === 0 ? 1 : 0);
  });

  test.runIf(process.platform === 'linux')(
    'listens on loopback only, in private folders, in a process group of its own',
    async () => {
      const server = await start();
      const inodes = new Set(
        execFileSync('sh', ['-c', `ls -l /proc/${server.pid}/fd`], { encoding: 'utf8' }).match(/(?<=socket:\[)\d+/g),
      );
      const listening = ['tcp', 'tcp6'].flatMap((kind) =>
        execFileSync('cat', [`/proc/${server.pid}/net/${kind}`], { encoding: 'utf8' })
          .split('\n')
          .map((line) => line.trim().split(/\s+/))
          .filter((fields) => fields[3] === '0A' && inodes.has(fields[9] ?? ''))
          .map((fields) => fields[1]?.split(':')[0]),
      );
      expect(listening.length).toBeGreaterThan(1);
      expect(new Set(listening)).toEqual(new Set(['0100007F']));
      for (const folder of ['temporal', 'run', 'logs'])
        expect((await stat(join(stateDir, folder))).mode & 0o777).toBe(0o700);
      const fields = (await readFile(`/proc/${server.pid}/stat`, 'utf8')).split(') ')[1]?.split(' ');
      expect(Number(fields?.[2])).toBe(server.pid);
    },
  );

  test('is adopted, not doubled, while it runs; another process with its pid is not taken for it', async () => {
    const first = await start();
    const second = await start();
    expect([second.adopted, second.pid, second.address]).toEqual([true, first.pid, first.address]);

    const path = serverPaths(stateDir).record;
    await writeFile(path, JSON.stringify({ ...(await readRecord(path)), pid: process.pid }));
    const third = await start();
    expect(third.adopted).toBe(false);
    // The one that was not on record any more would have written to the same database.
    expect(await runs(first.pid)).toBe(false);
    expect(messages.join('\n')).toContain(`process ${first.pid}) that uses`);
  });

  test('takes other ports where its own are taken', async () => {
    const first = await start();
    await first.stop();
    const squatter = createServer().listen(Number(first.address.split(':')[1]), '127.0.0.1');
    await once(squatter, 'listening');
    const second = await start();
    expect(second.address).not.toBe(first.address);
    expect(second.ui).toBe(first.ui);
    await expect(
      start({ stateDir: join(stateDir, 'x'), uiPort: Number(second.ui.split(':')[2]) }),
    ).rejects.toMatchObject({
      code: 'TemporalUnavailable',
      message: expect.stringContaining('is taken'),
    });
    squatter.close();
  });

  test('that does not start is an error with the end of its log', async () => {
    const server = await start();
    await server.stop();
    const { database, record } = serverPaths(stateDir);
    await truncate(database, 0);
    await writeFile(database, 'this is no database, '.repeat(1000));
    await rm(`${database}-wal`, { force: true });
    await rm(`${database}-shm`, { force: true });
    await expect(start()).rejects.toMatchObject({
      code: 'TemporalUnavailable',
      message: expect.stringMatching(/did not start: it ended with exit code 1\n.*not a database/s),
      hint: expect.stringContaining('temporal.log'),
    });
    await expect(stat(record)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('sharing', () => {
  test('the last one out stops the server', async () => {
    const [first, second] = await Promise.all([acquire(), acquire()]);
    expect([first.adopted, second.adopted].sort()).toEqual([false, true]);
    expect(first.pid).toBe(second.pid);
    await first.release();
    expect(await runs(second.pid)).toBe(true);
    const { pid } = second;
    await Promise.all([second.release(), second.release()]);
    expect(await runs(pid)).toBe(false);
  });

  test('two that leave at the same moment leave nothing behind', async () => {
    const handles = await Promise.all([acquire(), acquire(), acquire()]);
    const { pid } = handles[0];
    await Promise.all(handles.map((handle) => handle.release()));
    expect(await runs(pid)).toBe(false);
  });

  test('a server killed with -9 is started again on the same ports, with what it knew', async () => {
    const handle = await acquire();
    const temporal = await connect(undefined, handle);
    await temporal.client.workflow.start('backup', { taskQueue: 'holdfast', workflowId: 'kept' });
    const { pid, address } = handle;
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => handle.pid, { timeout: 20_000 }).not.toBe(pid);
    expect(handle.address).toBe(address);
    // The same client, which has had to reconnect.
    await expect
      .poll(
        () =>
          temporal.client.workflow
            .getHandle('kept')
            .describe()
            .then(
              ({ status }) => status.name,
              () => 'away',
            ),
        { timeout: 20_000 },
      )
      .toBe('RUNNING');
    await temporal.close();
  });

  test('of two users, one starts the killed server again and the other finds it', async () => {
    const [first, second] = await Promise.all([acquire(), acquire()]);
    const { pid } = first;
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => first.pid !== pid && first.pid === second.pid, { timeout: 20_000 }).toBe(true);
    expect(messages.filter((text) => text.startsWith('Temporal server started'))).toHaveLength(2);
  });

  test('a user that is killed with -9 leaves the server to the next one, who stops it at the end', async () => {
    const { dist, remove } = compileSource(['errors.ts', 'worker/locks.ts', 'worker/temporal']);
    try {
      const module = pathToFileURL(join(dist, 'worker/temporal/share.js')).href;
      const script = `
        const { acquireServer } = await import(${JSON.stringify(module)});
        const log = { info() {}, warn() {} };
        globalThis.handle = await acquireServer({ stateDir: ${JSON.stringify(stateDir)}, log });
        process.stdout.write(String(handle.pid));
        setInterval(() => {}, 1000);`;
      const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [text] = await once(child.stdout, 'data');
      child.kill('SIGKILL');
      await once(child, 'exit');
      const pid = Number(text);
      expect(await runs(pid)).toBe(true);
      const handle = await acquire();
      expect([handle.adopted, handle.pid]).toEqual([true, pid]);
      await handle.release();
      expect(await runs(pid)).toBe(false);
    } finally {
      remove();
    }
  });

  test('a second `up` is refused and told who runs the first', () => {
    expect(upHolder(stateDir)).toBeUndefined();
    const lock = takeUpLock(stateDir);
    lock.describe('http://127.0.0.1:8233');
    let refusal: unknown;
    try {
      takeUpLock(stateDir);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({
      code: 'AlreadyRunning',
      message: expect.stringMatching(new RegExp(`process ${process.pid}, since 20.+, Web UI http://127.0.0.1:8233`)),
    });
    expect(upHolder(stateDir)).toMatchObject({ pid: process.pid });
    lock.release();
    takeUpLock(stateDir).release();
  });
});
