import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Host } from '../../src/activities/host.js';
import { keepKeyFile, stateKeyFile } from '../../src/activities/key-file.js';
import { claimRepository, establishKey } from '../../src/activities/key-setup.js';
import { openRepository } from '../../src/activities/open-repository.js';
import { type LoadedConfig, parseConfig } from '../../src/config/load.js';
import { diagnose } from '../../src/control/doctor.js';
import {
  addKey,
  changeKey,
  exportKey,
  importKey,
  jobsOf,
  listKeys,
  removeKey,
  verifyKey,
} from '../../src/control/keys.js';
import { withMac } from '../../src/repository/key-mac.js';
import { keyLines, parseKeyLines } from '../../src/repository/key-sheet.js';
import { replaceSlot } from '../../src/repository/key-slots.js';
import {
  createKeyFile,
  type KeyFile,
  keyFileBytes,
  openSlot,
  parseKeyFile,
  wrapKey,
} from '../../src/repository/keys.js';
import type { AesKey } from '../../src/repository/seal.js';
import { Store } from '../../src/repository/store.js';
import type { Warning } from '../../src/workflows/types.js';

const log = pino({ level: 'silent' });
const signal = new AbortController().signal;
const unlocking = { log };
const cost = { N: 1 << 10, r: 8, p: 1 };
let folder: string;
let loaded: LoadedConfig;
const at = (...names: string[]): string => join(folder, ...names);
const keyPath = (destination: string): string => at(destination, 'web-1', 'site', 'holdfast.json');
const keyAt = (destination: string): KeyFile => parseKeyFile(readFileSync(keyPath(destination)), destination);
const setPassphrase = (text: string): void => writeFileSync(at('passphrase'), text, { mode: 0o600 });

/** What the start of a backup does with the keys, in a process of its own. */
async function beginBackup(destinations = ['a', 'b'], state = loaded): Promise<Warning[]> {
  const host = new Host(state, undefined, log);
  try {
    const looks = await Promise.all(
      destinations.map(async (name) => {
        const config = host.config.destinations[name];
        if (!config) throw new Error(name);
        const store = new Store(await host.destination(name, config), 'web-1', 'site');
        return { store, found: { file: await store.keyFile() } };
      }),
    );
    const passphrase = await host.passphrase(host.config.encryption?.passphrase);
    const file = await establishKey(host, 'site', looks, passphrase, signal);
    const key = await host.unlock(file, passphrase);
    const warnings = [];
    for (const { store } of looks) {
      warnings.push(...(await claimRepository(host, 'site', store, file, { takeOver: false, key }, signal)));
    }
    return warnings;
  } finally {
    await host.close();
  }
}

const same = (): void => {
  const state = readFileSync(at('state', 'keys', 'site.json'));
  expect(readFileSync(keyPath('a')).equals(state)).toBe(true);
  expect(readFileSync(keyPath('b')).equals(state)).toBe(true);
};

async function keyOf(passphrase: string, file = keyAt('a')): Promise<AesKey> {
  const opened = await openSlot(file, passphrase);
  if (!opened) throw new Error('it does not open');
  return opened.key;
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-keys-'));
  for (const name of ['a', 'b', 'source']) mkdirSync(at(name));
  setPassphrase('first passphrase');
  const config = {
    host: 'web-1',
    state: at('state'),
    encryption: { passphrase: `\${file:${at('passphrase')}}` },
    destinations: { a: { type: 'local', path: at('a') }, b: { type: 'local', path: at('b') } },
    jobs: { site: { sources: [{ type: 'files', name: 'www', paths: [at('source')] }], destinations: ['a', 'b'] } },
  };
  loaded = parseConfig(JSON.stringify(config), at('holdfast.json'));
  // Cheap to try: what a slot costs is tested by itself.
  const { file, key } = await createKeyFile('web-1', 'site', 'first passphrase');
  if (!key) throw new Error('no key');
  const host = new Host(loaded, undefined, log);
  keepKeyFile(host, 'site', withMac({ ...file, slots: [await wrapKey(key, 'first passphrase', { cost })] }, key));
  await host.close();
  await beginBackup();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('passphrases', () => {
  test('are added, listed and removed, the same at every destination each time', async () => {
    const added = await addKey(loaded, 'site', { passphrase: 'second', label: 'safe', cost }, unlocking);
    expect(added).toMatchObject({ revision: 2, configured: true, warnings: [] });
    expect(added.destinations).toEqual(['a', 'b'].map((name) => ({ name, revision: 2, error: null })));
    same();
    await expect(addKey(loaded, 'site', { passphrase: 'second', cost }, unlocking)).rejects.toMatchObject({
      code: 'UsageInvalid',
    });

    const listing = await listKeys(loaded, 'site', log);
    expect(listing.slots.map(({ label, configured }) => [label, configured])).toEqual([
      [null, true],
      ['safe', false],
    ]);
    expect(listing).toMatchObject({ objects: 'aes', revision: 2, verified: null });

    // Neither the config's nor an unknown one goes.
    const own = listing.slots[0]?.id ?? '';
    await expect(removeKey(loaded, 'site', { slot: own }, unlocking)).rejects.toThrow(/passphrase of the config/);
    await expect(removeKey(loaded, 'site', { slot: 'nonsense' }, unlocking)).rejects.toThrow(/has no passphrase/);
    expect(await removeKey(loaded, 'site', { slot: 'safe' }, unlocking)).toMatchObject({ revision: 3 });
    same();
    expect(await openSlot(keyAt('b'), 'second')).toBeUndefined();
    await expect(removeKey(loaded, 'site', { slot: own }, unlocking)).rejects.toThrow(/last passphrase/);
  });

  test('are changed, with another cost, under the same repository key', async () => {
    const before = await keyOf('first passphrase');
    const done = await changeKey(
      loaded,
      'site',
      { passphrase: 'another', cost: { N: 1 << 14, r: 8, p: 1 } },
      unlocking,
    );
    expect(done).toMatchObject({ revision: 2, configured: false });
    same();
    expect(await openSlot(keyAt('a'), 'first passphrase')).toBeUndefined();
    expect(Buffer.from((await keyOf('another')).key).equals(Buffer.from(before.key))).toBe(true);
    expect(keyAt('a').slots[0]).toMatchObject({ N: 1 << 14 });
    // The config's does not open it any more: somebody is asked, else it is an error.
    await expect(addKey(loaded, 'site', { passphrase: 'x', cost }, unlocking)).rejects.toMatchObject({
      code: 'PassphraseWrong',
    });
    const ask = async (): Promise<string> => 'another';
    expect(await addKey(loaded, 'site', { passphrase: 'x', cost }, { log, ask })).toMatchObject({ revision: 3 });
    await expect(beginBackup()).rejects.toMatchObject({ code: 'PassphraseWrong' });
    setPassphrase('x');
    expect(await beginBackup()).toEqual([]);
    // Where the config's is not one of them, the one that goes opens it once more.
    setPassphrase('neither');
    const gone = await removeKey(loaded, 'site', { passphrase: 'another' }, unlocking);
    expect(gone).toMatchObject({ revision: 4, configured: false });
    await expect(removeKey(loaded, 'site', { passphrase: 'x' }, unlocking)).rejects.toThrow(/last passphrase/);
  });

  test.each([[[]], [['a']]])(
    'a change that was killed once %j had it leaves files that open; the next backup finishes it',
    async (written: string[]) => {
      const key = await keyOf('first passphrase');
      const old = keyAt('a');
      const changed = await replaceSlot(old, key, old.slots[0]?.id ?? '', 'another', { cost });
      const host = new Host(loaded, undefined, log);
      keepKeyFile(host, 'site', changed);
      for (const name of written) writeFileSync(keyPath(name), keyFileBytes(changed));
      for (const passphrase of ['first passphrase', 'another']) {
        setPassphrase(passphrase);
        const other = new Host(loaded, undefined, log);
        const { key: opened } = await openRepository(other, 'site', { sync: true });
        expect(opened).toMatchObject({ repository: key.repository });
        await other.close();
      }
      expect(await beginBackup()).toEqual([]);
      same();
      expect(keyAt('b').revision).toBe(2);
      await host.close();
    },
  );

  test('a destination that was away is brought up to date when it is back', async () => {
    renameSync(at('b'), at('b-away'));
    const added = await addKey(loaded, 'site', { passphrase: 'second', cost }, unlocking);
    expect(added.destinations[1]).toMatchObject({ name: 'b', revision: null });
    expect(added.destinations[1]?.error).toMatch(/./);
    renameSync(at('b-away'), at('b'));
    expect((await listKeys(loaded, 'site', log)).destinations).toMatchObject([{ revision: 2 }, { revision: 1 }]);
    expect(await beginBackup()).toEqual([]);
    same();
  });

  test('with no destination in reach nothing is changed', async () => {
    for (const name of ['a', 'b']) renameSync(at(name), at(`${name}-away`));
    await expect(addKey(loaded, 'site', { passphrase: 'second', cost }, unlocking)).rejects.toMatchObject({
      code: 'DestinationUnreachable',
    });
    for (const name of ['a', 'b']) renameSync(at(`${name}-away`), at(name));
    same();
    expect(keyAt('a').revision).toBe(1);
  });
});

describe('a key file at a destination', () => {
  test('that was put back to an older state is noticed and written anew', async () => {
    const old = readFileSync(keyPath('b'));
    await addKey(loaded, 'site', { passphrase: 'second', cost }, unlocking);
    writeFileSync(keyPath('b'), old);
    expect(await beginBackup()).toMatchObject([
      { code: 'RepositoryRolledBack', message: expect.stringContaining('b:') },
    ]);
    same();
  });

  test('that somebody without the key changed is noticed, here and on a new host', async () => {
    await addKey(loaded, 'site', { passphrase: 'second', cost }, unlocking);
    const good = keyAt('a');
    const forged: KeyFile[] = [
      { ...good, revision: 99 },
      { ...good, slots: good.slots.slice(0, 1) },
      { ...good, host: 'other' },
    ];
    for (const file of forged) {
      expect(await openSlot(good, 'first passphrase')).toBeDefined();
      await expect(openSlot(file, 'first passphrase')).rejects.toMatchObject({ code: 'IntegrityMismatch' });
    }
    writeFileSync(keyPath('b'), keyFileBytes(forged[0] as KeyFile));
    expect(await beginBackup()).toMatchObject([{ code: 'IntegrityMismatch' }]);
    same();
  });

  test('that another installation changed is taken over', async () => {
    const key = await keyOf('first passphrase');
    const old = keyAt('a');
    const newer = withMac({ ...old, revision: 7 }, key);
    writeFileSync(keyPath('b'), keyFileBytes(newer));
    expect(await beginBackup(['b', 'a'])).toEqual([]);
    same();
    expect(keyAt('a').revision).toBe(7);
  });

  test('of a state folder that was put back is taken from the destination, even with another passphrase', async () => {
    cpSync(at('state'), at('old-state'), { recursive: true });
    await changeKey(loaded, 'site', { passphrase: 'another', cost }, unlocking);
    setPassphrase('another');
    rmSync(at('state'), { recursive: true });
    renameSync(at('old-state'), at('state'));
    expect(await beginBackup()).toEqual([]);
    same();
    expect(keyAt('a').revision).toBe(2);
  });
});

describe('a recovery sheet', () => {
  test('gives the key back, and a new passphrase where none is known', async () => {
    const { sheet, lines } = await exportKey(loaded, 'site', unlocking);
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(line).toMatch(/^([0-9A-Z]{4}-){3}[0-9A-Z]{4}$/);
    for (const text of [keyAt('a').repository, 'holdfast recover', at('a')]) expect(sheet).toContain(text);
    const done = await importKey(loaded, 'site', { sheet, passphrase: 'from the sheet', cost }, log);
    expect(done).toMatchObject({ revision: 2 });
    same();
    expect(await openSlot(keyAt('b'), 'from the sheet')).toBeDefined();
    // Once more does no harm.
    expect(await importKey(loaded, 'site', { sheet, passphrase: 'from the sheet', cost }, log)).toMatchObject({
      revision: 2,
    });
  });

  test('is read however it is typed, and a slip is found in its line', () => {
    const key: AesKey = { repository: '0f8fad5b-d9cb-469f-a165-70867728950e', key: new Uint8Array(32).fill(255) };
    const lines = keyLines(key);
    const typed = lines.map((line) =>
      line.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l'),
    );
    expect(parseKeyLines(typed.join('\r\n'), key.repository)).toEqual(key);
    for (let line = 0; line < 4; line++) {
      for (const place of [0, 5, 18]) {
        const wrong = lines.map((text, at) => {
          if (at !== line) return text;
          return `${text.slice(0, place)}${text[place] === 'A' ? 'B' : 'A'}${text.slice(place + 1)}`;
        });
        expect(() => parseKeyLines(wrong.join('\n'), key.repository)).toThrow(new RegExp(`line ${line + 1} `));
      }
    }
    expect(() => parseKeyLines([lines[1], lines[0], lines[2], lines[3]].join('\n'), key.repository)).toThrow(/line 1/);
    expect(() => parseKeyLines(lines.slice(1).join('\n'), key.repository)).toThrow(/expected the 4 lines/);
    expect(() => parseKeyLines(lines.join('\n'), '1f8fad5b-d9cb-469f-a165-70867728950e')).toThrow(/another repository/);
  });
});

test('doctor nags after a week until somebody proves to hold the passphrase', async () => {
  const check = async () => (await diagnose(loaded)).find(({ name }) => name === 'key of site');
  expect(await check()).toBeUndefined();
  const host = new Host(loaded, undefined, log);
  const key = await keyOf('first passphrase');
  const file = stateKeyFile(host, 'site');
  if (!file) throw new Error('no key file');
  const created = new Date(Date.now() - 8 * 24 * 3600 * 1000).toISOString();
  keepKeyFile(host, 'site', withMac({ ...file, created }, key));
  await host.close();
  expect(await check()).toMatchObject({ status: 'warn', hint: expect.stringContaining('key verify site') });
  await expect(verifyKey(loaded, 'site', { passphrase: 'wrong' }, log)).rejects.toMatchObject({
    code: 'PassphraseWrong',
  });
  await verifyKey(loaded, 'site', { passphrase: 'first passphrase' }, log);
  expect(await check()).toMatchObject({ status: 'ok' });
  // Proved for a passphrase that is gone, it is proved no more.
  await changeKey(loaded, 'site', { passphrase: 'another', cost }, unlocking);
  expect(await check()).toMatchObject({ status: 'warn' });
});

test('jobs are named or all', () => {
  expect(jobsOf(loaded, [], true)).toEqual(['site']);
  expect(() => jobsOf(loaded, [], false)).toThrow(/--all/);
  expect(() => jobsOf(loaded, ['site'], true)).toThrow(/--all/);
  expect(() => jobsOf(loaded, ['sit'], false)).toThrow(/did you mean 'site'/);
});
