import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  AlgorithmSuiteIdentifier,
  buildClient,
  CommitmentPolicy,
  MultiKeyringNode,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} from '@aws-crypto/client-node';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contextOf, openBytes, type RepositoryKey, sealBytes, sealPack } from '../../src/repository/seal.js';

const repository = '0f8fad5b-d9cb-469f-a165-70867728950e';
const other = '7c9e6679-7425-40de-944b-e07fc1f90ae7';
const bytes = new Uint8Array(randomBytes(32));
const key: RepositoryKey = { repository, key: bytes };
const name = 'index/00112233445566aa.ndjson';
const plain = Buffer.from('{"pack":"…"}\n'.repeat(50));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-seal-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const refused = { name: 'HoldfastError', code: 'IntegrityMismatch' };

describe('what was sealed', () => {
  test('opens as what it was written as', async () => {
    const sealed = await sealBytes(key, 'index', name, plain);
    expect(sealed.includes(plain.subarray(0, 20))).toBe(false);
    expect(await openBytes(key, 'index', name, sealed)).toEqual(plain);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (data) => {
        const round = await openBytes(key, 'snapshot', 's', await sealBytes(key, 'snapshot', 's', data));
        expect(round).toEqual(Buffer.from(data));
      }),
      { numRuns: 15 },
    );
  });

  test('of several frames, and of exactly one', async () => {
    for (const length of [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_300_000]) {
      const data = randomBytes(length);
      const opened = await openBytes(key, 'pack', 'p', await sealBytes(key, 'pack', 'p', data));
      expect(opened.equals(data)).toBe(true);
    }
  });

  test('is refused under another name, kind, repository or key', async () => {
    const sealed = await sealBytes(key, 'index', name, plain);
    const attempts: (() => Promise<Buffer>)[] = [
      () => openBytes(key, 'index', 'index/00112233445566ab.ndjson', sealed),
      () => openBytes(key, 'snapshot', name, sealed),
      () => openBytes(key, 'pack', name, sealed),
      () => openBytes({ repository: other, key: bytes }, 'index', name, sealed),
      () => openBytes({ repository, key: new Uint8Array(randomBytes(32)) }, 'index', name, sealed),
    ];
    for (const attempt of attempts) await expect(attempt()).rejects.toMatchObject(refused);
    await expect(openBytes(key, 'index', 'index/x.ndjson', sealed)).rejects.toThrow(/index\/x\.ndjson/);
  });

  test("a pack is bound to its repository and kind; its name is its own hash's matter", async () => {
    const sealed = await sealBytes(key, 'pack', 'packs/aa/aa', plain);
    expect(await openBytes(key, 'pack', 'packs/bb/bb', sealed)).toEqual(plain);
    await expect(openBytes(key, 'index', 'packs/aa/aa', sealed)).rejects.toMatchObject(refused);
  });
});

describe('damage', () => {
  test('cut short anywhere or with any bit flipped: refused', async () => {
    const sealed = await sealBytes(key, 'index', name, plain);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: sealed.length - 1 }), async (length) => {
        await expect(openBytes(key, 'index', name, sealed.subarray(0, length))).rejects.toMatchObject(refused);
      }),
      { numRuns: 40 },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: sealed.length * 8 - 1 }), async (bit) => {
        const damaged = Buffer.from(sealed);
        damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        await expect(openBytes(key, 'index', name, damaged)).rejects.toMatchObject(refused);
      }),
      { numRuns: 60 },
    );
  });

  test('bytes behind the end add nothing', async () => {
    const sealed = await sealBytes(key, 'index', name, plain);
    for (const more of [Buffer.from('x'), sealed]) {
      const opened = await openBytes(key, 'index', name, Buffer.concat([sealed, more])).catch((error: unknown) => {
        expect(error).toMatchObject(refused);
        return plain;
      });
      expect(opened).toEqual(plain);
    }
  });

  test('arbitrary bytes: refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (data) => {
        await expect(openBytes(key, 'index', name, data)).rejects.toMatchObject(refused);
      }),
      { numRuns: 40 },
    );
  });

  test('cut at a frame, where every byte that is there is authentic: refused', async () => {
    const data = randomBytes(3 << 20);
    const sealed = await sealBytes(key, 'pack', 'p', data);
    for (const frames of [1, 2]) {
      // Header and whole frames: 4 bytes number, 12 IV, the content, 16 tag.
      const cut = sealed.length - (data.length % (1 << 20)) - (3 - frames) * ((1 << 20) + 32);
      await expect(openBytes(key, 'pack', 'p', sealed.subarray(0, cut))).rejects.toMatchObject(refused);
    }
  });
});

describe('messages others could have made', () => {
  const keyring = (keyName: string, secret: Uint8Array): RawAesKeyringNode =>
    new RawAesKeyringNode({
      keyName,
      keyNamespace: 'holdfast',
      unencryptedMasterKey: new Uint8Array(secret),
      wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
    });
  const encrypt = async (
    ring: RawAesKeyringNode | MultiKeyringNode,
    context: Record<string, string>,
    options: {
      suiteId?: AlgorithmSuiteIdentifier;
      frameLength?: number;
      policy?: CommitmentPolicy;
      data?: Buffer;
    } = {},
  ): Promise<Buffer> => {
    const client = buildClient(options.policy ?? CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
    const parts: Buffer[] = [];
    const stream = client.encryptStream(ring, {
      suiteId: options.suiteId ?? AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
      encryptionContext: context,
      frameLength: options.frameLength ?? 1 << 20,
    });
    await pipeline(Readable.from([options.data ?? plain]), stream as NodeJS.ReadWriteStream, async (source) => {
      for await (const part of source as AsyncIterable<Buffer>) parts.push(part);
    });
    return Buffer.concat(parts);
  };
  const context = contextOf(repository, 'index', name);

  test('the standard writer makes what we read', async () => {
    expect(await openBytes(key, 'index', name, await encrypt(keyring(repository, bytes), context))).toEqual(plain);
  });

  test('a second data key is refused', async () => {
    const two = new MultiKeyringNode({
      generator: keyring(repository, bytes),
      children: [keyring(repository, randomBytes(32))],
    });
    await expect(openBytes(key, 'index', name, await encrypt(two, context))).rejects.toMatchObject(refused);
  });

  test('a context with more or fewer pairs is refused', async () => {
    const ring = keyring(repository, bytes);
    const { path: _, ...fewer } = context;
    for (const wrong of [{ ...context, more: 'x' }, fewer, { ...context, format: 'holdfast-2' }, {}]) {
      const sealed = await encrypt(ring, wrong);
      await expect(openBytes(key, 'index', name, sealed)).rejects.toMatchObject(refused);
    }
  });

  test('a suite without key commitment is refused', async () => {
    const sealed = await encrypt(keyring(repository, bytes), context, {
      suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA256,
      policy: CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT,
    });
    await expect(openBytes(key, 'index', name, sealed)).rejects.toMatchObject(refused);
  });

  test('frames larger than ours are refused before they take memory', async () => {
    const sealed = await encrypt(keyring(repository, bytes), context, {
      frameLength: 1 << 22,
      data: randomBytes(1 << 22),
    });
    await expect(openBytes(key, 'index', name, sealed)).rejects.toMatchObject(refused);
  });
});

describe('sealPack', () => {
  test('its name is the hash of the stored bytes, which open to the source; the file is private', async () => {
    const source = path.join(folder, 'plain');
    const target = path.join(folder, 'sealed');
    const data = randomBytes(2_500_000);
    writeFileSync(source, data);
    const answer = await sealPack(key, source, target);
    const stored = readFileSync(target);
    expect(answer).toEqual({ sha256: createHash('sha256').update(stored).digest('hex'), bytes: stored.length });
    expect((await openBytes(key, 'pack', 'whatever', stored)).equals(data)).toBe(true);
    expect(statSync(target).mode & 0o777).toBe(0o600);
    // Encrypting again gives other bytes: the file is written once and sent everywhere.
    expect((await sealPack(key, source, path.join(folder, 'again'))).sha256).not.toBe(answer.sha256);
  });

  test('in the clear the stored bytes are the source', async () => {
    const source = path.join(folder, 'plain');
    writeFileSync(source, plain);
    const { sha256 } = await sealPack(undefined, source, path.join(folder, 'clear'));
    expect(sha256).toBe(createHash('sha256').update(plain).digest('hex'));
    expect(await openBytes(undefined, 'pack', 'x', readFileSync(path.join(folder, 'clear')))).toEqual(plain);
  });

  test('a source that is not there is an error, not an empty pack', async () => {
    await expect(sealPack(key, path.join(folder, 'none'), path.join(folder, 'x'))).rejects.toThrow(/ENOENT/);
  });

  test.runIf(existsSync('/dev/full'))('a full disk is an error that says so', async () => {
    const source = path.join(folder, 'large');
    writeFileSync(source, randomBytes(6 << 20));
    for (const each of [key, undefined]) await expect(sealPack(each, source, '/dev/full')).rejects.toThrow(/ENOSPC/);
  });
});
