import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GoogleDriveDestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { TokenFile } from '../../src/destinations/tokens.js';
import { compileSource } from '../support/compile.js';
import type { Asked } from '../support/fake-http.js';
import { DriveServer, driveProblem } from '../support/gdrive-server.js';
import { putInChild } from '../support/put-in-child.js';
import { conformance, drain, failure, type Subject, sha256 } from './conformance.js';

const MiB = 1024 * 1024;

async function logIn(server: DriveServer, state: string, name = 'drive'): Promise<void> {
  await new TokenFile(state, name).write({ refreshToken: server.oauth.login() });
}

function configFor(
  server: DriveServer,
  more: Partial<GoogleDriveDestinationConfig> = {},
): GoogleDriveDestinationConfig {
  return { type: 'gdrive', credentials: server.clientJson(), endpoint: server.endpoint, ...more };
}

async function setUp(): Promise<Subject> {
  const server = await DriveServer.start();
  const state = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
  await logIn(server, state);
  const open = (more?: Partial<GoogleDriveDestinationConfig>): Promise<Destination> =>
    openDestination('drive', configFor(server, more), { state });
  const rootId = (): string => [...server.files.values()].find(({ name }) => name === 'Holdfast')?.id ?? '';
  return {
    open: () => open(),
    async seed(keys, bytes) {
      server.seed(rootId(), keys, bytes);
    },
    async leftovers() {
      const unfinished = [...server.sessions.values()].filter(({ file }) => file === undefined).length;
      return unfinished + server.paths(rootId()).filter((path) => path.includes('.tmp-')).length;
    },
    away: () => server.http.stop(),
    back: () => server.http.start(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const other = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
      const refreshToken = server.oauth.login();
      await new TokenFile(other, 'drive').write({ refreshToken });
      const clientSecret = 'not-the-right-secret-at-all';
      const config = configFor(server, { credentials: server.clientJson({ client_secret: clientSecret }) });
      const destination = await openDestination('drive', config, { state: other });
      return {
        destination,
        secrets: [clientSecret, refreshToken],
        async done() {
          await destination.close();
          await rm(other, { recursive: true });
        },
      };
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
      const small = await DriveServer.start();
      small.quota = 8 * MiB;
      const folder = small.add({ name: 'small' });
      const other = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
      await logIn(small, other);
      const destination = await openDestination('drive', configFor(small, { folderId: folder.id }), { state: other });
      return {
        destination,
        codes: ['DestinationFull'],
        async done() {
          await destination.close();
          await small.stop();
          await rm(other, { recursive: true });
        },
      };
    },
    async readCutShort(key) {
      server.http.fault = ({ method, url }) =>
        method === 'GET' && url.searchParams.get('alt') === 'media' ? { cutAnswerAfter: 5 * MiB } : undefined;
      const destination = await open();
      const stream = await destination.get(key);
      await once(stream, 'readable');
      server.http.fault = () => undefined;
      return stream;
    },
    async stop() {
      await server.stop();
      await rm(state, { recursive: true });
    },
  };
}

conformance('a Google Drive', setUp);

describe('a Google Drive destination', () => {
  let server: DriveServer;
  let state: string;
  let drive: Destination;
  let root: string;

  beforeEach(async () => {
    server = await DriveServer.start();
    state = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
    await logIn(server, state);
    drive = await open();
    await drive.ensureRoot();
    root = [...server.files.values()].find(({ name }) => name === 'Holdfast')?.id ?? '';
  });

  afterEach(async () => {
    await drive.close();
    await server.stop();
    await rm(state, { recursive: true });
  });

  function open(more?: Partial<GoogleDriveDestinationConfig>): Promise<Destination> {
    return openDestination('drive', configFor(server, more), { state });
  }

  const isChunk = ({ method, headers }: Asked): boolean => method === 'PUT' && Number(headers['content-length']) > 0;
  const records = async (): Promise<string[]> => readdir(join(state, 'uploads', 'drive')).catch(() => []);
  const keys = async (prefix = ''): Promise<string[]> => {
    const found: string[] = [];
    for await (const { key } of drive.list(prefix)) found.push(key);
    return found.sort();
  };

  it('goes on inside a large object after kill -9', async () => {
    const bytes = randomBytes(40 * MiB);
    const file = join(state, 'object');
    await writeFile(file, bytes);
    const compiled = compileSource(['errors.ts', 'destinations']);
    try {
      const killed = new Promise<void>((resolve) => {
        let chunks = 0;
        server.http.fault = (asked) => {
          if (isChunk(asked) && ++chunks === 4) {
            child.kill('SIGKILL');
            resolve();
          }
          return undefined;
        };
      });
      const put = { name: 'drive', config: configFor(server), state, key: 'packs/large', file };
      const child = putInChild(compiled.dist, put);
      const ended = once(child, 'exit');
      await killed;
      await ended;
      server.http.fault = () => undefined;
      expect(server.paths(root)).toEqual([]);
      const [record] = await records();
      expect((await stat(join(state, 'uploads', 'drive', record ?? ''))).mode & 0o777).toBe(0o600);
      const before = server.uploaded;
      expect(before).toBeGreaterThanOrEqual(24 * MiB);
      let progress = 0;
      await drive.put('packs/large', { file }, { sha256: sha256(bytes), onProgress: (n) => (progress += n) });
      expect(progress).toBe(bytes.length);
      // No more than a chunk twice.
      expect(server.uploaded).toBeLessThanOrEqual(bytes.length + 8 * MiB);
      expect(server.uploaded - before).toBeLessThan(17 * MiB);
      expect((await drain(await drive.get('packs/large'))).equals(bytes)).toBe(true);
      expect(server.sessions.size).toBe(1);
      expect(await records()).toEqual([]);
    } finally {
      compiled.remove();
    }
  });

  it('goes on from where the service is when the line breaks in the middle of a chunk', async () => {
    const bytes = randomBytes(20 * MiB);
    let chunks = 0;
    server.http.fault = (asked) => (isChunk(asked) && ++chunks === 2 ? { cutRequestAfter: 3 * MiB + 17 } : undefined);
    let progress = 0;
    await drive.put('packs/cut', { bytes }, { onProgress: (n) => (progress += n) });
    expect(progress).toBe(bytes.length);
    expect(server.uploaded).toBeLessThan(bytes.length + 256 * 1024);
    expect((await drain(await drive.get('packs/cut'))).equals(bytes)).toBe(true);
  });

  it('keeps an upload that could not go on for the next attempt, also when all but the name was done', async () => {
    const bytes = randomBytes(20 * MiB);
    let chunks = 0;
    server.http.fault = (asked) => (isChunk(asked) && ++chunks > 1 ? { answer: { status: 500 } } : undefined);
    expect((await failure(drive.put('packs/a', { bytes }))).code).toBe('DestinationFailed');
    const first = server.uploaded;
    expect(first).toBe(8 * MiB);
    server.http.fault = ({ method }) => (method === 'PATCH' ? { answer: { status: 503 } } : undefined);
    expect((await failure(drive.put('packs/a', { bytes }))).retryable).toBe(true);
    expect(await keys()).toEqual([]);
    server.http.fault = () => undefined;
    await drive.put('packs/a', { bytes });
    expect(server.uploaded).toBe(bytes.length);
    expect(server.paths(root)).toEqual(['packs/a']);
    expect(await records()).toEqual([]);
  });

  it('begins anew when the service has forgotten the session', async () => {
    const bytes = randomBytes(20 * MiB);
    let chunks = 0;
    server.http.fault = (asked) => {
      if (isChunk(asked) && ++chunks === 2) server.sessions.clear();
      return undefined;
    };
    await drive.put('packs/a', { bytes });
    expect((await drain(await drive.get('packs/a'))).equals(bytes)).toBe(true);
  });

  it('gets a new token when the one in use expires in the middle of an upload', async () => {
    const bytes = randomBytes(20 * MiB);
    let chunks = 0;
    server.http.fault = (asked) => {
      if (isChunk(asked) && ++chunks === 2) server.oauth.expireAccessTokens();
      return undefined;
    };
    await drive.put('packs/a', { bytes });
    expect(server.oauth.granted).toEqual(['refresh_token', 'refresh_token']);
    expect((await drain(await drive.get('packs/a'))).equals(bytes)).toBe(true);
  });

  it('keeps refresh tokens that rotate, for every process', async () => {
    server.oauth.rotate = true;
    const other = await open();
    for (let round = 0; round < 3; round++) {
      server.oauth.expireAccessTokens();
      await Promise.all([drive.stat('a'), other.stat('b'), drive.stat('c')]);
    }
    expect(server.oauth.loggedIn).toHaveLength(1);
    const file = new TokenFile(state, 'drive');
    expect((await file.read())?.refreshToken).toBe(server.oauth.loggedIn[0]);
    expect((await stat(file.path)).mode & 0o777).toBe(0o600);
    expect((await stat(dirname(file.path))).mode & 0o777).toBe(0o700);
    await other.close();
  });

  it('says that the login has expired for good, and goes on after the next one', async () => {
    const bytes = randomBytes(20 * MiB);
    let chunks = 0;
    server.http.fault = (asked) => {
      if (isChunk(asked) && ++chunks === 2) server.oauth.revokeLogins();
      return undefined;
    };
    const error = await failure(drive.put('packs/a', { bytes }));
    expect(error).toMatchObject({ code: 'AuthExpired', hint: 'Run `holdfast login drive`.' });
    expect((await failure(drive.stat('packs/a'))).code).toBe('AuthExpired');
    await logIn(server, state);
    await drive.put('packs/a', { bytes });
    expect(server.uploaded).toBeLessThanOrEqual(bytes.length + 8 * MiB);
    expect((await drain(await drive.get('packs/a'))).equals(bytes)).toBe(true);
  });

  it('says when nobody has logged in', async () => {
    const other = await openDestination('other', configFor(server), { state });
    expect(await failure(other.stat('a'))).toMatchObject({ code: 'AuthExpired', hint: 'Run `holdfast login other`.' });
  });

  it('waits as long as it is told to, and hands a long wait on', async () => {
    await drive.put('a', { bytes: Buffer.from('x') });
    const busy = driveProblem(403, 'userRateLimitExceeded', 'User Rate Limit Exceeded');
    let refused = 0;
    const times: number[] = [];
    server.http.fault = () => {
      times.push(Date.now());
      return refused++ === 0 ? { answer: { status: 403, body: busy, headers: { 'retry-after': '1' } } } : undefined;
    };
    expect((await drive.stat('a'))?.size).toBe(1);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(990);
    let asked = 0;
    server.http.fault = () => {
      asked += 1;
      return { answer: { status: 429, headers: { 'retry-after': '120' } } };
    };
    expect(await failure(drive.stat('a'))).toMatchObject({ code: 'Throttled', retryAfterMs: 120_000, retryable: true });
    expect(asked).toBe(1);
  });

  it.each([
    [403, 'rateLimitExceeded', 'Throttled', true],
    [403, 'storageQuotaExceeded', 'DestinationFull', true],
    [403, 'insufficientFilePermissions', 'DestinationReadOnly', true],
    [403, 'accessNotConfigured', 'AuthDenied', false],
    [403, 'somethingNew', 'AuthDenied', false],
    [500, 'internalError', 'DestinationFailed', true],
    [400, 'invalid', 'DestinationFailed', false],
  ] as const)('understands %i %s as %s', async (status, reason, code, retryable) => {
    server.http.fault = ({ method }) =>
      method === 'POST' ? { answer: { status, body: driveProblem(status, reason, 'told so') } } : undefined;
    const error = await failure(drive.put('any', { bytes: Buffer.from('x') }));
    expect(error).toMatchObject({ code, retryable });
    expect(error.message).toContain('told so');
    expect(error.message).toContain('drive');
  });

  it('takes the newest of several files of one name, and puts away the others', async () => {
    server.seed(root, ['packs/double'], Buffer.from('older'));
    const folder = [...server.files.values()].find(({ name }) => name === 'packs')?.id ?? '';
    server.add({ name: 'double', parents: [folder] }, Buffer.from('the newest'));
    expect((await drive.read('packs/double', { maxBytes: 100 })).toString()).toBe('the newest');
    expect(await keys()).toEqual(['packs/double']);
    expect(await drive.sweep('', 60_000)).toBe(0);
    expect(await drive.sweep('', -1000)).toBe(1);
    expect((await drive.read('packs/double', { maxBytes: 100 })).toString()).toBe('the newest');
    server.add({ name: 'double', parents: [folder] }, Buffer.from('another'));
    await drive.put('packs/double', { bytes: Buffer.from('put') });
    expect(server.paths(root)).toEqual(['packs/double']);
    server.add({ name: 'double', parents: [folder] }, Buffer.from('another'));
    await drive.delete('packs/double');
    expect(server.paths(root)).toEqual([]);
  });

  it('reads every folder of one name', async () => {
    server.seed(root, ['packs/a'], Buffer.from('a'));
    server.seed(root, ['packs/b'], Buffer.from('b'));
    expect(await keys('packs/')).toEqual(['packs/a', 'packs/b']);
    expect((await drive.read('packs/b', { maxBytes: 1 })).toString()).toBe('b');
    await drive.put('packs/c', { bytes: Buffer.from('c') });
    expect([...server.files.values()].filter(({ name }) => name === 'packs')).toHaveLength(2);
  });

  it('makes one folder for many who need it at once', async () => {
    const works = Array.from({ length: 6 }, (_, n) => drive.put(`x/y/z/${n}`, { bytes: Buffer.from('x') }));
    await Promise.all(works);
    for (const name of ['x', 'y', 'z'])
      expect([...server.files.values()].filter((file) => file.name === name)).toHaveLength(1);
  });

  it('finds folders again that were deleted or put in the trash', async () => {
    await drive.put('packs/ab/1', { bytes: Buffer.from('x') });
    const packs = [...server.files.values()].find(({ name }) => name === 'packs');
    server.drop(packs?.id ?? '');
    await drive.put('packs/ab/2', { bytes: Buffer.from('x') });
    expect(await keys()).toEqual(['packs/ab/2']);
    const again = [...server.files.values()].find(({ name }) => name === 'packs');
    if (again !== undefined) again.trashed = true;
    expect(await drive.stat('packs/ab/2')).toBeUndefined();
    await drive.put('packs/ab/3', { bytes: Buffer.from('x') });
    expect(await keys()).toEqual(['packs/ab/3']);
  });

  it('misses its folder when it is gone, and never makes it again by itself', async () => {
    await drive.put('a', { bytes: Buffer.from('x') });
    server.drop(root);
    for (const work of [
      () => drive.put('b', { bytes: Buffer.from('x') }),
      () => drive.stat('a'),
      () => drive.get('a'),
      () => drive.delete('a'),
      () => keys(),
    ]) {
      expect((await failure(work())).code).toBe('DestinationMissing');
    }
  });

  it('notices bytes that were spoiled on the way', async () => {
    server.corrupt = true;
    for (const size of [1000, 6 * MiB]) {
      const error = await failure(drive.put('packs/a', { bytes: randomBytes(size) }));
      expect(error).toMatchObject({ code: 'IntegrityMismatch', retryable: true });
    }
    expect(server.paths(root)).toEqual([]);
  });

  it('stores once when answers get lost', async () => {
    for (const [method, size] of [
      ['POST', 1000],
      ['PATCH', 1000],
      ['PUT', 6 * MiB],
    ] as const) {
      let lost = 0;
      server.http.fault = (asked) => (asked.method === method && lost++ === 0 ? { cutAnswerAfter: 0 } : undefined);
      const bytes = randomBytes(size);
      await drive.put(`lost/${method}`, { bytes }, { exclusive: true });
      expect(lost).toBeGreaterThan(0);
      expect((await drain(await drive.get(`lost/${method}`))).equals(bytes)).toBe(true);
    }
    expect(server.paths(root)).toEqual(['lost/PATCH', 'lost/POST', 'lost/PUT']);
  });

  it('sweeps what crashes left behind', async () => {
    server.seed(root, ['packs/.tmp-left', 'packs/kept', 'other/.tmp-left'], Buffer.from('x'));
    let chunks = 0;
    server.http.fault = (asked) => (isChunk(asked) && ++chunks > 1 ? { answer: { status: 500 } } : undefined);
    await failure(drive.put('packs/unfinished', { bytes: randomBytes(20 * MiB) }));
    server.http.fault = () => undefined;
    expect(server.sessions.size).toBe(1);
    expect(await drive.sweep('packs/', 60_000)).toBe(0);
    expect(await drive.sweep('packs/', -1000)).toBe(2);
    expect(server.sessions.size).toBe(0);
    expect(await records()).toEqual([]);
    expect(server.paths(root)).toEqual(['other/.tmp-left', 'packs/kept']);
  });

  it('follows a listing over many pages', async () => {
    server.pageSize = 7;
    const seeded = Array.from({ length: 50 }, (_, n) => `packs/${n % 3}/${n}`).sort();
    server.seed(root, seeded, Buffer.from('x'));
    expect(await keys()).toEqual(seeded);
  });

  it('works with a service account on a shared drive, and trashes what it may not delete', async () => {
    server.sharedDrive = server.add({ id: 'shared', name: 'shared', parents: [], foreign: true }).id;
    const shared = await open({ credentials: server.serviceJson(), driveId: 'shared' });
    await shared.ensureRoot();
    const bytes = randomBytes(6 * MiB);
    await shared.put('packs/a', { bytes });
    expect((await drain(await shared.get('packs/a'))).equals(bytes)).toBe(true);
    await shared.delete('packs/a');
    expect(await shared.stat('packs/a')).toBeUndefined();
    expect([...server.files.values()].find(({ name }) => name === 'a')?.trashed).toBe(true);
    expect(await shared.space()).toBeUndefined();
    expect(server.oauth.granted.at(-1)).toContain('jwt-bearer');
    const wrong = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    const privateKey = wrong.export({ type: 'pkcs8', format: 'pem' });
    const denied = await open({ credentials: server.serviceJson({ private_key: privateKey }), driveId: 'shared' });
    expect((await failure(denied.stat('a'))).code).toBe('AuthDenied');
  });

  it('puts in the trash what it deletes where that is wanted', async () => {
    const careful = await open({ trash: true });
    await careful.put('a', { bytes: Buffer.from('x') });
    await careful.delete('a');
    expect(await careful.stat('a')).toBeUndefined();
    expect([...server.files.values()].find(({ name }) => name === 'a')?.trashed).toBe(true);
  });

  it('says why a folder that somebody else made is not there', async () => {
    const foreign = server.add({ name: 'backups', foreign: true });
    const blind = await open({ folderId: foreign.id });
    const error = await failure(blind.ensureRoot());
    expect(error).toMatchObject({ code: 'DestinationMissing' });
    expect(error.hint).toContain('scope: drive');
    await new TokenFile(state, 'wide').write({
      refreshToken: server.oauth.login('https://www.googleapis.com/auth/drive'),
    });
    const wide = await openDestination('wide', configFor(server, { folderId: foreign.id }), { state });
    await wide.ensureRoot();
    await wide.put('a', { bytes: Buffer.from('x') });
    expect(server.paths(foreign.id)).toEqual(['a']);
  });

  it('is not told to send an upload and its token elsewhere', async () => {
    server.http.fault = ({ url }) =>
      url.searchParams.get('uploadType') === 'resumable'
        ? { answer: { status: 200, headers: { location: 'http://127.0.0.1:9/upload?upload_id=x' } } }
        : undefined;
    const error = await failure(drive.put('a', { bytes: Buffer.alloc(6 * MiB) }));
    expect(error.message).toContain('another server');
  });

  it.each([
    ['nonsense', 'not JSON'],
    ['{}', 'neither'],
    ['{"type":"service_account","client_email":"a"}', 'lack'],
    ['{"type":"service_account","client_email":"a","private_key":"secret-key"}', 'not a PEM key'],
    ['{"installed":{"client_id":"a","token_uri":"http://example.com/token"}}', 'not https'],
  ])('refuses the credentials %j', async (credentials, words) => {
    const error = await failure(open({ credentials }));
    expect(error.code).toBe('ConfigInvalid');
    expect(error.message).toContain(words);
    expect(error.message).not.toContain('secret-key');
  });

  it('is as slow as its bandwidth says', async () => {
    const slow = await open({ bandwidth: 8 * MiB });
    const began = performance.now();
    await slow.put('a', { bytes: Buffer.alloc(6 * MiB) });
    expect(performance.now() - began).toBeGreaterThan(600);
  });
});
