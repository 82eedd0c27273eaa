import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Host } from '../../src/activities/host.js';
import { noteUnsent, notifyOne } from '../../src/activities/notify.js';
import { flush, observe, tellNotice } from '../../src/activities/watch.js';
import { loadConfig } from '../../src/config/load.js';
import { secretRegistry } from '../../src/config/redact.js';
import type { RunDocument } from '../../src/run-document.js';
import { failed, run } from '../notifiers/samples.js';
import { Receiver } from '../support/receiver.js';

let receiver: Receiver;
let folder: string;
let host: Host;
const never = new AbortController().signal;
const day = 86_400_000;
// A Monday.
const start = Date.parse('2026-11-23T12:00:00Z');

beforeAll(async () => {
  receiver = await Receiver.start();
});
afterAll(() => receiver.stop());
beforeEach(() => {
  receiver.received.length = 0;
  receiver.next.length = 0;
  receiver.usual = { status: 200 };
  folder = mkdtempSync(join(tmpdir(), 'holdfast-notify-'));
  vi.useFakeTimers({ toFake: ['Date'], now: start });
});
afterEach(async () => {
  vi.useRealTimers();
  secretRegistry.clear();
  await host.close();
  rmSync(folder, { recursive: true, force: true });
});

const all = ['success', 'failure', 'warning', 'recovery', 'start', 'missed', 'auth'];
function open(notifier: Record<string, unknown> = {}, job: Record<string, unknown> = {}): void {
  const config = {
    host: 'web-1',
    state: join(folder, 'state'),
    destinations: { nas: { type: 'local', path: '/nonexistent/nas' } },
    notify: { hook: { type: 'webhook', url: receiver.url, on: all, ...notifier } },
    jobs: {
      site: {
        sources: [{ type: 'files', paths: ['/nonexistent/www'] }],
        destinations: ['nas'],
        notify: ['hook'],
        ...job,
      },
    },
  };
  writeFileSync(join(folder, 'holdfast.json'), JSON.stringify(config));
  host = new Host(loadConfig(join(folder, 'holdfast.json')), undefined, pino({ level: 'silent' }));
}

let runs = 0;
/** Records a run that has ended now. */
function ended(document: RunDocument): string {
  const id = `backup/web-1/site/${++runs}`;
  const now = new Date().toISOString();
  host.history.put('web-1', { ...document, run: id, startedAt: now, endedAt: document.endedAt === null ? null : now });
  return id;
}
const tellOf = (id: string): Promise<{ told: string }> => notifyOne(host, 'site', id, 'hook', never);
const later = (ms: number): void => void vi.setSystemTime(Date.now() + ms);
const events = (): unknown[] => receiver.received.map((_, at) => receiver.json(at).event);
const weak = (): RunDocument =>
  failed({ destinations: [{ name: 'nas', status: 'missed', packs: 0, bytes: 0, error: 'DestinationFull: no space' }] });

describe('events', () => {
  test('of runs that go well and badly, and of the recovery', async () => {
    open();
    const partial = run({ status: 'partial', files: { total: 1, new: 0, changed: 0, unreadable: 1 } });
    for (const document of [run({ status: 'running', endedAt: null }), run(), weak(), partial, run(), run()]) {
      later(60_000);
      await tellOf(ended(document));
    }
    expect(events()).toEqual(['start', 'success', 'failure', 'warning', 'recovery', 'success']);
    expect(receiver.json(4)).toMatchObject({
      subject: 'site: recovered after 2 failures since 2026-11-23 12:03',
      repeated: { count: 2, since: '2026-11-23T12:03:00.000Z' },
    });
  });

  test('refused credentials are an event of their own where somebody asks for it', async () => {
    open();
    await tellOf(ended(failed()));
    expect(receiver.json()).toMatchObject({ event: 'auth', subject: 'site: ACCESS DENIED on offsite (2 of 3 stored)' });
    later(1000);
    const expired = {
      name: 'drive',
      status: 'missed',
      packs: 0,
      bytes: 0,
      error: 'AuthExpired: the token is over',
    } as const;
    await tellOf(ended(failed({ status: 'partial', destinations: [...run().destinations, expired] })));
    expect(receiver.json()).toMatchObject({ event: 'auth', subject: 'site: ACCESS DENIED on drive (3 of 4 stored)' });
    expect(receiver.json().next).toMatch(/holdfast login drive/);
  });

  test('and a failure where nobody does', async () => {
    open({ on: ['failure'] });
    await tellOf(ended(failed()));
    expect(events()).toEqual(['failure']);
    expect((await tellOf(ended(run()))).told).toBe('unwanted');
  });

  test('a run that is unlike the ones before; it is a success all the same', async () => {
    open({ on: ['failure', 'recovery', 'anomaly'] });
    await tellOf(ended(weak()));
    later(1000);
    const warnings = [{ code: 'Anomaly', message: 'files fell from 1200 to 3' }];
    await tellOf(ended(run({ warnings })));
    expect(receiver.json()).toMatchObject({ event: 'anomaly', subject: 'site: UNUSUAL: files fell from 1200 to 3' });
    expect(receiver.json().next).toMatch(/^Is this meant\? /);
    later(1000);
    expect((await tellOf(ended(run()))).told).toBe('sent');
    expect(receiver.json()).toMatchObject({
      event: 'recovery',
      subject: 'site: usual again after 1 unusual run since 2026-11-23 12:00',
    });
    expect((await tellOf(ended(run()))).told).toBe('unwanted');
    expect((await tellOf(ended(weak()))).told).toBe('sent');
    expect(events()).toEqual(['failure', 'anomaly', 'recovery', 'failure']);
  });

  test('an alarm in a run that went well is a warning, but not to services that watch pings', async () => {
    const warnings = [{ code: 'CheckFailed', message: 'nas: 2 packs are damaged since the last check' }];
    open();
    await tellOf(ended(run({ warnings })));
    expect(receiver.json()).toMatchObject({
      event: 'warning',
      severity: 'warning',
      subject: 'site: WARNING: nas: 2 packs are damaged since the last check',
    });
    expect(receiver.json().next).toMatch(/^`holdfast check site --repair` heals it/);
    await host.close();
    open({ type: 'healthchecks', on: ['success', 'warning', 'failure'] });
    await tellOf(ended(run({ warnings })));
    expect(new URL(receiver.last().url, receiver.url).pathname).toBe('/');
  });

  test('a failure that happened before the notifier was there is recovered from too', async () => {
    open();
    ended(weak());
    later(60_000);
    await tellOf(ended(run()));
    expect(events()).toEqual(['recovery']);
  });

  test('the same step repeated sends nothing again', async () => {
    open();
    const id = ended(weak());
    await tellOf(id);
    await tellOf(id);
    later(1000);
    const good = ended(run());
    await tellOf(good);
    await tellOf(good);
    expect(events()).toEqual(['failure', 'recovery']);
  });
});

describe('repeated failures', () => {
  test('are folded: one message per so many, and the recovery says how many there were', async () => {
    open({ repeat: { count: 3, every: '30d' } });
    const told: string[] = [];
    for (let i = 0; i < 8; i++) {
      told.push((await tellOf(ended(weak()))).told);
      later(3_600_000);
    }
    expect(told).toEqual(['sent', 'folded', 'folded', 'sent', 'folded', 'folded', 'sent', 'folded']);
    expect(receiver.json().subject).toBe(
      'site: FAILED on nas (0 of 1 stored), 7 times in a row since 2026-11-23 12:00',
    );
    await tellOf(ended(run()));
    expect(receiver.json()).toMatchObject({ event: 'recovery', repeated: { count: 8 } });
  });

  test('are told again after a day', async () => {
    open();
    await tellOf(ended(weak()));
    later(day - 1000);
    expect((await tellOf(ended(weak()))).told).toBe('folded');
    later(1000);
    expect((await tellOf(ended(weak()))).told).toBe('sent');
  });

  test('another failure is told at once', async () => {
    open();
    await tellOf(ended(weak()));
    const other = failed({ destinations: [], error: { code: 'SourceMissing', message: '/srv is gone' } });
    expect((await tellOf(ended(other))).told).toBe('sent');
    expect((await tellOf(ended(weak()))).told).toBe('sent');
  });

  test('a repetition of the step does not count twice', async () => {
    open({ repeat: { count: 2 } });
    await tellOf(ended(weak()));
    const second = ended(weak());
    await tellOf(second);
    expect((await tellOf(second)).told).toBe('folded');
  });

  test('so are runs that stay unusual, whatever their figures, until they are usual again', async () => {
    open({ on: ['failure', 'warning', 'recovery', 'anomaly'] });
    const slow = (minutes: number) =>
      run({ warnings: [{ code: 'Anomaly', message: `the run took ${minutes} min, expected at most 20 min` }] });
    const told: string[] = [];
    for (const minutes of [35, 41, 119, 38]) {
      told.push((await tellOf(ended(slow(minutes)))).told);
      later(8 * 3_600_000);
    }
    expect(told).toEqual(['sent', 'folded', 'folded', 'sent']);
    expect(receiver.json().subject).toBe(
      'site: UNUSUAL: the run took 38 min, expected at most 20 min, 4 times in a row since 2026-11-23 12:00',
    );
    const other = { code: 'Anomaly', message: 'source www has 3 files, expected 700 to 1,400' };
    expect((await tellOf(ended(run({ warnings: [other] })))).told).toBe('sent');
    // A failure does not say whether it is over.
    expect((await tellOf(ended(weak()))).told).toBe('sent');
    expect((await tellOf(ended(run({ warnings: [other] })))).told).toBe('sent');
    expect(receiver.json()).toMatchObject({ event: 'recovery', subject: expect.stringContaining('after 1 failure') });
    later(1000);
    await tellOf(ended(run()));
    expect(receiver.json()).toMatchObject({
      event: 'recovery',
      subject: 'site: usual again after 6 unusual runs since 2026-11-23 12:00',
    });
    expect(events()).toEqual(['anomaly', 'anomaly', 'anomaly', 'failure', 'recovery', 'recovery']);
  });

  test('what is unusual is told at once while a partial run that repeats is folded', async () => {
    open({ on: ['warning', 'anomaly'] });
    const partial = { status: 'partial', files: { total: 9, new: 0, changed: 0, unreadable: 1 } } as const;
    await tellOf(ended(run(partial)));
    expect((await tellOf(ended(run(partial)))).told).toBe('folded');
    const warnings = [{ code: 'Anomaly', message: 'source www is suddenly empty: 0 files, expected 5 to 9' }];
    expect((await tellOf(ended(run({ ...partial, warnings })))).told).toBe('sent');
    expect((await tellOf(ended(run({ ...partial, warnings })))).told).toBe('folded');
    expect(events()).toEqual(['warning', 'anomaly']);
  });

  test('services that watch pings get every one', async () => {
    open({ type: 'healthchecks', on: ['success', 'failure'] });
    for (const document of [weak(), weak(), run()]) await tellOf(ended(document));
    expect(receiver.received.map(({ url }) => new URL(url, receiver.url).pathname)).toEqual(['/fail', '/fail', '/']);
  });
});

describe('quiet hours', () => {
  const quiet = { from: '22:00', to: '07:00', timezone: 'UTC' };

  test('hold everything back and send it as one', async () => {
    open({ quiet });
    later(11 * 3_600_000);
    expect((await tellOf(ended(run()))).told).toBe('held');
    later(60_000);
    expect((await tellOf(ended(weak()))).told).toBe('held');
    expect(observe(host).flushAt).toBe(Date.parse('2026-11-24T07:00:00Z'));
    await flush(host, never);
    expect(events()).toEqual([]);
    vi.setSystemTime('2026-11-24T07:00:01Z');
    expect(await flush(host, never)).toEqual({ sent: 1, failed: 0 });
    expect(receiver.json().subject).toBe('2 notifications held back, among them: site: FAILED on nas (0 of 1 stored)');
    expect(observe(host).flushAt).toBeNull();
    await flush(host, never);
    expect(receiver.received).toHaveLength(1);
  });

  test('what is urgent pierces them', async () => {
    open({ quiet: { ...quiet, urgent: ['failure'] } });
    later(11 * 3_600_000);
    expect((await tellOf(ended(weak()))).told).toBe('sent');
    expect((await tellOf(ended(run()))).told).toBe('held');
  });
});

describe('what does not get through', () => {
  test('is a warning of the run, is kept, and sent later', async () => {
    open();
    receiver.usual = { status: 500 };
    const id = ended(weak());
    await expect(tellOf(id)).rejects.toMatchObject({ code: 'NotifyFailed', retryable: true });
    noteUnsent(host, id, { name: 'hook', reason: 'the server answered 500' });
    noteUnsent(host, id, { name: 'hook', reason: 'the server answered 500' });
    const warnings = () => host.history.get(id)?.warnings.filter(({ code }) => code === 'NotifyFailed');
    noteUnsent(host, id, { name: 'ping', reason: 'no answer', start: true });
    expect(warnings()?.map(({ message }) => message)).toEqual([
      'notifier hook could not be reached: the server answered 500',
      'notifier ping could not be reached at the start: no answer',
    ]);
    expect(observe(host).flushAt).toBe(start + 900_000);
    later(900_000);
    expect(await flush(host, never)).toEqual({ sent: 0, failed: 1 });
    expect(observe(host).flushAt).toBe(start + 1_800_000);
    receiver.usual = { status: 200 };
    later(900_000);
    expect(await flush(host, never)).toEqual({ sent: 1, failed: 0 });
    expect(receiver.json().event).toBe('failure');
    expect(warnings()?.at(-1)?.message).toBe(
      'notifier hook could not be reached at first: it was told at 2026-11-23T12:30:00.000Z',
    );
    // The failure has been told: the same again is folded.
    expect((await tellOf(ended(weak()))).told).toBe('folded');
  });

  test('is given up after three days, and the run says so', async () => {
    open();
    receiver.usual = { status: 500 };
    const id = ended(weak());
    noteUnsent(host, id, { name: 'hook', reason: 'no' });
    later(3 * day + 1);
    await flush(host, never);
    expect(observe(host).flushAt).toBeNull();
    expect(host.history.get(id)?.warnings.at(-1)?.message).toMatch(/it was given up/);
  });
});

describe('digests', () => {
  test('daily: what the period held, once, also when the machine was off at the time', async () => {
    open({ on: ['failure'], digest: { every: 'daily', at: '07:00', timezone: 'UTC' } });
    expect(observe(host).flushAt).toBe(Date.parse('2026-11-24T07:00:00Z'));
    ended(run());
    later(3_600_000);
    ended(weak());
    await flush(host, never);
    expect(receiver.received).toEqual([]);
    vi.setSystemTime('2026-11-24T09:30:00Z');
    expect(observe(host).flushAt).toBe(Date.now());
    await flush(host, never);
    expect(receiver.json()).toMatchObject({
      event: 'digest',
      subject: 'web-1: digest, 1 of 1 job had problems',
      digest: {
        from: '2026-11-23T07:00:00.000Z',
        to: '2026-11-24T07:00:00.000Z',
        jobs: [
          { job: 'site', runs: { succeeded: 1, failed: 1 }, stored: 8e7, lastSuccess: '2026-11-23T12:00:00.000Z' },
        ],
      },
    });
    expect(observe(host).flushAt).toBe(Date.parse('2026-11-25T07:00:00Z'));
    await flush(host, never);
    expect(receiver.received).toHaveLength(1);
  });

  test('weekly, and one that fails is tried again', async () => {
    open({ on: ['failure'], digest: { every: 'weekly', day: 'wednesday', at: '07:00', timezone: 'UTC' } });
    expect(observe(host).flushAt).toBe(Date.parse('2026-11-25T07:00:00Z'));
    vi.setSystemTime('2026-11-25T07:00:00Z');
    receiver.next.push({ status: 500 });
    expect(await flush(host, never)).toEqual({ sent: 0, failed: 1 });
    expect(await flush(host, never)).toEqual({ sent: 1, failed: 0 });
    expect(receiver.json().digest).toMatchObject({ from: '2026-11-18T07:00:00.000Z' });
  });
});

describe('missed', () => {
  const notice = {
    kind: 'missed',
    job: 'site',
    lastSuccess: start - day,
    withinMs: 3_600_000,
    due: start,
    hostGone: false,
    running: null,
  } as const;

  test('is told once, and the next success is a recovery', async () => {
    open();
    for (let i = 0; i < 2; i++) await tellNotice(host, 'web-1', 'hook', notice, never);
    await tellOf(ended(run()));
    expect(events()).toEqual(['missed', 'recovery']);
  });

  test('is not told to who does not want to know', async () => {
    open({ on: ['failure'] });
    expect(await tellNotice(host, 'web-1', 'hook', notice, never)).toBe('unwanted');
    expect(receiver.received).toEqual([]);
  });

  test('what the host says of its jobs', () => {
    open({}, { schedule: { every: '1h' }, expect: { partial: true } });
    expect(observe(host)).toEqual({
      jobs: [{ job: 'site', withinMs: 4_500_000, lastSuccess: null, running: null, notify: ['hook'] }],
      flushAt: null,
    });
    ended(run({ status: 'partial' }));
    later(1000);
    ended(weak());
    const id = ended(run({ status: 'running', endedAt: null }));
    expect(observe(host).jobs[0]).toMatchObject({ lastSuccess: start, running: id });
  });
});

test('secrets that got into a run by accident do not leave with it', async () => {
  open({ url: `${receiver.url}/PLANTED-path-of-the-hook`, quiet: { from: '22:00', to: '07:00', timezone: 'UTC' } });
  secretRegistry.add('PLANTED"quoted\\secret');
  secretRegistry.add('12345678');
  const error = { code: 'X', message: `GET ${receiver.url}/PLANTED-path-of-the-hook: PLANTED"quoted\\secret` };
  await tellOf(ended(failed({ error, bytes: { source: 12345678, read: 1, new: 1, stored: 1 } })));
  expect(receiver.last().body).not.toContain('PLANTED');
  expect(receiver.json().run).toMatchObject({ error: { message: 'GET ***: ***' }, bytes: { source: 12345678 } });
  later(11 * 3_600_000);
  await tellOf(ended(weak()));
  expect(JSON.stringify(host.outbox.held('hook'))).not.toContain('PLANTED');
});
