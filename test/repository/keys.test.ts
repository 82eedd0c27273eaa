import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addSlot } from '../../src/repository/key-slots.js';
import {
  createKeyFile,
  type KeyFile,
  keyFileBytes,
  parseKeyFile,
  type ScryptSlot,
  unlock,
} from '../../src/repository/keys.js';

const refused = expect.objectContaining({ name: 'HoldfastError', code: 'IntegrityMismatch' });
const parse = (file: unknown): KeyFile => parseKeyFile(Buffer.from(JSON.stringify(file)), 'nas: a/b/holdfast.json');

describe('a key file', () => {
  test('opens with each of its passphrases and with no other', async () => {
    const { file, key } = await createKeyFile('web-1', 'site', 'correct horse');
    if (!key) throw new Error('no key');
    const two = await addSlot(file, key, 'pässwörd ✓', { label: 'safe' });
    const read = parseKeyFile(keyFileBytes(two), 'x');
    expect(read).toEqual(two);
    expect(read.revision).toBe(file.revision + 1);
    expect(Buffer.from(keyFileBytes(two)).includes(Buffer.from(key.key).toString('base64'))).toBe(false);
    for (const passphrase of ['correct horse', 'pässwörd ✓']) {
      const opened = await unlock(read, passphrase);
      expect(opened?.repository).toBe(file.repository);
      expect(Buffer.from(opened?.key ?? []).equals(Buffer.from(key.key))).toBe(true);
    }
    await expect(unlock(read, 'correct horse ')).rejects.toMatchObject({ code: 'PassphraseWrong', retryable: false });
    await expect(unlock(read, undefined)).rejects.toMatchObject({ code: 'SecretMissing' });
  });

  test('without a passphrase it says so, and needs none', async () => {
    const { file, key } = await createKeyFile('web-1', 'site', undefined);
    expect(key).toBeUndefined();
    expect(file).toMatchObject({ objects: 'none', slots: [] });
    expect(await unlock(parse(file), 'anything')).toBeUndefined();
  });

  test('a slot moved to another repository, renamed or changed does not open', async () => {
    const { file } = await createKeyFile('web-1', 'site', 'p');
    const [slot] = file.slots as [ScryptSlot];
    const changed = Buffer.from(slot.wrapped, 'base64');
    changed[0] = (changed[0] ?? 0) ^ 1;
    const wrong: KeyFile[] = [
      { ...file, repository: '0f8fad5b-d9cb-469f-a165-70867728950e' },
      { ...file, slots: [{ ...slot, id: `${slot.id}0` }] },
      { ...file, slots: [{ ...slot, wrapped: changed.toString('base64') }] },
      { ...file, slots: [{ ...slot, salt: randomBytes(16).toString('base64') }] },
      { ...file, slots: [] },
    ];
    for (const each of wrong) await expect(unlock(parse(each), 'p')).rejects.toMatchObject({ code: 'PassphraseWrong' });
  });
});

describe('parseKeyFile', () => {
  const slot: ScryptSlot = {
    id: 'a',
    type: 'scrypt',
    created: '2026-01-01T00:00:00.000Z',
    N: 1 << 16,
    r: 8,
    p: 2,
    salt: randomBytes(16).toString('base64'),
    nonce: randomBytes(12).toString('base64'),
    wrapped: randomBytes(48).toString('base64'),
  };
  const file: KeyFile = {
    format: 1,
    repository: '0f8fad5b-d9cb-469f-a165-70867728950e',
    objects: 'aes',
    created: '2026-01-01T00:00:00.000Z',
    host: 'web-1',
    job: 'site',
    revision: 1,
    slots: [slot],
    mac: randomBytes(32).toString('base64'),
  };

  test('takes a good one', () => {
    expect(parse(file)).toEqual(file);
  });

  test.each<[string, Partial<Record<keyof ScryptSlot, unknown>>]>([
    ['memory: N', { N: 1 << 24, r: 8 }],
    ['memory: N alone', { N: 2 ** 30, r: 1 }],
    ['memory: r', { N: 2, r: 1 << 22, p: 1 }],
    ['memory: r times p', { N: 2, r: 1 << 21, p: 16 }],
    ['time: p', { p: 1 << 20 }],
    ['time: all at their limits', { N: 1 << 20, r: 8, p: 16 }],
    ['N is no power of two', { N: 65535 }],
    ['N of one', { N: 1 }],
    ['N negative', { N: -65536 }],
    ['N a fraction', { N: 65536.5 }],
    ['N a string', { N: '65536' }],
    ['a short nonce', { nonce: 'AAAA' }],
    ['a short wrapped key', { wrapped: 'AAAA' }],
    ['no salt', { salt: '' }],
    ['a giant salt', { salt: 'A'.repeat(5000) }],
    ['another kind', { type: 'argon2id' }],
    ['no id', { id: undefined }],
  ])('refuses a hostile slot: %s', (_, change) => {
    expect(() => parse({ ...file, slots: [{ ...slot, ...change }] })).toThrow(refused);
  });

  test('refuses too many slots, other formats, and what is not a key file', () => {
    const wrong: unknown[] = [
      { ...file, slots: Array.from({ length: 1000 }, () => slot) },
      { ...file, slots: [null] },
      { ...file, slots: {} },
      { ...file, format: 2 },
      { ...file, objects: 'rsa' },
      { ...file, objects: 'none' },
      { ...file, revision: undefined },
      { ...file, revision: 1.5 },
      { ...file, mac: undefined },
      { ...file, repository: '../../etc' },
      null,
      [],
      'text',
    ];
    for (const value of wrong) expect(() => parse(value)).toThrow(refused);
    expect(() => parseKeyFile(Buffer.from('{'), 'x')).toThrow(refused);
  });

  test('throws nothing but IntegrityMismatch, whatever it is given', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.constantFrom('format', 'repository', 'objects', 'slots', 'host'),
        (value, name) => {
          for (const candidate of [value, { ...file, [name]: value }, { ...file, slots: [{ ...slot, N: value }] }]) {
            try {
              parse(candidate);
            } catch (error) {
              expect(error).toEqual(refused);
            }
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
