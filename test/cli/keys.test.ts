import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeyChange, KeyListing } from '../../src/control/keys.js';
import type { SnapshotDocument } from '../../src/control/snapshots.js';
import type { KeyFile } from '../../src/repository/keys.js';
import type { CheckDocument } from '../../src/workflows/care-types.js';
import type { RestoreDocument } from '../../src/workflows/restore-types.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { TestHost } from '../support/cli.js';
import { Random } from '../support/tree.js';

let host: TestHost;
const destinations = () => ({ disk: { type: 'local' as const, path: host.path('repository') } });
const jobs = () => ({
  site: { sources: [{ type: 'files' as const, name: 'www', paths: [host.source] }], destinations: ['disk'] },
});
const write = (name: string, text: string): string => {
  writeFileSync(host.path(name), text, { mode: 0o600 });
  return host.path(name);
};
const keyFile = (): KeyFile =>
  JSON.parse(readFileSync(host.path('repository', 'fault-host', 'site', 'holdfast.json'), 'utf8')) as KeyFile;

beforeAll(async () => {
  host = await TestHost.make();
  mkdirSync(host.path('repository'));
  writeFileSync(`${host.source}/big`, new Random(1).bytes(3_000_000));
  writeFileSync(`${host.source}/small`, 'small');
});
afterAll(() => host?.remove());

describe('with a public key alone', () => {
  const secret = 'passphrase of the private key';

  test('a host writes backups, builds on them, and cannot read them', async () => {
    const passphrase = write('pair-passphrase', `${secret}\n`);
    const pair = await host.json<{ fingerprint: string }>([
      ...['key', 'generate', host.path('pair'), '--bits', '3072', '--new-passphrase-file', passphrase],
    ]);
    expect(readFileSync(host.path('pair'), 'utf8')).toContain('ENCRYPTED');
    expect(statSync(host.path('pair')).mode & 0o777).toBe(0o600);
    const again = await host.run(['key', 'generate', host.path('pair'), '--plain', '--bits', '3072']);
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('exists already') });

    await host.configure({
      encryption: { publicKey: `\${file:${host.path('pair.pub')}}` },
      destinations: destinations(),
      jobs: jobs(),
    });
    const first = await host.json<RunDocument>(['backup', 'site']);
    expect(first).toMatchObject({ status: 'succeeded', mode: 'full' });
    expect(keyFile()).toMatchObject({ objects: 'rsa', slots: [{ type: 'rsa', fingerprint: pair.fingerprint }] });
    expect(JSON.stringify(keyFile())).not.toContain('PUBLIC KEY');

    appendFileSync(`${host.source}/small`, ' and more');
    const second = await host.json<RunDocument>(['backup', 'site']);
    expect(second).toMatchObject({ status: 'succeeded', mode: 'incremental', files: { changed: 1 } });
    expect(second.bytes.new).toBeLessThan(100_000);
    expect(await host.json<SnapshotDocument[]>(['snapshots', 'site'])).toHaveLength(2);

    const { error } = await host.json<{ error: { code: string } }>(['restore', 'site', '--to', host.path('out')], [1]);
    expect(error.code).toBe('PrivateKeyNeeded');
    const rebuilt = await host.json<{ error: { code: string } }>(['catalog', 'rebuild', 'site'], [1]);
    expect(rebuilt.error.code).toBe('PrivateKeyNeeded');
    const listing = await host.json<KeyListing[]>(['key', 'list', '--all']);
    expect(listing).toMatchObject([{ objects: 'rsa', slots: [{ type: 'rsa', fingerprint: pair.fingerprint }] }]);
    expect(await host.run(['key', 'add', 'site', '--new-passphrase-file', passphrase])).toMatchObject({ code: 2 });
  });

  test('who has the private key restores, also on another machine', async () => {
    const identity = ['--identity', host.path('pair'), '--identity-passphrase-file', host.path('pair-passphrase')];
    await host.json(['key', 'verify', 'site', ...identity]);
    await host.configure(
      { encryption: undefined, state: host.path('other-state'), destinations: destinations(), jobs: jobs() },
      host.path('other.json'),
    );
    const restored = await host.json<RestoreDocument>(
      ['restore', 'site', '--to', host.path('out'), ...identity],
      [0],
      host.path('other.json'),
    );
    expect(restored).toMatchObject({ status: 'succeeded', files: { restored: 2 } });
    expect(readFileSync(`${host.path('out')}${host.source}/small`, 'utf8')).toBe('small and more');
    const listed = await host.run(['ls', 'site', '-r', ...identity], host.path('other.json'));
    expect(listed.stdout).toContain('big');
    // Without it, or with another one, it says what is missing.
    for (const [options, code] of [
      [[], 'SecretMissing'],
      [['--identity', host.path('pair')], 'SecretMissing'],
    ] as const) {
      const answer = await host.json<{ error: { code: string } }>(
        ['ls', 'site', ...options],
        [1, 2],
        host.path('other.json'),
      );
      expect(answer.error.code).toBe(code);
    }
    await host.json(['key', 'generate', host.path('wrong'), '--bits', '3072', '--plain']);
    const wrong = await host.json<{ error: { code: string } }>(
      ['ls', 'site', '--identity', host.path('wrong')],
      [1],
      host.path('other.json'),
    );
    expect(wrong.error.code).toBe('KeyMismatch');
  });

  test('who has the private key has the files named that damage concerns', async () => {
    const identity = ['--identity', host.path('pair'), '--identity-passphrase-file', host.path('pair-passphrase')];
    const packs = host.path('repository', 'fault-host', 'site', 'packs');
    const [largest = ''] = readdirSync(packs, { recursive: true, encoding: 'utf8' })
      .filter((name) => statSync(join(packs, name)).isFile())
      .sort((a, b) => statSync(join(packs, b)).size - statSync(join(packs, a)).size);
    renameSync(join(packs, largest), host.path('away'));
    renameSync(host.path('state', 'manifests'), host.path('no-manifests'));
    const blind = await host.json<CheckDocument>(['check', 'site'], [1]);
    expect(blind.warnings).toMatchObject([{ code: 'PrivateKeyNeeded' }]);
    const named = await host.json<CheckDocument>(['check', 'site', ...identity], [1]);
    expect(named.warnings).toEqual([]);
    expect(named.findings[0]?.files.map(({ path }) => path)).toContain(`${host.source}/big`);
    renameSync(host.path('no-manifests'), host.path('state', 'manifests'));
    renameSync(host.path('away'), join(packs, largest));
    const up = await host.up();
    const refused = await host.json<{ error: { code: string } }>(['check', 'site', ...identity], [1]);
    expect(refused.error.code).toBe('AlreadyRunning');
    await up.kill('SIGTERM');
  });

  test('without its catalog it starts a new generation, whose snapshot is the latest', async () => {
    rmSync(host.path('state', 'catalog'), { recursive: true });
    rmSync(host.path('state', 'manifests'), { recursive: true });
    writeFileSync(`${host.source}/small`, 'after the loss');
    expect(await host.json<RunDocument>(['backup', 'site'])).toMatchObject({ status: 'succeeded', mode: 'full' });
    writeFileSync(`${host.source}/small`, 'and once more');
    expect(await host.json<RunDocument>(['backup', 'site'])).toMatchObject({ mode: 'incremental' });
    const identity = ['--identity', host.path('pair'), '--identity-passphrase-file', host.path('pair-passphrase')];
    const all = await host.json<SnapshotDocument[]>(['snapshots', 'site', ...identity], [0], host.path('other.json'));
    expect(all.map(({ mode }) => mode)).toEqual(['incremental', 'full', 'incremental', 'full']);
    await host.json(['restore', 'site', '--to', host.path('out2'), ...identity], [0], host.path('other.json'));
    expect(readFileSync(`${host.path('out2')}${host.source}/small`, 'utf8')).toBe('and once more');
  });
});

describe('key', () => {
  beforeAll(async () => {
    rmSync(host.path('repository'), { recursive: true });
    mkdirSync(host.path('repository'));
    await host.configure({ state: host.path('third-state'), destinations: destinations(), jobs: jobs() });
    await host.json(['backup', 'site']);
  });

  test('adds, lists, verifies, changes and removes; prints a sheet and takes it', async () => {
    const second = write('second', 'second passphrase\n');
    const [added] = await host.json<KeyChange[]>([
      ...['key', 'add', 'site', '--label', 'safe', '--new-passphrase-file', second],
    ]);
    expect(added).toMatchObject({ revision: 2, configured: true });
    const list = await host.run(['key', 'list', 'site']);
    expect(list.stdout).toMatch(/safe/);
    expect(list.stdout).toMatch(/disk: up to date/);
    expect((await host.run(['key', 'verify', 'site', '--passphrase-file', second])).code).toBe(0);
    expect((await host.run(['key', 'remove', 'site', '--slot', 'safe'])).code).toBe(0);

    const sheet = host.path('sheet');
    expect((await host.run(['key', 'export', '--all', '-o', sheet])).code).toBe(0);
    expect(statSync(sheet).mode & 0o777).toBe(0o600);
    const changed = await host.run(['key', 'change', 'site', '--new-passphrase-file', second]);
    expect(changed).toMatchObject({ code: 0, stderr: expect.stringContaining('opens none of it now') });
    const old = write('old', 'correct horse battery staple');
    const imported = await host.run(['key', 'import', 'site', '--sheet', sheet, '--new-passphrase-file', old]);
    expect(imported.code).toBe(0);

    const typo = write(
      'typo',
      readFileSync(sheet, 'utf8')
        .replace(/( {4}3\. {2}.)./, '$1Z')
        .replace('Z', 'Y'),
    );
    const refused = await host.run(['key', 'import', 'site', '--sheet', typo, '--new-passphrase-file', old]);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('line 3') });
    const question = await host.run(['key', 'change', 'site']);
    expect(question).toMatchObject({ code: 2, stderr: expect.stringContaining('--new-passphrase-file') });
  });

  test('asks on a terminal, and does not show what is typed', async () => {
    const program = [process.execPath, join(import.meta.dirname, '../../bin/holdfast.js')];
    const command = [...program, '--config', host.configFile, 'key', 'verify', 'site'].map((word) => `'${word}'`);
    // `script` gives the command a terminal.
    const child = spawn('script', ['-qefc', command.join(' '), '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (!said.includes('Passphrase: ') && (said + text).includes('Passphrase: '))
        child.stdin.write('correct horse battery staplex\u007f\r');
      said += text;
    });
    const [code] = (await once(child, 'close')) as [number];
    expect(said).toContain('it opens the repository');
    expect(said).not.toContain('horse');
    expect(code).toBe(0);
  });
});
