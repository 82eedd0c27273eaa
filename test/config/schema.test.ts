import { homedir, hostname } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { configJsonSchema, type JsonSchema } from '../../src/config/json-schema.js';
import { hostName } from '../../src/config/normalize.js';
import { isSensitive } from '../../src/config/sensitive.js';
import { files, job, load, problemsOf, ref, sample } from './helpers.js';

afterEach(() => vi.unstubAllEnvs());

test('defaults', () => {
  vi.stubEnv('XDG_STATE_HOME', '/nonexistent/xdg');
  const { config } = load({
    destinations: { nas: { type: 'local', path: '/nonexistent/nas' }, s3: { type: 's3', bucket: 'b' } },
    jobs: { site: job({ schedule: { cron: '0 3 * * *' } }) },
  });
  expect(config).toEqual({
    host: hostName(hostname()),
    state: '/nonexistent/xdg/holdfast',
    spool: { path: '/nonexistent/xdg/holdfast/spool', max: 20e9 },
    destinations: {
      nas: { type: 'local', path: '/nonexistent/nas', presence: 'required', giveUpAfter: 300_000 },
      s3: { type: 's3', bucket: 'b', prefix: '', giveUpAfter: 300_000 },
    },
    notify: {},
    log: {
      level: 'info',
      path: '/nonexistent/xdg/holdfast/logs',
      rotate: { size: 10_000_000, count: 5 },
      format: 'auto',
    },
    jobs: {
      site: {
        sources: [
          {
            type: 'files',
            name: 'www',
            paths: ['/nonexistent/www'],
            include: [],
            exclude: [],
            excludeIfPresent: [],
            oneFileSystem: false,
            detect: ['size', 'mtime', 'ctime', 'inode'],
          },
        ],
        destinations: ['nas'],
        minimumDestinations: 1,
        format: 'repository',
        mode: 'incremental',
        compression: { type: 'zstd', level: 3 },
        notify: [],
        onAnomaly: 'warn',
        schedule: { cron: '0 3 * * *', timezone: new Intl.DateTimeFormat().resolvedOptions().timeZone, jitter: 0 },
      },
    },
  });
});

test('a relative XDG_STATE_HOME is ignored', () => {
  vi.stubEnv('XDG_STATE_HOME', 'relative');
  const { state } = load(sample({ state: undefined })).config;
  expect(state.startsWith(homedir())).toBe(true);
  expect(state).not.toContain('relative');
});

test('units become numbers, paths tidy', () => {
  const { config } = load(
    sample({
      state: '~/hf//state/',
      spool: { max: '512MiB' },
      destinations: { nas: { type: 'local', path: '/nonexistent/nas/', bandwidth: '10MB/s', giveUpAfter: '1h30m' } },
      jobs: {
        site: job({ schedule: { every: '6h', jitter: '5m', catchupWindow: '1d' }, retention: { keepWithin: '30d' } }),
      },
    }),
  );
  expect(config.state).toBe(join(homedir(), 'hf/state'));
  expect(config.spool).toEqual({ path: join(homedir(), 'hf/state/spool'), max: 512 * 2 ** 20 });
  expect(config.destinations.nas).toMatchObject({ path: '/nonexistent/nas', bandwidth: 10e6, giveUpAfter: 5_400_000 });
  expect(config.jobs.site?.schedule).toEqual({ every: 21_600_000, jitter: 300_000, catchupWindow: 86_400_000 });
  expect(config.jobs.site?.retention).toEqual({ keepWithin: 30 * 86_400_000 });
});

test('a table of rates by time of day, and a lock', () => {
  const bandwidth = [{ from: '08:00', to: '18:00', rate: '1MB/s' }, { rate: '10MB/s' }];
  const nas = {
    type: 'local',
    path: '/nonexistent/nas',
    bandwidth,
    timezone: 'Europe/Berlin',
    deletes: false,
  } as const;
  const vault = { type: 's3', bucket: 'b', objectLock: { mode: 'compliance', days: 30 } } as const;
  const { config } = load(sample({ destinations: { nas, vault } }));
  expect(config.destinations.nas).toMatchObject({
    bandwidth: [{ from: '08:00', to: '18:00', rate: 1e6 }, { rate: 10e6 }],
    timezone: 'Europe/Berlin',
    deletes: false,
  });
  expect(config.destinations.vault).toMatchObject({ objectLock: { mode: 'compliance', days: 30 } });
});

test('CRON_TZ becomes the time zone', () => {
  const { config } = load(sample({ jobs: { site: job({ schedule: { cron: 'CRON_TZ=Asia/Tokyo 0 3 * * *' } }) } }));
  expect(config.jobs.site?.schedule).toEqual({ cron: '0 3 * * *', timezone: 'Asia/Tokyo', jitter: 0 });
});

test('names of sources', () => {
  const sources = [
    files({ paths: ['/'] }),
    files({ paths: ['/srv/www'] }),
    files({ paths: ['/var/www'] }),
    files({ paths: ['/a'], name: 'www-2' }),
    files({ paths: ['/b/mein Ordner'] }),
    files({ paths: ['/b/.config'] }),
  ];
  const { config } = load(
    sample({
      destinations: { nas: { type: 's3', bucket: 'b' } },
      state: '/nonexistent/s',
      jobs: { site: job({ sources }) },
    }),
  );
  expect(config.jobs.site?.sources.map((source) => source.name)).toEqual([
    'files',
    'www',
    'www-3',
    'www-2',
    'mein-Ordner',
    'config',
  ]);
});

describe('refused', () => {
  const destination = (parts: Record<string, unknown>) =>
    sample({ destinations: { nas: { type: 'local', path: '/n', ...parts } } });
  const s3 = (parts: Record<string, unknown>) =>
    sample({ destinations: { nas: { type: 's3', bucket: 'b', ...parts } } });
  const gdrive = (parts: Record<string, unknown>) =>
    sample({ destinations: { nas: { type: 'gdrive', credentials: ref('file:/c'), ...parts } } });
  const dropbox = (parts: Record<string, unknown>) =>
    sample({ destinations: { nas: { type: 'dropbox', path: '/b', appKey: 'k', ...parts } } });
  const site = (parts: Record<string, unknown>) => sample({ jobs: { site: job(parts) } });
  const source = (parts: Record<string, unknown>) => site({ sources: [files(parts)] });
  const hook = (parts: Record<string, unknown>) =>
    sample({ notify: { hook: { type: 'webhook', url: ref('env:U'), ...parts } } });

  test.each<[string, unknown, string]>([
    ['a list', [], 'expected a set of keys, found a list'],
    ['text', 'hello', 'expected a set of keys, found text'],
    [
      'no destinations key',
      sample({ destinations: undefined }),
      'destinations: expected destinations by name, found nothing',
    ],
    ['no destinations', sample({ destinations: {} }), 'destinations: expected at least one destination'],
    ['no jobs key', sample({ jobs: undefined }), 'jobs: expected jobs by name, found nothing'],
    ['no jobs', sample({ jobs: {} }), 'jobs: expected at least one job'],
    ['an unknown key', sample({ spol: {} }), "spol: unknown key 'spol'; did you mean 'spool'?"],
    ['an unknown key far from any', destination({ colour: 1 }), "destinations.nas.colour: unknown key 'colour'"],
    [
      'an unknown key of a union',
      source({ exlude: [] }),
      "jobs.site.sources[0].exlude: unknown key 'exlude'; did you mean 'exclude'?",
    ],
    ['a key of another type', destination({ bucket: 'b' }), "destinations.nas.bucket: unknown key 'bucket'"],
    [
      'a Google Drive without credentials',
      gdrive({ credentials: undefined }),
      'destinations.nas.credentials: expected',
    ],
    ['a scope that there is not', gdrive({ scope: 'all' }), 'destinations.nas.scope: expected'],
    ['an endpoint that is no URL', gdrive({ endpoint: 'ftp://h' }), 'destinations.nas.endpoint: expected an http://'],
    [
      'an endpoint with credentials',
      dropbox({ endpoint: 'https://u:p@h' }),
      'destinations.nas.endpoint: must not hold credentials',
    ],
    ['a relative Dropbox path', dropbox({ path: 'b' }), 'destinations.nas.path: expected a folder such as /backups'],
    ['a Dropbox path that leads up', dropbox({ path: '/a/../b' }), 'destinations.nas.path: expected a folder such as'],
    ['a namespace that is none', dropbox({ namespace: 'x' }), 'destinations.nas.namespace: expected home, team or'],
    ['an unknown type', destination({ type: 's4' }), "destinations.nas.type: unknown type 's4'; available: local, s3"],
    ['no type', destination({ type: undefined }), 'destinations.nas.type: expected a type (local, s3'],
    [
      'no type',
      destination({ type: undefined }),
      'destinations.nas.type: expected a type (local, s3, gdrive, dropbox, sftp, ftp), found nothing',
    ],
    [
      'a relative path',
      destination({ path: 'backups' }),
      'destinations.nas.path: expected an absolute path (/srv/www, ~/documents), found the relative "backups"',
    ],
    [
      'a relative source',
      source({ paths: ['./x'] }),
      'jobs.site.sources[0].paths[0]: expected an absolute path (/srv/www, ~/documents), found the relative "./x"',
    ],
    [
      'a path with ..',
      source({ paths: ['/srv/../etc'] }),
      'jobs.site.sources[0].paths[0]: expected a path without `..`, found "/srv/../etc"',
    ],
    ['a NUL', source({ paths: ['/srv\0'] }), 'jobs.site.sources[0].paths[0]: a path must not hold a NUL'],
    [
      'another user’s home',
      source({ paths: ['~bob/x'] }),
      'jobs.site.sources[0].paths[0]: expected an absolute path (/srv/www, ~/documents), found the relative "~bob/x"',
    ],
    [
      'a reference in a path',
      source({ paths: [ref('env:X')] }),
      `jobs.site.sources[0].paths[0]: references such as ${ref('env:...')} are not possible in paths; write the path itself`,
    ],
    [
      'paths as text',
      source({ paths: '/srv' }),
      'jobs.site.sources[0].paths: expected a list of absolute paths, such as [/srv/www]',
    ],
    ['no paths', source({ paths: [] }), 'jobs.site.sources[0].paths: expected at least one path'],
    [
      'a bad detect',
      source({ detect: ['mtim'] }),
      `jobs.site.sources[0].detect[0]: expected 'size', 'mtime', 'ctime' or 'inode', found "mtim"; did you mean 'mtime'?`,
    ],
    [
      'a bad source name',
      source({ name: 'a/b' }),
      'jobs.site.sources[0].name: expected letters, digits, `.`, `_` and `-`',
    ],
    [
      'a source named ..',
      source({ name: '..' }),
      'jobs.site.sources[0].name: expected letters, digits, `.`, `_` and `-`',
    ],
    [
      'an unclosed pattern',
      source({ exclude: ['{a'] }),
      'jobs.site.sources[0].exclude[0]: the pattern "{a" can\'t be understood',
    ],
    [
      'a host with a blank',
      sample({ host: 'web 1' }),
      'host: expected a name: letters, digits, `.`, `_` and `-`, at most 64, the first a letter or digit',
    ],
    [
      'a host as number',
      sample({ host: 12 }),
      'host: expected a name: letters, digits, `.`, `_` and `-`, at most 64, the first a letter or digit, found 12',
    ],
    [
      'a job named badly',
      sample({ jobs: { '-x': job() } }),
      'jobs.-x: expected a name: letters, digits, `.`, `_` and `-`, at most 64, the first a letter or digit',
    ],
    [
      'a duration without a unit',
      destination({ giveUpAfter: 5 }),
      'destinations.nas.giveUpAfter: expected a duration such as 90s, 5m, 1h30m or 30d, found 5',
    ],
    [
      'a bad duration',
      destination({ giveUpAfter: '5 minutes' }),
      'destinations.nas.giveUpAfter: expected a duration such as 90s, 5m, 1h30m or 30d, found "5 minutes"',
    ],
    [
      'a bad rate',
      destination({ bandwidth: '10Mb/s' }),
      'destinations.nas.bandwidth: expected a rate such as 10MB/s, found "10Mb/s"',
    ],
    [
      'no rate',
      destination({ bandwidth: '0B/s' }),
      'destinations.nas.bandwidth: expected more than 0B/s; leave `bandwidth` out for no limit',
    ],
    [
      'a bad time of day',
      destination({ bandwidth: [{ from: '8:00', rate: '1MB/s' }] }),
      'destinations.nas.bandwidth[0].from: expected a time of day such as 08:00',
    ],
    [
      'an empty table of rates',
      destination({ bandwidth: [] }),
      'destinations.nas.bandwidth: expected at least one entry; leave `bandwidth` out for no limit',
    ],
    [
      'an unknown time zone',
      destination({ timezone: 'Europe/Berlni' }),
      'destinations.nas.timezone: unknown time zone "Europe/Berlni"; did you mean Europe/Berlin?',
    ],
    [
      'a KMS key without KMS',
      s3({ sseKmsKeyId: 'alias/backup', sse: 'AES256' }),
      'destinations.nas.sseKmsKeyId: needs `sse: aws:kms`',
    ],
    [
      'a bad size',
      sample({ spool: { max: '20 gigs' } }),
      'spool.max: expected a size such as 20GB or 512MiB, found "20 gigs"',
    ],
    [
      'text as boolean',
      s3({ forcePathStyle: 'yes' }),
      'destinations.nas.forcePathStyle: expected true or false, found text',
    ],
    [
      'half a key pair',
      s3({ accessKeyId: ref('env:A') }),
      'destinations.nas: expected `accessKeyId` and `secretAccessKey` together',
    ],
    [
      'a token alone',
      s3({ sessionToken: ref('env:A') }),
      'destinations.nas: `sessionToken` needs `accessKeyId` and `secretAccessKey`',
    ],
    [
      'a bucket with a folder',
      s3({ bucket: 'b/c' }),
      'destinations.nas.bucket: expected a bucket’s name without `/`; a folder goes to `prefix`',
    ],
    [
      'a prefix with ..',
      s3({ prefix: 'a/../b' }),
      'destinations.nas.prefix: expected a prefix such as backups/web-1, without empty parts, `.` or `..`',
    ],
    [
      'an endpoint without scheme',
      s3({ endpoint: 'localhost:9000' }),
      'destinations.nas.endpoint: expected an http:// or https:// URL',
    ],
    [
      'an endpoint with a password',
      s3({ endpoint: 'https://u:p@h' }),
      'destinations.nas.endpoint: must not hold credentials; they go to `accessKeyId` and `secretAccessKey`',
    ],
    [
      'a bad reference',
      sample({ encryption: { passphrase: ref('evn:X') } }),
      'encryption.passphrase: unknown reference',
    ],
    ['an empty passphrase', sample({ encryption: { passphrase: '' } }), 'encryption.passphrase: must not be empty'],
    ['no passphrase', sample({ encryption: {} }), 'encryption: expected `passphrase`, or `publicKey`'],
    [
      'a numeric passphrase',
      sample({ encryption: { passphrase: 1234 } }),
      'encryption.passphrase: expected text, found 1234; put it in quotes',
    ],
    ['a bad webhook URL', hook({ url: 'example.com' }), 'notify.hook.url: expected an http:// or https:// URL'],
    [
      'a bad event',
      hook({ on: ['sucess'] }),
      `notify.hook.on[0]: expected 'success', 'failure', 'warning', 'recovery', 'start', 'missed', 'anomaly', 'drill', 'damage', 'auth' or 'digest', found "sucess"; did you mean 'success'?`,
    ],
    ['a header with a line break', hook({ headers: { A: 'x\r\nB: y' } }), 'notify.hook.headers.A: must be one line'],
    [
      'a bad header name',
      hook({ headers: { 'A B': 'x' } }),
      'notify.hook.headers["A B"]: expected the name of an HTTP header',
    ],
    ['no sources', site({ sources: [] }), 'jobs.site.sources: expected at least one source'],
    [
      'no destinations of a job',
      site({ destinations: [] }),
      'jobs.site.destinations: expected at least one name of a destination',
    ],
    [
      'minimumDestinations 0',
      site({ minimumDestinations: 0 }),
      'jobs.site.minimumDestinations: expected at least 1, found 0',
    ],
    [
      'a bad mode',
      site({ mode: 'incremantal' }),
      `jobs.site.mode: expected 'incremental', 'differential' or 'full', found "incremantal"; did you mean 'incremental'?`,
    ],
    [
      'a bad level',
      site({ compression: { type: 'zstd', level: 99 } }),
      'jobs.site.compression.level: expected at most 19, found 99',
    ],
    [
      'a level for none',
      site({ compression: { type: 'none', level: 1 } }),
      "jobs.site.compression.level: unknown key 'level'",
    ],
    [
      'an empty retention',
      site({ retention: {} }),
      'jobs.site.retention: keeps nothing; expected at least one rule above 0, or no `retention` at all to keep everything',
    ],
    [
      'a retention of nothing',
      site({ retention: { keepLast: 0 } }),
      'jobs.site.retention: keeps nothing; expected at least one rule above 0, or no `retention` at all to keep everything',
    ],
    [
      'a negative rule',
      site({ retention: { keepLast: -1 } }),
      'jobs.site.retention.keepLast: expected at least 0, found -1',
    ],
    [
      'a broken rule',
      site({ retention: { keepLast: 1.5 } }),
      'jobs.site.retention.keepLast: expected a whole number, found 1.5',
    ],
    [
      'cron and every',
      site({ schedule: { cron: '0 3 * * *', every: '6h' } }),
      'jobs.site.schedule: expected either `cron` or `every`, found both',
    ],
    ['an empty schedule', site({ schedule: {} }), 'jobs.site.schedule: expected `cron` or `every`'],
    [
      'a schedule as text',
      site({ schedule: '0 3 * * *' }),
      'jobs.site.schedule: expected { cron: "0 3 * * *" } or { every: 6h }, found text',
    ],
    [
      'a bad cron',
      site({ schedule: { cron: '0 25 * * *' } }),
      'jobs.site.schedule.cron: the hour "25" is not valid (0-23, *, lists, ranges, /steps)',
    ],
    [
      'a bad zone',
      site({ schedule: { cron: '@daily', timezone: 'Europe/Berln' } }),
      'jobs.site.schedule.timezone: unknown time zone "Europe/Berln"; did you mean Europe/Berlin?',
    ],
    [
      'a zone in the wrong case',
      site({ schedule: { cron: '@daily', timezone: 'europe/berlin' } }),
      'jobs.site.schedule.timezone: unknown time zone "europe/berlin"; did you mean Europe/Berlin?',
    ],
    [
      'an offset as zone',
      site({ schedule: { cron: '@daily', timezone: '+01:00' } }),
      'jobs.site.schedule.timezone: unknown time zone "+01:00"; expected one such as Europe/Berlin or UTC',
    ],
    [
      'two zones',
      site({ schedule: { cron: 'CRON_TZ=UTC @daily', timezone: 'UTC' } }),
      'jobs.site.schedule.timezone: the cron expression names a time zone already (CRON_TZ)',
    ],
    [
      'every with a zone',
      site({ schedule: { every: '6h', timezone: 'UTC' } }),
      "jobs.site.schedule.timezone: 'timezone' does not go with the other keys here",
    ],
    [
      'a schedule with a slip',
      site({ schedule: { cron: '@daily', jiter: '5m' } }),
      "jobs.site.schedule.jiter: unknown key 'jiter'; did you mean 'jitter'?",
    ],
    ['too often', site({ schedule: { every: '10ms' } }), 'jobs.site.schedule.every: expected at least 1s'],
    [
      'two ways to Temporal',
      sample({ temporal: { profile: 'a', address: 'b:1' } }),
      'temporal: expected either `profile` or `address`, found both',
    ],
    [
      'TLS for the embedded server',
      sample({ temporal: { tls: true } }),
      'temporal.tls: needs `address` or `profile`; the embedded server has none',
    ],
    [
      'a Web UI elsewhere',
      sample({ temporal: { address: 'h:1', ui: 8080 } }),
      'temporal.ui: is for the embedded server only; leave it out with `address` or `profile`',
    ],
    [
      'bad TLS',
      sample({ temporal: { address: 'h:1', tls: 3 } }),
      'temporal.tls: expected true, false or a set of keys, found 3',
    ],
    [
      'half a client certificate',
      sample({ temporal: { address: 'h:1', tls: { certFile: '/c' } } }),
      'temporal.tls: expected `certFile` and `keyFile` together',
    ],
    [
      'a slip in TLS',
      sample({ temporal: { address: 'h:1', tls: { certfile: '/c' } } }),
      "temporal.tls.certfile: unknown key 'certfile'; did you mean 'certFile'?",
    ],
  ])('%s', (_, data, expected) => {
    const problems = problemsOf(data);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(expected);
  });
});

describe('accepted', () => {
  test.each<[string, unknown]>([
    ['$schema', sample({ $schema: './holdfast.schema.json' })],
    ['the embedded server’s port', sample({ temporal: { ui: 8080 } })],
    ['a profile', sample({ temporal: { profile: 'default', namespace: 'x' } })],
    ['mTLS', sample({ temporal: { address: 'h:1', tls: { certFile: '/c', keyFile: '/k', serverName: 'x' } } })],
    ['an API key', sample({ temporal: { address: 'h:1', tls: true, apiKey: ref('env:K') } })],
    [
      'references in S3',
      sample({ destinations: { nas: { type: 's3', bucket: ref('env:B'), endpoint: ref('env:E'), prefix: '/a/b/' } } }),
    ],
    ['no compression', sample({ jobs: { site: job({ compression: { type: 'none' } }) } })],
  ])('%s', (_, data) => expect(problemsOf(data)).toEqual([]));

  test('prefixes lose their outer slashes', () => {
    const { config } = load(sample({ destinations: { nas: { type: 's3', bucket: 'b', prefix: '/a/b/' } } }));
    expect(config.destinations.nas).toMatchObject({ prefix: 'a/b' });
  });
});

describe('the JSON Schema', () => {
  const nodes: [path: string, schema: JsonSchema][] = [];
  const walk = (path: string, schema: JsonSchema) => {
    nodes.push([path, schema]);
    for (const [key, child] of Object.entries(schema.properties ?? {})) walk(`${path}.${key}`, child);
    for (const child of [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])]) walk(`${path}|`, child);
    if (typeof schema.additionalProperties === 'object') walk(`${path}.*`, schema.additionalProperties);
  };
  walk('', configJsonSchema());

  test('has a title, a dialect and a description for every key', () => {
    expect(configJsonSchema()).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'Holdfast configuration',
    });
    const bare = nodes
      .filter(([path, { description }]) => /\.[\w$]+$/.test(path) && description === undefined)
      .map(([path]) => path);
    expect(bare).toEqual([]);
    expect(nodes.length).toBeGreaterThan(80);
  });

  test('refuses unknown keys everywhere', () => {
    for (const [path, schema] of nodes)
      if (schema.properties !== undefined) expect([path, schema.additionalProperties]).toEqual([path, false]);
  });

  test('says what a file would say: defaults as text, no machine’s own values', () => {
    const byPath = new Map(nodes);
    expect(byPath.get('.destinations.*|.giveUpAfter')?.default).toBe('5m');
    expect(byPath.get('.spool.max')?.default).toBe('20GB');
    expect(byPath.get('.host')?.default).toBeUndefined();
    expect(JSON.stringify(configJsonSchema())).not.toContain(homedir());
  });

  test('marks exactly the sensitive keys', () => {
    for (const [path, { writeOnly, type }] of nodes) {
      if (type !== 'string') continue;
      expect([path, isSensitive(path.replaceAll('|', '').split('.'))]).toEqual([path, writeOnly === true]);
    }
  });
});

describe('archive jobs', () => {
  const archive = { format: 'archive', archive: { type: 'tar.gz' } } as const;
  const site = (parts: Record<string, unknown>) => sample({ jobs: { site: job(parts) } });

  test('are full unless they say otherwise, and have no compression', () => {
    expect(load(site(archive)).config.jobs.site).toMatchObject({ ...archive, mode: 'full' });
    expect(load(site(archive)).config.jobs.site).not.toHaveProperty('compression');
  });

  test.each([
    [{ ...archive, mode: 'incremental' }, /jobs\.site\.mode: must be full or differential with `format: archive`/],
    [{ ...archive, compression: { type: 'gzip' } }, /jobs\.site\.compression: is for repositories/],
    [{ ...archive, renewEvery: '30d' }, /jobs\.site\.renewEvery: needs `mode: differential`/],
    [{ ...archive, drill: { every: '7d' } }, /jobs\.site\.drill: is for repositories/],
    [{ archive: { type: 'zip' } }, /jobs\.site\.archive: needs `format: archive`/],
    [{ format: 'archive' }, /jobs\.site\.archive: is missing/],
    [{ ...archive, archive: { type: 'zip', name: '../x' } }, /jobs\.site\.archive\.name: expected letters, digits/],
    [{ ...archive, archive: { type: 'tar.gz', password: 'x' } }, /jobs\.site\.archive\.password: is for zip/],
    [{ ...archive, archive: { type: 'zip' } }, /a zip file is encrypted with a password of its own, which is missing/],
    [
      { ...archive, archive: { type: 'zip', password: 'x', encrypted: false } },
      /makes no sense with `encrypted: false`/,
    ],
    [
      { ...archive, sources: [files({ paths: ['/srv'] }), files({ name: 'two', paths: ['/srv/www'] })] },
      /sources\[1\]\.paths: \/srv\/www overlaps with \/srv of another source/,
    ],
  ])('%j is refused', (job, message) => {
    expect(() => load(site(job))).toThrow(message);
  });
});
