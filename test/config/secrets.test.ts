import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  isSensitive,
  redact,
  resolveSecret,
  resolveSecrets,
  SecretRegistry,
  secretless,
  secretRegistry,
  unmask,
} from '../../src/config/secrets.js';
import type { HoldfastError } from '../../src/errors.js';
import { job, load, ref, sample, tempFolder } from './helpers.js';

afterEach(() => {
  vi.unstubAllEnvs();
  secretRegistry.clear();
});

const key = 'encryption.passphrase';
const failure = async (value: string, options = {}): Promise<HoldfastError> => {
  const error = await resolveSecret(value, key, options).then(
    () => undefined,
    (caught: HoldfastError) => caught,
  );
  expect(error).toMatchObject({ name: 'HoldfastError', code: 'SecretMissing', key, retryable: false });
  if (error === undefined) throw new Error('nothing was thrown');
  return error;
};

/** A zombie that nobody has waited for yet is not alive. */
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== 'linux' || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

describe('resolveSecret', () => {
  test('env', async () => {
    vi.stubEnv('HOLDFAST_TEST', 'correct horse ');
    expect(await resolveSecret(ref('env:HOLDFAST_TEST'), key)).toBe('correct horse ');
    expect(await resolveSecret(`a-${ref('env:HOLDFAST_TEST')}-b`, key)).toBe('a-correct horse -b');
    expect(secretRegistry.redact('it is correct horse , see')).toBe('it is ***, see');
  });

  test('env that is missing or empty', async () => {
    vi.stubEnv('HOLDFAST_TEST', undefined);
    expect((await failure(ref('env:HOLDFAST_TEST'))).message).toBe(
      `${key}: ${ref('env:HOLDFAST_TEST')}: the environment variable is not set`,
    );
    vi.stubEnv('HOLDFAST_TEST', '');
    expect((await failure(ref('env:HOLDFAST_TEST'))).message).toBe(`${key}: ${ref('env:HOLDFAST_TEST')} is empty`);
  });

  test('file, its last newline left out', async () => {
    const path = join(tempFolder(), 'secret');
    writeFileSync(path, ' two words \r\n');
    expect(await resolveSecret(ref(`file:${path}`), key)).toBe(' two words ');
    writeFileSync(path, '\n');
    expect((await failure(ref(`file:${path}`))).message).toContain('is empty');
  });

  test('file that is missing, a folder, too large', async () => {
    const folder = tempFolder();
    expect((await failure(ref(`file:${folder}/none`))).message).toContain('the file does not exist');
    expect((await failure(ref(`file:${folder}`))).message).toContain('EISDIR');
    writeFileSync(join(folder, 'large'), Buffer.alloc(1024 * 1024 + 1, 'x'));
    expect((await failure(ref(`file:${folder}/large`))).message).toContain('larger than 1 MiB');
  });

  test('credential', async () => {
    const folder = tempFolder();
    writeFileSync(join(folder, 'holdfast'), 'from systemd\n');
    vi.stubEnv('CREDENTIALS_DIRECTORY', folder);
    expect(await resolveSecret(ref('credential:holdfast'), key)).toBe('from systemd');
    expect((await failure(ref('credential:other'))).message).toContain('does not exist');
    vi.stubEnv('CREDENTIALS_DIRECTORY', undefined);
    expect((await failure(ref('credential:holdfast'))).message).toContain('no $CREDENTIALS_DIRECTORY');
  });

  test('command', async () => {
    expect(await resolveSecret(ref(`command:printf '%s\\n' "a b" | tr a-z A-Z`), key)).toBe('A B');
    expect(await resolveSecret(ref(`command:x=y; echo ${ref('x')}z`), key)).toBe('yz');
  });

  test('command that fails: neither its output nor its errors are told', async () => {
    const error = await failure(ref('command:echo s3cret-out; echo s3cret-err >&2; exit 3'));
    expect(error.message).toContain('ended with exit code 3');
    expect(error.message.replace(ref('command:echo s3cret-out; echo s3cret-err >&2; exit 3'), '')).not.toContain(
      's3cret',
    );
    expect((await failure(ref('command:true'))).message).toContain('is empty');
    expect((await failure(ref('command:kill -9 $$'))).message).toContain('was killed by SIGKILL');
    expect((await failure(ref('command:yes'))).message).toContain('more than 1 MiB');
  });

  test('command that hangs is killed with all it started', async () => {
    const file = join(tempFolder(), 'pid');
    const error = await failure(ref(`command:sleep 600 & echo $! > ${file}; wait`), { timeoutMs: 500 });
    expect(error.message).toContain('did not end within 0.5 s');
    const pid = Number(readFileSync(file, 'utf8'));
    expect(pid).toBeGreaterThan(1);
    await vi.waitFor(() => expect(alive(pid)).toBe(false), { timeout: 10_000 });
  });

  test('command that is cancelled', async () => {
    const error = await failure(ref('command:sleep 60'), { signal: AbortSignal.timeout(50) });
    expect(error.message).toContain('was cancelled');
    expect((await failure(ref('command:sleep 60'), { signal: AbortSignal.abort() })).message).toContain(
      'was cancelled',
    );
  });

  test('a literal is itself, and remembered where it is secret', async () => {
    expect(await resolveSecret('correct horse', key)).toBe('correct horse');
    expect(await resolveSecret('eu-central-1', 'destinations.s3.region')).toBe('eu-central-1');
    expect(secretRegistry.redact('correct horse eu-central-1')).toBe('*** eu-central-1');
    expect(await resolveSecret(`$${ref('env:X')}`, key)).toBe(ref('env:X'));
  });

  test('a mask never passes for a secret', async () => {
    await failure('***');
    vi.stubEnv('HOLDFAST_TEST', 'xxxx');
    await failure(`***${ref('env:HOLDFAST_TEST')}`);
  });
});

test('resolveSecrets takes a whole part', async () => {
  vi.stubEnv('HOLDFAST_TEST', 'hooks.example');
  const hook = {
    type: 'webhook',
    url: `https://${ref('env:HOLDFAST_TEST')}/x`,
    on: ['failure'],
    headers: { Authorization: 'Bearer abcdef' },
  };
  expect(await resolveSecrets(hook, 'notify.hook')).toEqual({
    type: 'webhook',
    url: 'https://hooks.example/x',
    on: ['failure'],
    headers: { Authorization: 'Bearer abcdef' },
  });
  expect(hook.url).toContain('env:');
  expect(secretRegistry.redact('POST https://hooks.example/x with Bearer abcdef for webhook failure')).toBe(
    'POST *** with *** for webhook failure',
  );
  await expect(resolveSecrets({ a: { secret: ref('env:HOLDFAST_NOT_SET') } }, 'notify.b')).rejects.toMatchObject({
    key: 'notify.b.a.secret',
  });
});

describe('redact', () => {
  test('by value, everywhere, longest and overlapping too', () => {
    expect(redact('abcd and abcd', ['abcd'])).toBe('*** and ***');
    expect(redact('abcdef', ['abcd', 'cdef'])).toBe('***');
    expect(redact('abcdef', ['abcd', 'abcdef'])).toBe('***');
    expect(redact('nothing', ['', 'x'])).toBe('nothing');
  });

  test('the user and password of URLs', () => {
    expect(redact('postgres://u:p@h/db and https://h/a@b', [])).toBe('postgres://***@h/db and https://h/a@b');
    expect(redact('smtps://u:p@ss@h', [])).toBe('smtps://***@h');
    expect(redact('(see "https://token@h/")', [])).toBe('(see "https://***@h/")');
    expect(redact('mail a@b', [])).toBe('mail a@b');
  });

  test('no secret is left', () => {
    const secret = fc.string({ minLength: 4 }).filter((text) => !text.includes('*'));
    fc.assert(
      fc.property(fc.array(secret, { minLength: 1 }), fc.array(fc.string()), (secrets, rest) => {
        const text = secrets.flatMap((value, at) => [value, rest[at] ?? '']).join('');
        const redacted = redact(text, secrets);
        return secrets.every((value) => !redacted.includes(value));
      }),
    );
  });

  test('does not hang on long text', () => {
    const started = performance.now();
    redact('a'.repeat(1_000_000), ['b']);
    redact('://'.repeat(300_000), ['b']);
    redact('http://'.repeat(100_000), ['b']);
    redact(`http://${'x'.repeat(1_000_000)}`, ['b']);
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

describe('SecretRegistry', () => {
  test('knows the forms a secret turns up in', () => {
    const registry = new SecretRegistry();
    registry.add('p"ss w/rd');
    registry.add('https://u:p%40ssword@h.example/services/T00/B00');
    expect(registry.redact('{"k":"p\\"ss w/rd"}')).toBe('{"k":"***"}');
    expect(registry.redact('?k=p%22ss%20w%2Frd')).toBe('?k=***');
    expect(registry.redact('POST /services/T00/B00 failed; password p@ssword')).toBe('POST *** failed; password ***');
  });

  test('ignores what is too short to be one', () => {
    const registry = new SecretRegistry();
    for (const text of ['', 'abc', '****']) registry.add(text);
    expect([...registry.values()]).toEqual([]);
  });

  test('takes lone surrogates', () => {
    const registry = new SecretRegistry();
    registry.add('ab\ud800cd');
    expect(registry.redact('x ab\ud800cd')).toBe('x ***');
  });
});

describe('secretless', () => {
  const data = sample({
    encryption: { passphrase: 'correct horse' },
    destinations: {
      nas: { type: 's3', bucket: 'b', accessKeyId: ref('env:A'), secretAccessKey: 'literal' },
    },
    notify: {
      hook: { type: 'webhook', url: `https://user:pass@h/${ref('env:TOKEN')}`, headers: { Authorization: 'Bearer x' } },
    },
    jobs: { site: job({ notify: ['hook'] }) },
  });

  test('masks literals, keeps references, leaves the config alone', () => {
    const { config } = load(data);
    const masked = secretless(config);
    expect(masked.encryption?.passphrase).toBe('***');
    expect(masked.destinations.nas).toMatchObject({ accessKeyId: ref('env:A'), secretAccessKey: '***', bucket: 'b' });
    expect(masked.notify.hook).toMatchObject({ url: `***${ref('env:TOKEN')}`, headers: { Authorization: '***' } });
    expect(config.encryption?.passphrase).toBe('correct horse');
    expect(secretless(masked)).toEqual(masked);
  });

  test('unmask puts back what the live config says', () => {
    const { config } = load(data);
    expect(unmask(secretless(config), config)).toEqual(config);
    const other = load({ ...data, encryption: undefined, host: 'web-2' }).config;
    expect(unmask(secretless(config), other)).toMatchObject({ host: 'web-1', encryption: { passphrase: '***' } });
  });
});

test('sensitive keys', () => {
  expect(isSensitive(['encryption', 'passphrase'])).toBe(true);
  expect(isSensitive(['notify', 'x', 'headers', 'X-Any'])).toBe(true);
  expect(isSensitive(['destinations', 'passphrase', 'bucket'])).toBe(false);
});

describe('an ntfy topic', () => {
  const seen = async (topic: string): Promise<string> => {
    secretRegistry.clear();
    secretRegistry.openNames = ['web-1', 'site', 'nas', 'phone'];
    await resolveSecrets({ type: 'ntfy', topic }, 'notify.phone');
    return secretRegistry.redact(`[${topic}]`);
  };

  test('of everyday words, or of names in the config, is left in messages', async () => {
    for (const topic of ['backups', 'Backup_Alerts', 'web-1', 'web-1_backups', 'site', 'phone', 'server2', 'ops-2026'])
      expect(await seen(topic)).toBe(`[${topic}]`);
  });

  test('that nobody would try is taken out', async () => {
    const random = [
      'k8Zq2vX7',
      'backups-k8Zq',
      'kqzjxwvb',
      '84726391',
      'correct-horse-battery',
      'xbackups',
      'websitex',
    ];
    for (const topic of random) expect(await seen(topic)).toBe('[***]');
    expect(await seen('backups-2026-2027')).toBe('[***]');
  });

  test('that is also a password is taken out', async () => {
    await seen('backups');
    await resolveSecrets({ type: 'ftp', password: 'backups' }, 'destinations.nas');
    expect(secretRegistry.redact('backups')).toBe('***');
  });
});
