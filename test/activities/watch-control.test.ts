import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { signInput } from '../../src/activities/auth.js';
import { Host } from '../../src/activities/host.js';
import {
  type ControlActivities,
  createControlActivities,
  type ElsewhereRequest,
} from '../../src/activities/watch-activities.js';
import { loadConfig } from '../../src/config/load.js';
import { Receiver } from '../support/receiver.js';
import { startTestTemporal, type TestTemporal } from '../support/temporal.js';

let temporal: TestTemporal;
let receiver: Receiver;
let folder: string;
let host: Host;
let activities: ControlActivities;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  [temporal, receiver] = await Promise.all([startTestTemporal(), Receiver.start()]);
  folder = mkdtempSync(join(tmpdir(), 'holdfast-control-'));
  const config = {
    host: 'control-1',
    state: join(folder, 'state'),
    destinations: { nas: { type: 'local', path: '/nonexistent/nas' } },
    notify: {
      ops: { type: 'webhook', url: `${receiver.url}/ops` },
      all: { type: 'webhook', url: `${receiver.url}/all` },
      deaf: { type: 'webhook', url: `${receiver.url}/deaf`, on: ['failure'] },
    },
    jobs: { own: { sources: [{ type: 'files', paths: ['/nonexistent/www'] }], destinations: ['nas'] } },
  };
  writeFileSync(join(folder, 'holdfast.json'), JSON.stringify(config));
  host = new Host(loadConfig(join(folder, 'holdfast.json')), temporal.client, pino({ level: 'silent' }));
  activities = createControlActivities(host);
});
afterAll(async () => {
  await host?.close();
  await Promise.all([temporal?.cleanup(), receiver?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  receiver.received.length = 0;
});

let jobs = 0;
const request = (owner: string, names: string[], sig = '00'): ElsewhereRequest => ({
  input: { host: owner, sig },
  names,
  notice: {
    kind: 'missed',
    job: `job-${++jobs}`,
    lastSuccess: null,
    withinMs: 1000,
    due: Date.now(),
    hostGone: true,
    running: null,
  },
});
const tell = (one: ElsewhereRequest): Promise<string[]> =>
  new MockActivityEnvironment().run(activities.tellElsewhere, one) as Promise<string[]>;
const urls = (): string[] => receiver.received.map(({ url }) => url);

test('a host that is gone is told of by the notifiers of the same name', async () => {
  const one = request('web-9', ['ops', 'unknown', 'deaf']);
  expect(await tell(one)).toEqual(['ops']);
  expect(receiver.json()).toMatchObject({ event: 'missed', host: 'web-9', missed: { hostGone: true } });
  expect(receiver.json().subject).toBe(`${one.notice.job}: MISSED, no backup yet, web-9 is not there`);
  await tell(one);
  expect(urls()).toEqual(['/ops']);
});

test('by every notifier that wants to hear of misses, where none has the same name', async () => {
  expect(await tell(request('web-9', ['theirs']))).toEqual(['ops', 'all']);
  expect(urls()).toEqual(['/ops', '/all']);
});

test('one of several that cannot be reached does not keep it from the others', async () => {
  receiver.next.push({ status: 500 });
  expect(await tell(request('web-9', ['ops', 'all']))).toEqual(['all']);
  receiver.next.push({ status: 500 }, { status: 500 });
  await expect(tell(request('web-9', ['ops', 'all']))).rejects.toThrow(/answered 500/);
});

test('nothing is told of a host that takes work, nor of this one without its signature', async () => {
  const native = await NativeConnection.connect({ address: temporal.server.address });
  const worker = await Worker.create({
    connection: native,
    taskQueue: 'holdfast.web-8',
    activities: { none: async () => 0 },
  });
  const running = worker.run();
  try {
    const { client } = temporal;
    const pollers = async () =>
      (
        await client.workflowService.describeTaskQueue({
          namespace: client.options.namespace,
          taskQueue: { name: 'holdfast.web-8' },
          taskQueueType: 2,
        })
      ).pollers ?? [];
    while ((await pollers()).length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    await expect(tell(request('web-8', ['ops']))).rejects.toThrow(/takes work/);
  } finally {
    worker.shutdown();
    await running;
    await native.close();
  }
  await expect(tell(request('control-1', ['ops']))).rejects.toThrow(/not started by Holdfast/);
  await expect(tell(request('../../x', ['ops']))).rejects.toThrow(/no such host/);
  expect(urls()).toEqual([]);
  const sig = signInput(host.state, 'watch', { host: 'control-1' });
  expect(await tell(request('control-1', ['ops'], sig))).toEqual(['ops']);
});

test('which schedules are paused', async () => {
  for (const job of ['held', 'free']) {
    await temporal.client.schedule.create({
      scheduleId: `holdfast/web-9/${job}`,
      spec: { intervals: [{ every: '1d' }] },
      action: { type: 'startWorkflow', workflowType: 'x', taskQueue: 'x' },
      state: { paused: job === 'held' },
    });
  }
  const paused = new MockActivityEnvironment().run(activities.pausedJobs, {
    host: 'web-9',
    jobs: ['held', 'free', 'none'],
  });
  expect(await paused).toEqual(['held']);
});
