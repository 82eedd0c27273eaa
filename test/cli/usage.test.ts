import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHost } from '../support/cli.js';

let host: TestHost;
beforeAll(async () => {
  host = await TestHost.make();
});
afterAll(() => host?.remove());

interface ErrorDocument {
  error: { code: string; message: string; file?: string; line?: number; key?: string; hint?: string };
}
const failing = (args: string[]) => host.json<ErrorDocument>(args, [2]);

describe('mistakes on the command line', () => {
  it('names the nearest command', async () => {
    const { error } = await failing(['bakup']);
    expect(error).toMatchObject({
      code: 'UsageInvalid',
      message: "unknown command 'bakup'",
      hint: "Did you mean 'backup'?",
    });
    expect((await failing(['runs', 'lst'])).error.hint).toBe('Did you mean list?');
  });

  it('names the nearest option', async () => {
    const { error } = await failing(['backup', 'site', '--ful']);
    expect(error).toMatchObject({ code: 'UsageInvalid', hint: 'Did you mean --full?' });
  });

  it('refuses what is missing or contradictory', async () => {
    expect((await failing(['runs'])).error.code).toBe('UsageInvalid');
    expect((await failing(['restore', 'site'])).error.message).toMatch(/--to/);
    expect((await failing(['restore', 'site', 'relative', '--to', 'x'])).error.message).toMatch(/absolute/);
    expect((await failing(['backup', 'site', '--full', '--differential'])).error.message).toMatch(/exclude each other/);
    expect((await failing(['backup', 'site', 'site'])).error.message).toMatch(/twice/);
  });

  it('says it in words on stderr too, with the hint and without a stack', async () => {
    const { code, stderr, stdout } = await host.run(['bakup']);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toBe("error: unknown command 'bakup'\nhint: Did you mean 'backup'?\n");
  });

  it('shows help on stdout when asked, and on stderr when not', async () => {
    const asked = await host.run(['--help']);
    expect([asked.code, asked.stderr]).toEqual([0, '']);
    expect(asked.stdout).toMatch(/^ {2}backup .+/m);
    expect((await host.run(['help', 'backup'])).stdout).toMatch(/--take-over/);
    const { code, stderr, stdout } = await host.run([]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/a command is missing/);
  });
});

describe('mistakes in the config', () => {
  it('names file, line, key and the nearest known key', async () => {
    const file = host.path('bad.yaml');
    writeFileSync(file, 'destinations:\n  nas: { type: local, pth: /mnt }\njobs: {}\n');
    const { code, stdout, stderr } = await host.run(['config', 'check', '--json'], file);
    expect(code).toBe(2);
    const { error }: ErrorDocument = JSON.parse(stdout);
    expect(error).toMatchObject({ code: 'ConfigInvalid', file, line: 2 });
    expect(error.key).toMatch(/^destinations\.nas/);
    expect(stderr).toMatch(/bad\.yaml:2/);
    expect(stderr).toMatch(/path/);
  });

  it('says where it looked for one', async () => {
    const { code, stdout } = await host.run(['config', 'check', '--json'], host.path('none.yaml'));
    expect(code).toBe(2);
    expect(JSON.parse(stdout).error.code).toBe('ConfigNotFound');
  });

  it('knows the jobs', async () => {
    await host.configure({
      destinations: { disk: { type: 'local', path: host.path('repository') } },
      jobs: { site: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['disk'] } },
    });
    for (const args of [
      ['backup', 'sites'],
      ['restore', 'sites', '--to', host.path('out')],
      ['ls', 'sites'],
    ]) {
      const { error } = await failing(args);
      expect(error.code).toBe('JobUnknown');
      expect(error.message).toMatch(/did you mean 'site'/);
    }
  });
});

describe('init', () => {
  it('writes a config that `config check` accepts and a private passphrase, and never writes over either', async () => {
    const file = host.path('fresh', 'holdfast.yaml');
    mkdirSync(host.path('fresh'));
    const args = ['init', '--source', host.source, '--destination', host.path('repository')];
    const first = await host.run(args, file);
    expect(first.code).toBe(0);
    expect(first.stderr).toMatch(/keep a copy/);
    const passphrase = host.path('fresh', 'passphrase');
    expect(statSync(passphrase).mode & 0o777).toBe(0o600);
    expect(first.stdout + first.stderr).not.toContain(readFileSync(passphrase, 'utf8').trim());
    expect((await host.run(['config', 'check'], file)).code).toBe(0);

    const before = [readFileSync(file, 'utf8'), readFileSync(passphrase, 'utf8')];
    const second = await host.run(args, file);
    expect(second.code).toBe(2);
    expect(second.stderr).toMatch(/exists already/);
    expect([readFileSync(file, 'utf8'), readFileSync(passphrase, 'utf8')]).toEqual(before);
  });
});

describe('config', () => {
  it('shows the config without its secrets, and its schema', async () => {
    const file = host.path('secret.json');
    await host.configure(
      {
        encryption: { passphrase: 'hunter2-hunter2' },
        destinations: { disk: { type: 'local', path: host.path('repository') } },
        jobs: { site: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['disk'] } },
      },
      file,
    );
    const shown = await host.run(['config', 'show'], file);
    expect(shown.code).toBe(0);
    expect(shown.stdout).not.toContain('hunter2');
    const schema = await host.json<{ properties: object }>(['config', 'schema'], [0], file);
    expect(schema.properties).toHaveProperty('jobs');
  });
});

describe('completion', () => {
  it.each(['bash', 'zsh', 'fish'])('knows every command in %s', async (shell) => {
    const { code, stdout } = await host.run(['completion', shell]);
    expect(code).toBe(0);
    for (const word of ['backup', 'take-over', 'adopt', 'watch']) expect(stdout).toContain(word);
  });

  it('names the shells it knows', async () => {
    expect((await failing(['completion', 'tcsh'])).error.hint).toMatch(/bash, zsh, fish/);
  });
});
