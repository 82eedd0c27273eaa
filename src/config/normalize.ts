import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { splitCron } from './cron.js';
import { defaultStateFolder } from './paths.js';
import type { Config, DrillConfig, JobConfig, ParsedConfig, ScheduleConfig, SourceConfig } from './schema.js';
import { machineTimezone } from './timezone.js';

/** Fills in the defaults that depend on the machine or on other keys: host, state, spool, time zones, names of sources. */
export function normalize(parsed: ParsedConfig): Config {
  const state = parsed.state ?? defaultStateFolder();
  return {
    host: parsed.host ?? hostName(hostname()),
    state,
    spool: { path: parsed.spool.path ?? join(state, 'spool'), max: parsed.spool.max },
    ...(parsed.temporal === undefined ? {} : { temporal: parsed.temporal }),
    ...(parsed.encryption === undefined ? {} : { encryption: parsed.encryption }),
    destinations: parsed.destinations,
    notify: parsed.notify,
    log: { ...parsed.log, path: parsed.log.path ?? join(state, 'logs') },
    ...(parsed.metrics === undefined ? {} : { metrics: parsed.metrics }),
    ...(parsed.traces === undefined ? {} : { traces: parsed.traces }),
    jobs: Object.fromEntries(Object.entries(parsed.jobs).map(([name, job]) => [name, normalizeJob(job)])),
  };
}

/** A machine's hostname with whatever a host's name may not hold replaced. */
export function hostName(machine: string): string {
  const cleaned = machine
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64);
  return cleaned === '' ? 'localhost' : cleaned;
}

function normalizeJob(job: ParsedConfig['jobs'][string]): JobConfig {
  const { schedule, sources, check, drill, ...rest } = job;
  return {
    ...rest,
    mode: job.mode ?? (job.format === 'archive' ? 'full' : 'incremental'),
    ...(job.format === 'archive' ? {} : { compression: job.compression ?? { type: 'zstd', level: 3 } }),
    sources: nameSources(sources),
    ...(schedule === undefined ? {} : { schedule: normalizeSchedule(schedule) }),
    ...(check === undefined ? {} : { check: { ...normalizeSchedule(check), readAllWithin: check.readAllWithin } }),
    ...(drill === undefined ? {} : { drill: normalizeDrill(drill) }),
  };
}

function normalizeDrill(drill: NonNullable<ParsedConfig['jobs'][string]['drill']>): DrillConfig {
  const { sample, databases, assert } = drill;
  const what = { sample, assert, ...(databases === undefined ? {} : { databases }) };
  return { ...normalizeSchedule(drill), ...what };
}

function normalizeSchedule(schedule: NonNullable<ParsedConfig['jobs'][string]['schedule']>): ScheduleConfig {
  if ('every' in schedule) return schedule;
  const { expression, timezone } = splitCron(schedule.cron);
  return { ...schedule, cron: expression, timezone: timezone ?? schedule.timezone ?? machineTimezone() };
}

function nameSources(sources: ParsedConfig['jobs'][string]['sources']): SourceConfig[] {
  const taken = new Set(sources.map((source) => source.name));
  const nameOf = (source: ParsedConfig['jobs'][string]['sources'][number]): string => {
    if (source.name !== undefined) return source.name;
    const base = defaultName(source);
    let name = base;
    for (let count = 2; taken.has(name); count++) name = `${base}-${count}`;
    taken.add(name);
    return name;
  };
  return sources.map((source) => {
    const name = nameOf(source);
    return source.type === 'sqlite' ? { ...source, name, path: [source.path].flat() } : { ...source, name };
  });
}

function defaultName(source: ParsedConfig['jobs'][string]['sources'][number]): string {
  switch (source.type) {
    case 'files':
      return derivedName(source.paths[0] ?? '');
    case 'sqlite':
      return derivedName([source.path].flat()[0] ?? '');
    default:
      return source.type;
  }
}

function derivedName(path: string): string {
  const cleaned = basename(path)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[.-]+|-+$/g, '')
    .slice(0, 60);
  return cleaned === '' ? 'files' : cleaned;
}
