import { spawnSync } from 'node:child_process';
import { appendFileSync, closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { secretRegistry } from '../../src/config/redact.js';
import type { Config } from '../../src/config/schema.js';
import { logFile, openLog } from '../../src/control/log.js';
import { LogFile, logFiles } from '../../src/control/log-file.js';
import { lineText, parseLine, syslogPriority } from '../../src/control/log-line.js';
import { followLogs, readLogs } from '../../src/control/logs.js';
import { logContext } from '../../src/log-context.js';
import { temporalLogger } from '../../src/worker/temporal-log.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-logs-'));
});
afterEach(() => {
  secretRegistry.clear();
  rmSync(folder, { recursive: true, force: true });
});

function config(log: Record<string, unknown> = {}): Config {
  const source = {
    host: 'web-1',
    state: join(folder, 'state'),
    destinations: { nas: { type: 'local', path: '/nonexistent/nas' } },
    jobs: Object.fromEntries(
      ['site', 'home'].map((job) => [
        job,
        { sources: [{ type: 'files', paths: ['/nonexistent/www'] }], destinations: ['nas'] },
      ]),
    ),
    log: { path: join(folder, 'logs'), ...log },
  };
  return parseConfig(JSON.stringify(source), 'test').config;
}
const lines = (file: string): string[] => readFileSync(file, 'utf8').trimEnd().split('\n');

describe('files', () => {
  test('are put aside when they are large, the oldest dropped, and no line is lost before', () => {
    const path = join(folder, 'x.log');
    const file = new LogFile(path, { size: 1000, count: 3 });
    for (let i = 0; i < 60; i++) file.write(`${String(i).padStart(3, '0')} ${'x'.repeat(95)}\n`);
    file.close();
    expect(logFiles(path)).toEqual([`${path}.3`, `${path}.2`, `${path}.1`, path]);
    for (const each of logFiles(path)) expect(statSync(each).size).toBeLessThanOrEqual(1000);
    const kept = logFiles(path)
      .flatMap(lines)
      .map((line) => Number(line.slice(0, 3)));
    expect(kept).toEqual(Array.from({ length: kept.length }, (_, at) => 60 - kept.length + at));
    expect(kept.length).toBeGreaterThan(30);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('may have several writers: each follows when another has put it aside', () => {
    const path = join(folder, 'x.log');
    const writers = [1, 2, 3].map(() => new LogFile(path, { size: 100_000, count: 50 }));
    for (let i = 0; i < 9000; i++) writers[i % 3]?.write(`${String(i).padStart(5, '0')} ${'x'.repeat(93)}\n`);
    for (const writer of writers) writer.close();
    const all = logFiles(path).flatMap(lines);
    expect(all).toHaveLength(9000);
    expect(new Set(all).size).toBe(9000);
    expect(logFiles(path).length).toBeGreaterThan(3);
  });

  test('a line longer than the limit is a file of its own', () => {
    const path = join(folder, 'x.log');
    const file = new LogFile(path, { size: 4096, count: 2 });
    file.write('short\n');
    file.write(`${'y'.repeat(10_000)}\n`);
    file.write('short\n');
    file.close();
    expect(logFiles(path).map((each) => statSync(each).size)).toEqual([6, 10_001, 6]);
  });
});

describe('lines', () => {
  test('are JSON with a level, a time, and the run they belong to; secrets are taken out', async () => {
    secretRegistry.add('PLANTED "secret"');
    const log = await openLog(config(), { stderr: 'silent' });
    const context = { run: 'backup/web-1/site/1', job: 'site', activity: 'upload', attempt: 2 };
    await logContext.run(context, async () => {
      await Promise.resolve();
      log.warn({ err: new Error('no PLANTED "secret" here') }, 'upload failed with PLANTED "secret"');
      log.info({ run: 'backup/web-1/home/2' }, 'about another');
    });
    log.debug('not at this level');
    log.info('outside');
    temporalLogger(log).error('Workflow failed', { workflowId: 'watch/web-1', namespace: 'default' });
    const entries = lines(logFile(config())).map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(entries.map(({ level, msg, run, job }) => [level, msg, run, job])).toEqual([
      ['warn', 'upload failed with ***', 'backup/web-1/site/1', 'site'],
      ['info', 'about another', 'backup/web-1/home/2', 'site'],
      ['info', 'outside', undefined, undefined],
      ['error', 'Workflow failed', 'watch/web-1', undefined],
    ]);
    expect(entries[0]).toMatchObject({ attempt: 2, pid: process.pid, time: expect.stringMatching(/^\d{4}-.*Z$/) });
    expect(JSON.stringify(entries)).not.toContain('PLANTED');
  });

  test('of the level that the config asks for', async () => {
    const log = await openLog(config({ level: 'warn' }), { stderr: 'silent' });
    log.info('no');
    log.warn('yes');
    expect(lines(logFile(config())).map((line) => parseLine(line)?.msg)).toEqual(['yes']);
  });

  test('for people', () => {
    const entry = {
      level: 'warn',
      time: '2026-11-22T03:00:00.000Z',
      msg: 'upload failed',
      run: 'r',
      ms: 5,
      err: { message: 'why' },
    };
    expect(lineText(entry)).toMatch(/^\d\d:\d\d:\d\d warning: upload failed: why \(run=r ms=5\)\n$/);
    expect(lineText(entry, { clock: false })).toBe('warning: upload failed: why (run=r ms=5)\n');
    expect(lineText(parseLine('{"level":30,"time":0,"msg":"old"}')!, { date: true })).toMatch(/^19(70|69)-.* old\n$/);
    expect(parseLine('{"level":"in')).toBeUndefined();
    expect(['debug', 'info', 'warn', 'error', 'fatal'].map(syslogPriority)).toEqual([7, 6, 4, 3, 3]);
  });
});

describe('on stderr', () => {
  const built = pathToFileURL(resolve(import.meta.dirname, '../../dist/control/log.js')).href;
  const script = `const { openLog } = await import(${JSON.stringify(built)});
    const log = await openLog(JSON.parse(process.argv[1]), { stderr: 'config' });
    log.warn({ run: 'r' }, 'careful'); log.debug('no');`;
  /** What a process prints whose stderr is a file, as it is for a service without a terminal. */
  function printed(
    log: Record<string, unknown>,
    env: (stderr: { dev: number; ino: number }) => NodeJS.ProcessEnv,
  ): string {
    const file = join(folder, 'stderr');
    const fd = openSync(file, 'w');
    try {
      const { status } = spawnSync(
        process.execPath,
        ['--input-type=module', '-e', script, JSON.stringify(config(log))],
        {
          stdio: ['ignore', 'ignore', fd],
          env: { ...process.env, ...env(fstatSync(fd)) },
        },
      );
      expect([status, readFileSync(file, 'utf8')]).toEqual([0, expect.any(String)]);
      return readFileSync(file, 'utf8');
    } finally {
      closeSync(fd);
    }
  }

  test('JSON lines where nobody looks', () => {
    expect(JSON.parse(printed({}, () => ({ JOURNAL_STREAM: '1:2' })))).toMatchObject({
      level: 'warn',
      msg: 'careful',
      run: 'r',
    });
  });

  test('text with its level in the journal, or JSON where it is asked for', () => {
    const journal = ({ dev, ino }: { dev: number; ino: number }) => ({ JOURNAL_STREAM: `${dev}:${ino}` });
    expect(printed({}, journal)).toBe('<4>warning: careful (run=r)\n');
    expect(printed({ format: 'json' }, journal)).toMatch(/^<4>\{"level":"warn".*\}\n$/);
    expect(printed({ format: 'pretty' }, () => ({}))).toMatch(/^\d\d:\d\d:\d\d warning: careful \(run=r\)\n$/);
  });
});

describe('asked for', () => {
  const line = (fields: Record<string, unknown>): string =>
    `${JSON.stringify({ level: 'info', time: '2026-11-22T03:00:00.000Z', ...fields })}\n`;
  beforeEach(async () => {
    await openLog(config(), { stderr: 'silent' });
    const path = logFile(config());
    appendFileSync(`${path}.1`, line({ msg: 'oldest', run: 'backup/web-1/site/1', job: 'site' }));
    appendFileSync(
      path,
      [
        line({ msg: 'scheduled', run: 'backup/web-1/site-2026-11-22T03:00:00Z' }),
        line({ msg: 'other', run: 'backup/web-1/home/1', job: 'home' }),
        'half a li\n',
        line({ msg: 'bad', level: 'error', run: 'deliver/web-1/site/nas', job: 'site' }),
        line({ msg: 'none' }),
      ].join(''),
    );
  });
  const messages = (query: Partial<Parameters<typeof readLogs>[1]>): string[] =>
    readLogs(config(), { level: 'debug', ...query }).map(({ msg }) => msg);

  test('all, a job, a run, a level, the last so many', () => {
    expect(messages({})).toEqual(['oldest', 'scheduled', 'other', 'bad', 'none']);
    expect(messages({ of: 'site' })).toEqual(['oldest', 'scheduled', 'bad']);
    expect(messages({ of: 'backup/web-1/home/1' })).toEqual(['other']);
    expect(messages({ level: 'warn' })).toEqual(['bad']);
    expect(messages({ limit: 2 })).toEqual(['bad', 'none']);
    expect(() => messages({ of: 'sit' })).toThrow(/did you mean 'site'/);
  });

  test('as it is written, also after the file was put aside', async () => {
    const stop = new AbortController();
    const got: string[] = [];
    const following = (async () => {
      for await (const { msg } of followLogs(config(), { level: 'info', of: 'site' }, stop.signal)) {
        got.push(msg);
        if (got.length === 2) stop.abort();
      }
    })();
    const file = new LogFile(logFile(config()), { size: 4096, count: 3 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    file.write(line({ msg: 'first', job: 'site' }));
    await new Promise((resolve) => setTimeout(resolve, 600));
    file.write(line({ msg: 'x'.repeat(5000), job: 'home' }));
    file.write(line({ msg: 'second', job: 'site' }));
    await following;
    file.close();
    expect(got).toEqual(['first', 'second']);
  });
});
