import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  ConfigErrors,
  configHash,
  findConfig,
  findJob,
  loadConfig,
  parseConfig,
  usesEmbeddedServer,
} from '../../src/config/load.js';
import { HoldfastError } from '../../src/errors.js';
import { job, load, problemsIn, ref, sample, tempFolder } from './helpers.js';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

function failure(action: () => unknown): HoldfastError {
  try {
    action();
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('findConfig', () => {
  let folder: string;
  beforeEach(() => {
    folder = tempFolder();
    for (const name of ['cwd', 'user/holdfast']) mkdirSync(join(folder, name), { recursive: true });
    vi.spyOn(process, 'cwd').mockReturnValue(join(folder, 'cwd'));
    vi.stubEnv('XDG_CONFIG_HOME', join(folder, 'user'));
    vi.stubEnv('HOLDFAST_CONFIG', undefined);
  });
  const put = (name: string) => {
    const path = join(folder, name);
    writeFileSync(path, 'host: x\n');
    return path;
  };

  test('goes by the order', () => {
    const user = put('user/holdfast/holdfast.json');
    expect(findConfig()).toBe(user);
    const json = put('cwd/holdfast.json');
    expect(findConfig()).toBe(json);
    const yml = put('cwd/holdfast.yml');
    expect(findConfig()).toBe(yml);
    const yaml = put('cwd/holdfast.yaml');
    expect(findConfig()).toBe(yaml);
    const env = put('env.yaml');
    vi.stubEnv('HOLDFAST_CONFIG', env);
    expect(findConfig()).toBe(env);
    const explicit = put('explicit.yaml');
    expect(findConfig(explicit)).toBe(explicit);
  });

  test('lists where it looked', () => {
    const error = failure(() => findConfig());
    expect(error.code).toBe('ConfigNotFound');
    for (const place of ['cwd/holdfast.yaml', 'cwd/holdfast.json', 'user/holdfast/holdfast.yml']) {
      expect(error.message).toContain(join(folder, place));
    }
    expect(error.message).toContain('/etc/holdfast/holdfast.yaml');
    expect(error.hint).toContain('holdfast init');
  });

  test('a named file that is not there is not replaced by another', () => {
    put('cwd/holdfast.yaml');
    const missing = join(folder, 'missing.yaml');
    expect(failure(() => findConfig(missing))).toMatchObject({ code: 'ConfigNotFound', file: missing });
    vi.stubEnv('HOLDFAST_CONFIG', missing);
    expect(failure(() => findConfig()).message).toContain('$HOLDFAST_CONFIG');
  });
});

describe('loadConfig', () => {
  const write = (content: string | Buffer) => {
    const path = join(tempFolder(), 'holdfast.yaml');
    writeFileSync(path, content);
    return path;
  };
  const good = JSON.stringify(sample());

  test('reads YAML and JSON, with and without a byte order mark', () => {
    const path = write(good);
    expect(loadConfig(path)).toMatchObject({ path, config: { host: 'web-1' }, warnings: [] });
    expect(loadConfig(write(`\ufeff${good}`)).config.host).toBe('web-1');
    expect(
      loadConfig(
        write(
          'host: "wéb"\r\n'.replace('wéb', 'web-1') +
            good.slice(1, 0) +
            'destinations: { nas: { type: s3, bucket: b } }\r\njobs: { a: { sources: [{ type: files, paths: [/nonexistent/x] }], destinations: [nas] } }\r\n',
        ),
      ).config.host,
    ).toBe('web-1');
  });

  test.each<[string, string | Buffer, RegExp]>([
    ['empty', '', /the file is empty/],
    ['blank', ' \n\n', /the file is empty/],
    ['comments only', '# nothing\n', /the file says nothing/],
    ['UTF-16', Buffer.from('\ufeffhost: x', 'utf16le'), /UTF-16/],
    ['Latin-1', Buffer.from('host: a\n# \xe4\n', 'latin1'), /:2: the file is not UTF-8/],
    ['too large', Buffer.alloc(4 * 1024 * 1024 + 1, '#'), /larger than 4 MiB/],
  ])('%s', (_, content, message) => {
    const path = write(content);
    const error = failure(() => loadConfig(path));
    expect(error).toMatchObject({ code: 'ConfigInvalid', file: path });
    expect(error.message).toMatch(message);
    expect(error.message).toContain(path);
  });

  test('no file, a folder, a file below a file', () => {
    const folder = tempFolder();
    expect(failure(() => loadConfig(join(folder, 'x.yaml'))).code).toBe('ConfigNotFound');
    expect(failure(() => loadConfig(folder))).toMatchObject({
      code: 'ConfigInvalid',
      message: expect.stringContaining('is a folder'),
    });
    expect(failure(() => loadConfig(join(write(good), 'x.yaml'))).code).toBe('ConfigNotFound');
  });

  test('a file this user may not read', () => {
    const path = write(good);
    chmodSync(path, 0o000);
    if (process.getuid?.() === 0) {
      // Root reads everything.
      expect(loadConfig(path).config.host).toBe('web-1');
      return;
    }
    expect(failure(() => loadConfig(path))).toMatchObject({
      code: 'ConfigInvalid',
      message: expect.stringContaining('may not read'),
    });
  });
});

describe('errors', () => {
  const source = [
    'host: web-1',
    'destinations:',
    '  nas: { type: local, path: backups }',
    'jobs:',
    '  site:',
    '    sources:',
    '      - type: files',
    '        paths: [/nonexistent/www]',
    '        exlude: [cache/]',
    '    destinations: [nsa]',
    '',
  ].join('\n');

  test('all of them, each with its line and key', () => {
    expect(problemsIn(source)).toEqual([
      '3: destinations.nas.path: expected an absolute path (/srv/www, ~/documents), found the relative "backups"',
      "9: jobs.site.sources[0].exlude: unknown key 'exlude'; did you mean 'exclude'?",
      '10: jobs.site.destinations[0]: there is no destination "nsa"; did you mean \'nas\'?',
    ]);
  });

  test('the first one fills the fields; the message has a line for each', () => {
    const error = failure(() => parseConfig(source, '/x/holdfast.yaml'));
    expect(error).toBeInstanceOf(ConfigErrors);
    expect(error).toMatchObject({
      code: 'ConfigInvalid',
      file: '/x/holdfast.yaml',
      line: 3,
      key: 'destinations.nas.path',
      retryable: false,
    });
    expect(error.message.split('\n')).toHaveLength(3);
    expect(error.message).toMatch(/^\/x\/holdfast\.yaml:3: destinations\.nas\.path: expected/);
  });

  test('an unknown key’s hint lists the known ones', () => {
    const error = failure(() => load(sample({ colour: 1 })));
    expect(error.hint).toBe(
      'Known here: host, state, spool, temporal, encryption, destinations, notify, log, metrics, traces, jobs.',
    );
  });

  test('never show the value of text that is in the wrong place', () => {
    const secret = 'correct horse battery staple';
    for (const data of [
      sample({ encryption: secret }),
      sample({ encryption: { passphrase: [secret] } }),
      sample({ temporal: secret }),
      sample({ encryption: { passphrase: `${secret}${ref('evn:X')}` } }),
    ]) {
      expect(failure(() => load(data)).message).not.toContain('horse');
    }
  });
});

describe('the hash', () => {
  const reverse = (value: unknown): unknown => {
    if (Array.isArray(value) || typeof value !== 'object' || value === null)
      return Array.isArray(value) ? value.map(reverse) : value;
    return Object.fromEntries(
      Object.entries(value)
        .reverse()
        .map(([key, item]) => [key, reverse(item)]),
    );
  };

  test('is the same whatever the order of keys and with defaults written out', () => {
    const { hash } = load(sample());
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(load(reverse(sample())).hash).toBe(hash);
    expect(load(sample({ notify: {}, spool: { max: '20GB' } })).hash).toBe(hash);
  });

  test('literal secrets do not contribute, references and everything else do', () => {
    const of = (passphrase: string, parts = {}) => load(sample({ encryption: { passphrase }, ...parts })).hash;
    expect(of('one')).toBe(of('two'));
    expect(of(ref('env:A'))).not.toBe(of(ref('env:B')));
    expect(of(ref('env:A'))).not.toBe(of('one'));
    expect(of('one', { host: 'web-2' })).not.toBe(of('one'));
    expect(configHash(load(sample()).config)).toBe(load(sample()).hash);
  });
});

test('findJob', () => {
  const { config } = load(sample());
  expect(findJob(config, 'site')).toBe(config.jobs.site);
  expect(failure(() => findJob(config, 'siet'))).toMatchObject({
    code: 'JobUnknown',
    message: "there is no job 'siet'; did you mean 'site'?",
  });
  for (const name of ['constructor', '__proto__', 'toString'])
    expect(failure(() => findJob(config, name)).code).toBe('JobUnknown');
});

test('usesEmbeddedServer', () => {
  expect(usesEmbeddedServer(load(sample()).config)).toBe(true);
  expect(usesEmbeddedServer(load(sample({ temporal: { ui: 8080 } })).config)).toBe(true);
  expect(usesEmbeddedServer(load(sample({ temporal: { profile: 'default' } })).config)).toBe(false);
  expect(usesEmbeddedServer(load(sample({ temporal: { address: 'h:1' } })).config)).toBe(false);
});

describe('whatever is in the file', () => {
  const onlyHoldfastErrors = (source: string) => {
    try {
      parseConfig(source, 'x.yaml');
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      if (error.code !== 'ConfigInvalid') throw new Error(`unexpected code ${error.code}`);
    }
  };
  const runs = { numRuns: 300 };

  test('text', () => {
    const line = fc.oneof(fc.string(), fc.stringMatching(/^ {0,4}[a-z&*!|>?-]{1,3}: ?[[\]{}"'#,a-z0-9]{0,6}$/));
    fc.assert(
      fc.property(fc.array(line), (lines) => onlyHoldfastErrors(lines.join('\n'))),
      runs,
    );
  });

  test('JSON', () => {
    fc.assert(fc.property(fc.json(), onlyHoldfastErrors), runs);
  });

  test('a good config with one value replaced', () => {
    const keys = [
      'host',
      'state',
      'spool',
      'temporal',
      'encryption',
      'destinations',
      'notify',
      'jobs',
      'sources',
      'paths',
      'exclude',
      'schedule',
      'retention',
      'compression',
      'type',
      'passphrase',
      'nas',
      'site',
      'path',
      'detect',
    ];
    const full = sample({
      temporal: { address: 'h:1' },
      notify: { hook: { type: 'webhook', url: ref('env:U') } },
      jobs: { site: job({ schedule: { cron: '@daily' }, retention: { keepLast: 1 }, compression: { type: 'gzip' } }) },
    });
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.jsonValue(), (key, value) => {
        onlyHoldfastErrors(JSON.stringify(full, (name, old) => (name === key ? value : old)));
      }),
      runs,
    );
  });
});
