import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { automaticExcludes } from '../../src/config/overlaps.js';
import { compilePatterns } from '../../src/sources/files/patterns.js';
import { files, job, load, problemsOf, ref, sample, tempFolder, warningCodes } from './helpers.js';

const local = (path: string, parts = {}) => ({ type: 'local', path, ...parts });
const source = (...paths: string[]) => job({ sources: [files({ paths })] });

test('a good config has no warnings', () => expect(warningCodes(sample())).toEqual([]));

describe('names', () => {
  test('of destinations', () => {
    expect(problemsOf(sample({ jobs: { site: job({ destinations: ['nas', 'nsa', 'zzz'] }) } }))).toEqual([
      'jobs.site.destinations[1]: there is no destination "nsa"; did you mean \'nas\'?',
      'jobs.site.destinations[2]: there is no destination "zzz"',
    ]);
  });

  test('of notifiers', () => {
    expect(problemsOf(sample({ jobs: { site: job({ notify: ['ops'] }) } }))).toEqual([
      'jobs.site.notify[0]: there is no notifier "ops"',
    ]);
  });

  test('that every object has', () => {
    expect(problemsOf(sample({ jobs: { site: job({ destinations: ['constructor'] }) } }))).toEqual([
      'jobs.site.destinations[0]: there is no destination "constructor"',
    ]);
  });

  test('twice', () => {
    expect(problemsOf(sample({ jobs: { site: job({ destinations: ['nas', 'nas'] }) } }))).toEqual([
      "jobs.site.destinations[1]: 'nas' is named twice",
    ]);
    expect(
      problemsOf(
        sample({ jobs: { site: job({ sources: [files({ name: 'a' }), files({ name: 'a', paths: ['/b'] })] }) } }),
      ),
    ).toEqual(["jobs.site.sources[1].name: the name 'a' is sources[0]’s already"]);
  });

  test('of jobs that differ by case', () => {
    expect(problemsOf(sample({ jobs: { Site: job(), site: job() } }))[0]).toContain(
      "differs from the job 'Site' only by case",
    );
  });

  test('unused', () => {
    const data = sample({
      destinations: { nas: local('/nonexistent/nas'), b: { type: 's3', bucket: 'b' } },
      notify: { hook: { type: 'webhook', url: ref('env:U') } },
    });
    expect(load(data).warnings).toEqual([
      { code: 'DestinationUnused', message: 'no job stores here', path: 'destinations.b' },
      { code: 'NotifyUnused', message: 'no job notifies this one', path: 'notify.hook' },
    ]);
  });
});

test('minimumDestinations', () => {
  expect(problemsOf(sample({ jobs: { site: job({ minimumDestinations: 2 }) } }))).toEqual([
    'jobs.site.minimumDestinations: expected at most 1, the number of this job’s destinations, found 2',
  ]);
});

describe('a destination and a source', () => {
  const data = (destination: string, path: string, parts = {}) =>
    sample({
      destinations: { nas: local(destination) },
      jobs: { site: job({ sources: [files({ paths: [path], ...parts })] }) },
    });

  test('the destination inside', () => {
    expect(problemsOf(data('/srv/backups', '/srv'))).toEqual([
      "jobs.site.sources[0].paths[0]: the destination 'nas' (/srv/backups) is inside this path: every run would back up the backups",
    ]);
    expect(problemsOf(data('/srv/backups', '/'))).toHaveLength(1);
    expect(problemsOf(data('/srv', '/srv'))).toHaveLength(1);
  });

  test.each([['backups/'], ['backups'], ['/backups'], ['/srv/backups'], ['back*'], ['*']])(
    'left out by %s',
    (pattern) => {
      const { warnings } = load(data('/srv/backups', '/srv', { exclude: [pattern] }));
      expect(warnings.map(({ code }) => code)).toEqual(['DestinationExcluded']);
    },
  );

  test.each([['backup'], ['/x/backups'], ['*.tmp'], ['/srv/other/']])('not left out by %s', (pattern) => {
    expect(problemsOf(data('/srv/backups', '/srv', { exclude: [pattern] }))).toHaveLength(1);
  });

  test('a folder above the destination left out', () => {
    expect(warningCodes(data('/srv/a/b/backups', '/srv', { exclude: ['a/'] }))).toEqual(['DestinationExcluded']);
  });

  test('the source inside', () => {
    expect(problemsOf(data('/srv', '/srv/www'))).toEqual([
      "jobs.site.sources[0].paths[0]: is inside the destination 'nas' (/srv): every run would back up the backups",
    ]);
  });

  test('names that only begin alike are apart', () => {
    expect(problemsOf(data('/srv/www-backups', '/srv/www'))).toEqual([]);
    expect(problemsOf(data('/srv/..backups', '/srv/www'))).toEqual([]);
  });

  test('another job’s destination is worth a warning', () => {
    const two = sample({
      destinations: { nas: local('/nonexistent/nas'), other: local('/srv/backups') },
      jobs: { site: source('/srv'), more: job({ destinations: ['other'] }) },
    });
    expect(warningCodes(two)).toEqual(['DestinationInSource']);
  });

  test('through a symbolic link', () => {
    const folder = tempFolder();
    mkdirSync(join(folder, 'data/backups'), { recursive: true });
    symlinkSync(join(folder, 'data'), join(folder, 'link'));
    expect(problemsOf(data(join(folder, 'link/backups/deeper'), join(folder, 'data')))).toHaveLength(1);
  });
});

describe('state and spool', () => {
  test('inside a source are left out', () => {
    expect(load(sample({ state: '/srv/state', jobs: { site: source('/srv') } })).warnings).toEqual([
      {
        code: 'StateExcluded',
        message: 'the state folder /srv/state is inside; it is left out',
        path: 'jobs.site.sources[0].paths[0]',
      },
    ]);
    expect(warningCodes(sample({ spool: { path: '/srv/spool' }, jobs: { site: source('/srv') } }))).toEqual([
      'StateExcluded',
    ]);
  });

  test.each([
    ['/srv', '/srv/hf/state'],
    ['/', '/srv/hf/state'],
    ['/srv/[a] {b}', '/srv/[a] {b}/c [d] *!'],
  ])('in %s: %s is excluded exactly', (root, state) => {
    const patterns = automaticExcludes({ state, spool: { path: `${state}/spool`, max: 1 } }, [root]);
    const matcher = compilePatterns(patterns, root, [root]);
    const last = state.split('/').at(-1) ?? '';
    expect(matcher.matches(state, last, true)).toBe(true);
    expect(matcher.matches(`${state}/spool`, 'spool', true)).toBe(true);
    expect(matcher.matches(`${state}x`, `${last}x`, true)).toBe(false);
    expect(matcher.matches(state.replace('/srv', '/srv/srv'), last, true)).toBe(false);
    expect(automaticExcludes({ state, spool: { path: '/x', max: 1 } }, ['/elsewhere'])).toEqual([]);
  });

  test('around a source', () => {
    expect(problemsOf(sample({ state: '/srv', jobs: { site: source('/srv/www') } }))).toEqual([
      'jobs.site.sources[0].paths[0]: is inside the state folder /srv, which is never backed up',
    ]);
  });

  test('around a destination, and in one', () => {
    expect(problemsOf(sample({ state: '/nonexistent' }))[0]).toContain(
      'destinations.nas.path: is inside the state folder',
    );
    expect(warningCodes(sample({ state: '/nonexistent/nas/state' }))).toEqual([
      'StateInDestination',
      'StateInDestination',
    ]);
  });

  test('a small spool', () => {
    expect(warningCodes(sample({ spool: { max: '999MB' } }))).toEqual(['SpoolSmall']);
    expect(warningCodes(sample({ spool: { max: '1GB' } }))).toEqual([]);
  });
});

describe('two destinations', () => {
  const two = (a: unknown, b: unknown, destinations = ['a', 'b']) =>
    sample({ destinations: { a, b }, jobs: { site: job({ destinations }) } });
  const s3 = (parts = {}) => ({ type: 's3', bucket: 'x', ...parts });

  test('at the same place, for one job', () => {
    const expected = [
      "destinations.b: is the same place as 'a', and the job 'site' stores to both: they would be one repository",
    ];
    expect(problemsOf(two(local('/n/a'), local('/n/a/')))).toEqual(expected);
    expect(problemsOf(two(s3({ prefix: 'p', region: 'r' }), s3({ prefix: '/p/' })))).toEqual(expected);
    expect(problemsOf(two(s3({ endpoint: 'https://h' }), s3({ endpoint: 'https://H/' })))).toEqual(expected);
  });

  test('at the same place of a service that people log in to', () => {
    const expected = [
      "destinations.b: is the same place as 'a', and the job 'site' stores to both: they would be one repository",
    ];
    const drive = (parts = {}) => ({ type: 'gdrive', credentials: '$' + '{file:/c}', ...parts });
    const box = (parts = {}) => ({ type: 'dropbox', path: '/b', appKey: 'k', ...parts });
    expect(problemsOf(two(drive(), drive({ scope: 'drive' })))).toEqual(expected);
    expect(problemsOf(two(drive({ folderId: 'x' }), drive({ folderId: 'x', credentials: '$' + '{file:/d}' })))).toEqual(
      expected,
    );
    expect(problemsOf(two(box(), box({ path: '/B/' })))).toEqual(expected);
    expect(warningCodes(two(drive(), drive({ folderId: 'x' })))).toEqual([]);
    expect(warningCodes(two(box(), box({ path: '/bc' })))).toEqual([]);
    expect(warningCodes(two(box(), box({ appKey: 'other' })))).toEqual([]);
    for (const path of ['/', '/b/c']) expect(warningCodes(two(box(), box({ path })))).toEqual(['DestinationsNested']);
  });

  test('at the same place, for different jobs', () => {
    const data = sample({
      destinations: { a: local('/n/a'), b: local('/n/a') },
      jobs: { x: job({ destinations: ['a'] }), y: job({ destinations: ['b'] }) },
    });
    expect(warningCodes(data)).toEqual(['DestinationsSame']);
  });

  test('the same through a symbolic link', () => {
    const folder = tempFolder();
    mkdirSync(join(folder, 'real'));
    symlinkSync(join(folder, 'real'), join(folder, 'link'));
    expect(problemsOf(two(local(join(folder, 'real/x')), local(join(folder, 'link/x'))))).toHaveLength(1);
  });

  test('one inside the other', () => {
    expect(warningCodes(two(local('/n/a'), local('/n/a/b')))).toEqual(['DestinationsNested']);
    expect(warningCodes(two(s3(), s3({ prefix: 'p' })))).toEqual(['DestinationsNested']);
  });

  test('apart', () => {
    expect(warningCodes(two(local('/n/a'), local('/n/ab')))).toEqual([]);
    expect(warningCodes(two(s3({ prefix: 'p' }), s3({ prefix: 'pq' })))).toEqual([]);
    expect(warningCodes(two(s3({ endpoint: 'https://h' }), s3()))).toEqual([]);
    expect(warningCodes(two(s3(), local('/n/a')))).toEqual([]);
  });
});

test('a mount point that is not above the path', () => {
  expect(problemsOf(sample({ destinations: { nas: local('/mnt/nas/b', { mountPoint: '/mnt/other' }) } }))).toEqual([
    'destinations.nas.mountPoint: expected `path` itself or a folder above it (/mnt/nas/b)',
  ]);
  expect(problemsOf(sample({ destinations: { nas: local('/mnt/nas/b', { mountPoint: '/mnt/nas' }) } }))).toEqual([]);
});

describe('secrets', () => {
  test('no encryption', () => {
    const { warnings } = load(sample({ encryption: undefined }));
    expect(warnings).toEqual([{ code: 'Unencrypted', message: expect.stringContaining('in the clear') }]);
  });

  test('plain ones', () => {
    const data = sample({
      encryption: { passphrase: 'correct horse' },
      destinations: {
        nas: { type: 's3', bucket: 'b', accessKeyId: 'AKIA', secretAccessKey: 'abcd', sessionToken: 'efgh' },
      },
      notify: {
        hook: {
          type: 'webhook',
          url: 'https://h/x',
          secret: 's3cr',
          headers: { Authorization: 'Bearer t', 'X-Team': 'ops' },
        },
      },
      temporal: { address: 'h:1', apiKey: 'kkkk' },
      jobs: { site: job({ notify: ['hook'] }) },
    });
    const { warnings } = load(data);
    expect(warnings.map(({ code, path }) => `${code} ${path}`)).toEqual([
      'PlainSecret temporal.apiKey',
      'PlainSecret encryption.passphrase',
      'PlainSecret destinations.nas.secretAccessKey',
      'PlainSecret destinations.nas.sessionToken',
      'PlainSecret notify.hook.url',
      'PlainSecret notify.hook.secret',
      'PlainSecret notify.hook.headers.Authorization',
    ]);
    expect(JSON.stringify(warnings)).not.toMatch(/horse|AKIA|abcd|efgh|s3cr|Bearer|kkkk/);
  });

  test('masked ones are no secrets', () => {
    expect(problemsOf(sample({ encryption: { passphrase: '***' } }))[0]).toContain(
      'encryption.passphrase: is *** here',
    );
    expect(problemsOf(sample({ encryption: { passphrase: `***${ref('env:X')}` } }))).toHaveLength(1);
  });
});

describe('schedules', () => {
  const schedule = (value: unknown) => sample({ jobs: { site: job({ schedule: value }) } });

  test('a jitter as long as the interval', () => {
    expect(warningCodes(schedule({ every: '1h', jitter: '1h' }))).toEqual(['JitterLong']);
    expect(warningCodes(schedule({ every: '1h', jitter: '59m' }))).toEqual([]);
    expect(warningCodes(schedule({ cron: '*/10 * * * *', jitter: '10m' }))).toEqual(['JitterLong']);
    expect(warningCodes(schedule({ cron: '0 3 * * *', jitter: '2h' }))).toEqual([]);
  });

  test('both kinds of days', () => {
    expect(warningCodes(schedule({ cron: '0 3 1 * mon' }))).toEqual(['CronDays']);
  });
});

test('a path twice', () => {
  expect(warningCodes(sample({ jobs: { site: source('/a', '/b', '/a/') } }))).toEqual(['PathTwice']);
  expect(
    warningCodes(sample({ jobs: { site: job({ sources: [files({ paths: ['/a'] }), files({ paths: ['/a'] })] }) } })),
  ).toEqual(['PathTwice']);
});

test('S3 that is hard to restore from, or open to others', () => {
  const s3 = (parts: object) => sample({ destinations: { nas: { type: 's3', bucket: 'b', ...parts } } });
  expect(warningCodes(s3({ storageClass: 'DEEP_ARCHIVE' }))).toEqual(['StorageClassArchived']);
  expect(warningCodes(s3({ storageClass: 'STANDARD_IA' }))).toEqual([]);
  expect(warningCodes(s3({ endpoint: 'http://nas:9000' }))).toEqual(['PlainHttp']);
  expect(warningCodes(s3({ endpoint: 'http://127.0.0.1:9000' }))).toEqual([]);
});
