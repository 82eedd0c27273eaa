import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { connect, connectNative, resolveTarget } from '../../src/control/connection.js';
import { startTestTemporal, type TestTemporal } from '../support/temporal.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-connection-'));
  const file = join(folder, 'temporal.toml');
  await writeFile(
    file,
    '[profile.default]\naddress = "default:7233"\n[profile.cloud]\naddress = "cloud:7233"\nnamespace = "team"\napi_key = "key"\n',
  );
  vi.stubEnv('TEMPORAL_CONFIG_FILE', file);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

describe('where to connect', () => {
  test('the embedded server, unless one is configured, whatever the environment says', async () => {
    vi.stubEnv('TEMPORAL_ADDRESS', 'elsewhere:7233');
    const embedded = { address: '127.0.0.1:1' };
    expect(await resolveTarget(undefined, embedded)).toEqual({
      address: '127.0.0.1:1',
      namespace: 'default',
      options: {},
    });
    expect(await resolveTarget({}, embedded)).toMatchObject({ address: 'elsewhere:7233' });
    await expect(resolveTarget(undefined)).rejects.toMatchObject({ code: 'TemporalUnavailable' });
  });

  test('a profile, with what the config itself says on top', async () => {
    expect(await resolveTarget({})).toMatchObject({ address: 'default:7233', namespace: 'default' });
    expect(await resolveTarget({ profile: 'cloud' })).toEqual({
      address: 'cloud:7233',
      namespace: 'team',
      options: { apiKey: 'key', tls: true },
    });
    expect(await resolveTarget({ profile: 'cloud', namespace: 'mine', apiKey: 'other', tls: false })).toEqual({
      address: 'cloud:7233',
      namespace: 'mine',
      options: { apiKey: 'other', tls: false },
    });
    expect(await resolveTarget({ address: 'a:1' })).toEqual({ address: 'a:1', namespace: 'default', options: {} });
    await expect(resolveTarget({ profile: 'nosuch' })).rejects.toMatchObject({
      code: 'ConfigInvalid',
      key: 'temporal.profile',
    });
  });

  test('TLS from files', async () => {
    const file = async (name: string) => {
      await writeFile(join(folder, name), name);
      return join(folder, name);
    };
    const [caFile, certFile, keyFile] = await Promise.all([file('ca'), file('cert'), file('key')]);
    expect(await resolveTarget({ address: 'a:1', tls: { caFile, certFile, keyFile, serverName: 's' } })).toMatchObject({
      options: {
        tls: {
          serverNameOverride: 's',
          serverRootCACertificate: Buffer.from('ca'),
          clientCertPair: { crt: Buffer.from('cert'), key: Buffer.from('key') },
        },
      },
    });
    await expect(resolveTarget({ address: 'a:1', tls: { certFile } })).rejects.toMatchObject({ code: 'ConfigInvalid' });
    await expect(resolveTarget({ address: 'a:1', tls: { caFile: join(folder, 'nosuch') } })).rejects.toMatchObject({
      code: 'ConfigInvalid',
      key: 'temporal.tls.caFile',
    });
  });
});

describe('connecting', () => {
  let temporal: TestTemporal;
  beforeAll(async () => {
    temporal = await startTestTemporal();
  });
  afterAll(() => temporal.cleanup());

  test('a configured server is used like the embedded one, by clients and workers', async () => {
    const { address } = temporal;
    const client = await connect({ address });
    expect(await client.client.workflow.count()).toMatchObject({ count: 0 });
    await client.close();
    const native = await connectNative({ address });
    expect(native).toMatchObject({ address, namespace: 'default' });
    await native.connection.close();
  });

  test('a namespace that is not there, and a server that does not answer, are said to be', async () => {
    const { address } = temporal;
    await expect(connect({ address, namespace: 'nosuch' })).rejects.toMatchObject({
      code: 'TemporalUnavailable',
      message: expect.stringContaining('no namespace "nosuch"'),
    });
    for (const attempt of [connect, connectNative]) {
      await expect(attempt({ address: '127.0.0.1:9' })).rejects.toMatchObject({
        code: 'TemporalUnavailable',
        message: expect.stringContaining('127.0.0.1:9'),
      });
    }
  });
});
