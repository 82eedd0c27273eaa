import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DropboxDestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { ContentHash } from '../../src/destinations/dropbox-hash.js';
import { openDestination } from '../../src/destinations/open.js';
import { TokenFile } from '../../src/destinations/tokens.js';
import { compileSource } from '../support/compile.js';
import { contentHash, DropboxServer, dropboxProblem } from '../support/dropbox-server.js';
import type { Asked } from '../support/fake-http.js';
import { putInChild } from '../support/put-in-child.js';
import { conformance, drain, failure, type Subject, sha256 } from './conformance.js';

const MiB = 1024 * 1024;

function configFor(server: DropboxServer, more: Partial<DropboxDestinationConfig> = {}): DropboxDestinationConfig {
  const { clientId: appKey, clientSecret: appSecret } = server.oauth;
  const refreshToken = more.refreshToken ?? server.oauth.login();
  return { type: 'dropbox', path: '/b', appKey, appSecret, refreshToken, endpoint: server.endpoint, ...more };
}

async function setUp(): Promise<Subject> {
  const server = await DropboxServer.start();
  const states: string[] = [];
  const open = async (more?: Partial<DropboxDestinationConfig>, at = server): Promise<Destination> => {
    const state = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
    states.push(state);
    return await openDestination('box', configFor(at, more), { state });
  };
  return {
    open: () => open(),
    async seed(keys, bytes) {
      for (const key of keys) server.add(`/b/${key}`, bytes);
    },
    async leftovers() {
      return [...server.home.keys()].filter((path) => path.includes('.tmp-')).length;
    },
    away: () => server.http.stop(),
    back: () => server.http.start(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const appSecret = 'not-the-right-secret-at-all';
      const refreshToken = server.oauth.login();
      const destination = await open({ appSecret, refreshToken });
      return { destination, secrets: [appSecret, refreshToken], done: () => destination.close() };
    },
    async readOnly() {
      const destination = await open();
      server.readOnly = true;
      return {
        destination,
        codes: ['DestinationReadOnly'],
        async done() {
          server.readOnly = false;
          await destination.close();
        },
      };
    },
    async nearlyFull() {
      const small = await DropboxServer.start();
      small.quota = 8 * MiB;
      small.add('/b');
      const destination = await open({}, small);
      return {
        destination,
        codes: ['DestinationFull'],
        async done() {
          await destination.close();
          await small.stop();
        },
      };
    },
    async readCutShort(key) {
      server.http.fault = ({ url }) =>
        url.pathname.endsWith('/files/download') ? { cutAnswerAfter: 5 * MiB } : undefined;
      const destination = await open();
      const stream = await destination.get(key);
      await once(stream, 'readable');
      server.http.fault = () => undefined;
      return stream;
    },
    async stop() {
      await server.stop();
      for (const state of states) await rm(state, { recursive: true });
    },
  };
}

conformance('a Dropbox', setUp);

describe('a Dropbox destination', () => {
  let server: DropboxServer;
  let state: string;
  let box: Destination;

  beforeEach(async () => {
    server = await DropboxServer.start();
    state = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
    box = await open();
    await box.ensureRoot();
  });

  afterEach(async () => {
    await box.close();
    await server.stop();
    await rm(state, { recursive: true });
  });

  function open(more?: Partial<DropboxDestinationConfig>, name = 'box'): Promise<Destination> {
    return openDestination(name, configFor(server, more), { state });
  }

  const isAppend = ({ url, headers }: Asked): boolean =>
    url.pathname.endsWith('/append_v2') && Number(headers['content-length']) > 0;
  const records = async (): Promise<string[]> => readdir(join(state, 'uploads', 'box')).catch(() => []);
  const keys = async (prefix = ''): Promise<string[]> => {
    const found: string[] = [];
    for await (const { key } of box.list(prefix)) found.push(key);
    return found.sort();
  };

  it('goes on inside a large object after kill -9', async () => {
    const bytes = randomBytes(40 * MiB);
    const file = join(state, 'object');
    await writeFile(file, bytes);
    const compiled = compileSource(['errors.ts', 'destinations']);
    try {
      const killed = new Promise<void>((resolve) => {
        let appends = 0;
        server.http.fault = (asked) => {
          if (isAppend(asked) && ++appends === 4) {
            child.kill('SIGKILL');
            resolve();
          }
          return undefined;
        };
      });
      const put = { name: 'box', config: configFor(server), state, key: 'packs/large', file };
      const child = putInChild(compiled.dist, put);
      const ended = once(child, 'exit');
      await killed;
      await ended;
      server.http.fault = () => undefined;
      expect(await keys()).toEqual([]);
      const [record] = await records();
      expect((await stat(join(state, 'uploads', 'box', record ?? ''))).mode & 0o777).toBe(0o600);
      const before = server.uploaded;
      expect(before).toBeGreaterThanOrEqual(24 * MiB);
      let progress = 0;
      await box.put('packs/large', { file }, { sha256: sha256(bytes), onProgress: (n) => (progress += n) });
      expect(progress).toBe(bytes.length);
      expect(server.uploaded - before).toBeLessThanOrEqual(16 * MiB);
      expect((await drain(await box.get('packs/large'))).equals(bytes)).toBe(true);
      expect(await records()).toEqual([]);
    } finally {
      compiled.remove();
    }
  });

  it('goes on from where the service is', async () => {
    const bytes = randomBytes(20 * MiB);
    let appends = 0;
    // Once the request breaks off, once only its answer gets lost.
    server.http.fault = (asked) => {
      if (!isAppend(asked)) return undefined;
      appends += 1;
      return appends === 1 ? { cutAnswerAfter: 0 } : appends === 2 ? { cutRequestAfter: 3 * MiB } : undefined;
    };
    let progress = 0;
    await box.put('packs/cut', { bytes }, { onProgress: (n) => (progress += n) });
    expect(progress).toBe(bytes.length);
    expect(server.uploaded).toBe(bytes.length + 3 * MiB);
    expect((await drain(await box.get('packs/cut'))).equals(bytes)).toBe(true);
  });

  it('keeps an upload that could not go on for the next attempt', async () => {
    const bytes = randomBytes(20 * MiB);
    let appends = 0;
    server.http.fault = (asked) => (isAppend(asked) && ++appends > 1 ? { answer: { status: 500 } } : undefined);
    expect((await failure(box.put('packs/a', { bytes }))).code).toBe('DestinationFailed');
    server.http.fault = ({ url }) => (url.pathname.endsWith('/finish') ? { answer: { status: 503 } } : undefined);
    expect((await failure(box.put('packs/a', { bytes }))).retryable).toBe(true);
    expect(await records()).toHaveLength(1);
    server.http.fault = () => undefined;
    await box.put('packs/a', { bytes });
    expect(server.uploaded).toBe(bytes.length);
    expect(await records()).toEqual([]);
  });

  it('begins anew when the service has forgotten the session', async () => {
    const bytes = randomBytes(20 * MiB);
    let appends = 0;
    server.http.fault = (asked) => {
      if (isAppend(asked) && ++appends === 2) server.sessions.clear();
      return undefined;
    };
    await box.put('packs/a', { bytes });
    expect((await drain(await box.get('packs/a'))).equals(bytes)).toBe(true);
  });

  it('stores once when answers get lost', async () => {
    for (const [route, size] of [
      ['files/upload', 1000],
      ['upload_session/finish', 9 * MiB],
    ] as const) {
      let lost = 0;
      server.http.fault = ({ url }) =>
        url.pathname.endsWith(route) && lost++ === 0 ? { cutAnswerAfter: 0 } : undefined;
      const bytes = randomBytes(size);
      await box.put(`lost/${size}`, { bytes }, { exclusive: true });
      expect(lost).toBeGreaterThan(0);
      expect((await drain(await box.get(`lost/${size}`))).equals(bytes)).toBe(true);
    }
    expect(await keys()).toEqual(['lost/1000', `lost/${9 * MiB}`]);
  });

  it('gets a new token when the one in use expires in the middle of an upload', async () => {
    const bytes = randomBytes(20 * MiB);
    let appends = 0;
    server.http.fault = (asked) => {
      if (isAppend(asked) && ++appends === 2) server.oauth.expireAccessTokens();
      return undefined;
    };
    await box.put('packs/a', { bytes });
    expect((await drain(await box.get('packs/a'))).equals(bytes)).toBe(true);
  });

  it('keeps refresh tokens that rotate, in place of the one in the config', async () => {
    server.oauth.revokeLogins();
    server.oauth.rotate = true;
    const refreshToken = server.oauth.login();
    const two = await Promise.all([open({ refreshToken }, 'one'), open({ refreshToken }, 'one')]);
    for (let round = 0; round < 3; round++) {
      server.oauth.expireAccessTokens();
      await Promise.all(two.map((one) => one.stat('a')));
    }
    expect(server.oauth.loggedIn).toHaveLength(1);
    expect((await new TokenFile(state, 'one').read())?.refreshToken).toBe(server.oauth.loggedIn[0]);
    // A login that ended is followed by the config's newer token.
    server.oauth.revokeLogins();
    expect((await failure(two[0].stat('a'))).code).toBe('AuthExpired');
    const renewed = await open({ refreshToken: server.oauth.login() }, 'one');
    expect(await renewed.stat('a')).toBeUndefined();
    await Promise.all([...two, renewed].map((one) => one.close()));
  });

  it('says that the login has expired for good, and goes on after the next one', async () => {
    await box.put('a', { bytes: Buffer.from('x') });
    server.oauth.revokeLogins();
    const error = await failure(box.stat('a'));
    expect(error).toMatchObject({ code: 'AuthExpired', hint: 'Run `holdfast login box`.' });
    await new TokenFile(state, 'box').write({ refreshToken: server.oauth.login() });
    expect((await box.stat('a'))?.size).toBe(1);
  });

  it('waits as long as it is told to, and hands a long wait on', async () => {
    await box.put('a', { bytes: Buffer.from('x') });
    const busy = (wait: number) =>
      dropboxProblem('too_many_requests', { reason: { '.tag': 'too_many_requests' }, retry_after: wait });
    let refused = 0;
    const times: number[] = [];
    server.http.fault = () => {
      times.push(Date.now());
      return refused++ === 0 ? { answer: { status: 429, body: busy(1) } } : undefined;
    };
    expect((await box.stat('a'))?.size).toBe(1);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(990);
    let asked = 0;
    server.http.fault = () => {
      asked += 1;
      return { answer: { status: 429, body: busy(300), headers: { 'retry-after': '300' } } };
    };
    expect(await failure(box.stat('a'))).toMatchObject({ code: 'Throttled', retryAfterMs: 300_000, retryable: true });
    expect(asked).toBe(1);
  });

  it.each([
    [409, 'path/insufficient_space', 'DestinationFull', true],
    [409, 'path/no_write_permission', 'DestinationReadOnly', true],
    [409, 'path/disallowed_name', 'DestinationFailed', false],
    [409, 'content_hash_mismatch', 'IntegrityMismatch', true],
    [401, 'missing_scope', 'AuthDenied', false],
    [429, 'too_many_write_operations', 'Throttled', true],
    [500, 'internal', 'DestinationFailed', true],
    [400, 'whatever', 'DestinationFailed', false],
  ] as const)('understands %i %s as %s', async (status, summary, code, retryable) => {
    server.http.fault = ({ url }) =>
      url.pathname.endsWith('/files/upload')
        ? { answer: { status, body: dropboxProblem(summary, { '.tag': 'path' }) } }
        : undefined;
    const error = await failure(box.put('any', { bytes: Buffer.from('x') }));
    expect(error).toMatchObject({ code, retryable });
    expect(error.message).toContain(summary);
  });

  it('begins a listing anew when its cursor was dropped, and lists everything once', async () => {
    server.pageSize = 7;
    const seeded = Array.from({ length: 50 }, (_, n) => `Packs/Ab${n % 3}/${n}`).sort();
    for (const key of seeded) server.add(`/b/${key}`, Buffer.from('x'));
    server.resets = 2;
    expect(await keys()).toEqual(seeded);
    expect(await keys('Packs/Ab1/')).toEqual(seeded.filter((key) => key.startsWith('Packs/Ab1/')));
    server.resets = 100;
    const error = await failure(keys());
    expect(error.code).toBe('DestinationFailed');
  });

  it('never takes one object for another whose name differs by case', async () => {
    await box.put('Jobs/Site', { bytes: Buffer.from('mine') });
    expect(await box.stat('Jobs/site')).toBeUndefined();
    expect((await failure(box.get('Jobs/site'))).code).toBe('ObjectMissing');
    await box.delete('Jobs/site');
    expect((await failure(box.put('Jobs/site', { bytes: Buffer.from('x') }, { exclusive: true }))).code).toBe(
      'ObjectExists',
    );
    const error = await failure(box.put('Jobs/site', { bytes: Buffer.from('theirs') }));
    expect(error).toMatchObject({ code: 'DestinationFailed', retryable: false });
    expect((await box.read('Jobs/Site', { maxBytes: 10 })).toString()).toBe('mine');
  });

  it('misses its folder when it is gone, and never makes it again by itself', async () => {
    server.home.clear();
    for (const work of [
      async () => (await open({})).put('b', { bytes: Buffer.from('x') }),
      () => box.stat('a'),
      () => box.get('a'),
      () => box.delete('a'),
      () => keys(),
    ]) {
      expect((await failure(work())).code).toBe('DestinationMissing');
    }
    const deep = await open({ path: '/not/there' });
    expect((await failure(deep.ensureRoot())).code).toBe('DestinationMissing');
  });

  it("keeps to the team's space or a namespace where that is wanted", async () => {
    server.teamSpace = '77';
    server.namespaces.set('77', new Map());
    server.namespaces.set('88', new Map());
    for (const namespace of ['team', '88']) {
      const team = await open({ namespace });
      await team.ensureRoot();
      await team.put('a', { bytes: Buffer.from('x') });
      await team.close();
      expect([...(server.namespaces.get(namespace === 'team' ? '77' : '88')?.keys() ?? [])]).toEqual(['/b', '/b/a']);
    }
    expect(await keys()).toEqual([]);
    const lost = await open({ namespace: '99' });
    expect((await failure(lost.ensureRoot())).code).toBe('DestinationMissing');
  });

  it('forgets unfinished uploads when it sweeps', async () => {
    let appends = 0;
    server.http.fault = (asked) => (isAppend(asked) && ++appends > 1 ? { answer: { status: 500 } } : undefined);
    await failure(box.put('packs/unfinished', { bytes: randomBytes(20 * MiB) }));
    expect(await box.sweep('packs/', 60_000)).toBe(0);
    expect(await box.sweep('other/', -1000)).toBe(0);
    expect(await box.sweep('packs/', -1000)).toBe(1);
    expect(await records()).toEqual([]);
  });

  it('uses the whole Dropbox where the path is a slash', async () => {
    const whole = await open({ path: '/' });
    await whole.ensureRoot();
    await whole.put('x/y', { bytes: Buffer.from('x') });
    const found: string[] = [];
    for await (const { key } of whole.list('')) found.push(key);
    expect(found).toEqual(['x/y']);
    await whole.close();
  });

  it('is as slow as its bandwidth says', async () => {
    const slow = await open({ bandwidth: 8 * MiB });
    const began = performance.now();
    await slow.put('a', { bytes: Buffer.alloc(6 * MiB) });
    expect(performance.now() - began).toBeGreaterThan(600);
    await slow.close();
  });
});

describe('the content hash', () => {
  it.each([0, 1, 4 * MiB, 4 * MiB + 1, 9 * MiB])('of %i bytes is what the documentation says', (size) => {
    const bytes = randomBytes(size);
    const hash = new ContentHash();
    for (let at = 0; at < size; at += 100_000) hash.update(bytes.subarray(at, at + 100_000));
    expect(hash.digest()).toBe(contentHash(bytes));
  });
});
