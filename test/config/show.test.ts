import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/load.js';
import { configForShow, showConfig } from '../../src/config/show.js';
import { job, load, ref, sample } from './helpers.js';

const full = sample({
  temporal: { address: 'h:1', tls: { serverName: 'x' }, apiKey: ref('env:K') },
  destinations: {
    nas: { type: 'local', path: '/nonexistent/nas', bandwidth: '10MB/s' },
    s3: { type: 's3', bucket: 'b', prefix: 'p/q', accessKeyId: ref('env:A'), secretAccessKey: ref('env:S') },
  },
  notify: { hook: { type: 'webhook', url: ref('env:U'), headers: { 'X-Team': ref('env:T') } } },
  jobs: {
    site: job({
      destinations: ['nas', 's3'],
      schedule: { cron: '0 3 * * *', jitter: '90s' },
      retention: { keepWithin: '30d' },
      notify: ['hook'],
    }),
    more: job({ schedule: { every: '6h' }, compression: { type: 'none' } }),
  },
});

test('defaults filled in, as it would be written', () => {
  expect(configForShow(load(sample()).config)).toEqual({
    host: 'web-1',
    state: '/nonexistent/state',
    spool: { path: '/nonexistent/state/spool', max: '20GB' },
    encryption: { passphrase: ref('env:HOLDFAST_TEST') },
    destinations: { nas: { type: 'local', path: '/nonexistent/nas', presence: 'required', giveUpAfter: '5m' } },
    notify: {},
    log: { level: 'info', path: '/nonexistent/state/logs', rotate: { size: '10MB', count: 5 }, format: 'auto' },
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
      },
    },
  });
});

describe.each(['yaml', 'json'] as const)('%s', (format) => {
  test('loads to the same config again', () => {
    const { config, hash } = load(full);
    const again = parseConfig(showConfig(config, format), 'shown');
    expect(again.config).toEqual(config);
    expect(again.hash).toBe(hash);
  });

  test('holds no literal secret', () => {
    const { config } = load(sample({ encryption: { passphrase: 'correct horse' } }));
    const text = showConfig(config, format);
    expect(text).not.toContain('horse');
    expect(parse(text)).toMatchObject({ encryption: { passphrase: '***' } });
  });
});
