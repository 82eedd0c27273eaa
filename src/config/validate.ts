import { compilePatterns } from '../sources/files/patterns.js';
import { checkArchiveJob } from './archives.js';
import { cronInterval, cronRestrictsBothDays } from './cron.js';
import type { Found } from './issues.js';
import { valueAt } from './json-schema.js';
import { nearest } from './nearest.js';
import { isExcluded, placesOf, relationOf } from './overlaps.js';
import { isInside } from './paths.js';
import { type ConfigWarning, keyOf } from './problems.js';
import { hasReference } from './references.js';
import type { Config, DestinationConfig, JobConfig } from './schema.js';
import { isMasked, isSensitive, leaves } from './sensitive.js';
import { formatDuration, formatSize } from './units.js';

/** What is wrong or dangerous in a config whose every value is fine by itself. */
export interface Findings {
  problems: Found[];
  warnings: ConfigWarning[];
}

type Path = readonly PropertyKey[];
interface Report {
  problem(path: Path, message: string, hint?: string): void;
  warn(code: string, path: Path, message: string): void;
}

/** Names that nothing in the file has. Works on data of any shape, so that these are found along with the schema's problems. */
export function checkNames(root: unknown): Found[] {
  const problems: Found[] = [];
  for (const [job, value] of entriesOf(valueAt(root, 'jobs'))) {
    for (const [list, what] of [
      ['destinations', 'destination'],
      ['notify', 'notifier'],
    ] as const) {
      const known = entriesOf(valueAt(root, list)).map(([name]) => name);
      // The schema has said so already.
      if (list === 'destinations' && known.length === 0) continue;
      const used = valueAt(value, list);
      for (const [index, name] of (Array.isArray(used) ? used : []).entries()) {
        if (typeof name !== 'string' || known.includes(name)) continue;
        const near = nearest(name, known);
        const shown = JSON.stringify(name.slice(0, 64));
        problems.push({
          path: ['jobs', job, list, index],
          message: `there is no ${what} ${shown}${near === undefined ? '' : `; did you mean '${near}'?`}`,
          hint: known.length === 0 ? `Describe it under \`${list}\`.` : `Known: ${known.join(', ')}.`,
        });
      }
    }
  }
  return problems;
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}

/** Everything that takes more than one key to see. Looks at the file system only to follow symbolic links. */
export function validate(config: Config): Findings {
  const problems: Found[] = [];
  const warnings: ConfigWarning[] = [];
  const report: Report = {
    problem: (path, message, hint) => problems.push({ path, message, ...(hint === undefined ? {} : { hint }) }),
    warn: (code, path, message) =>
      warnings.push({ code, message, ...(path.length === 0 ? {} : { path: keyOf(path) }) }),
  };
  checkSecrets(config, report);
  checkFolders(config, report);
  checkDestinations(config, report);
  checkUse(config, report);
  const lower = new Map<string, string>();
  for (const [name, job] of Object.entries(config.jobs)) {
    const twin = lower.get(name.toLowerCase());
    if (twin !== undefined)
      report.problem(
        ['jobs', name],
        `differs from the job '${twin}' only by case: they would be one folder on many file systems`,
      );
    lower.set(name.toLowerCase(), name);
    checkJob(name, job, config, report);
    checkArchiveJob(name, job, config, report);
  }
  return { problems, warnings };
}

function checkSecrets(config: Config, report: Report): void {
  if (config.encryption === undefined) {
    report.warn(
      'Unencrypted',
      [],
      'no `encryption`: everything is stored in the clear, readable by whoever can read a destination',
    );
  }
  for (const { path, key, value } of leaves(config)) {
    if (!isSensitive(path)) continue;
    if (isMasked(value)) {
      report.problem(
        path,
        'is *** here, which stands for a secret that was left out',
        `Write the secret, or better a reference such as \${file:/path} or \${env:NAME}.`,
      );
    } else if (!hasReference(value) && needsHiding(path)) {
      const code = 'PlainSecret';
      report.warn(
        code,
        path,
        `${key} is a plain secret in the file; better a reference such as \${file:/path}, \${env:NAME} or \${command:...}`,
      );
    }
  }
}

function needsHiding(path: Path): boolean {
  if (path.at(-2) === 'headers') return /auth|token|key|secret|cookie|pass/i.test(String(path.at(-1)));
  return path.at(-1) !== 'accessKeyId';
}

function checkFolders(config: Config, report: Report): void {
  if (config.spool.max < 1e9) {
    report.warn('SpoolSmall', ['spool', 'max'], `${formatSize(config.spool.max)} is little; below 1GB runs can stall`);
  }
  for (const [name, destination] of Object.entries(config.destinations)) {
    if (destination.type !== 'local') continue;
    const path = ['destinations', name, 'path'];
    for (const [what, folder] of [
      ['state', config.state],
      ['spool', config.spool.path],
    ] as const) {
      const relation = relationOf(destination.path, folder);
      if (relation === 'same' || relation === 'inside')
        report.problem(path, `is inside the ${what} folder ${folder}`, 'Keep backups on another disk.');
      else if (relation === 'around')
        report.warn('StateInDestination', path, `the ${what} folder ${folder} is inside this destination`);
    }
    const { mountPoint } = destination;
    if (mountPoint !== undefined && !isInside(destination.path, mountPoint)) {
      report.problem(
        ['destinations', name, 'mountPoint'],
        `expected \`path\` itself or a folder above it (${destination.path})`,
      );
    }
  }
}

function checkDestinations(config: Config, report: Report): void {
  const all = Object.entries(config.destinations);
  for (const [at, [name, destination]] of all.entries()) {
    if ('endpoint' in destination) checkEndpoint(name, destination.endpoint, report);
    if (destination.type === 's3') checkS3(name, destination, report);
    if (destination.type === 'ftp' && destination.tls === 'off' && !isLoopback(`ftp://${destination.host}/`)) {
      report.warn(
        'PlainFtp',
        ['destinations', name, 'tls'],
        'is off: others on the network can read the password and change what is sent; use explicit or implicit',
      );
    }
    for (const [other, earlier] of all.slice(0, at)) {
      const places = placesOf(destination, earlier);
      if (places === 'apart') continue;
      const job = Object.entries(config.jobs).find(
        ([, { destinations }]) => destinations.includes(name) && destinations.includes(other),
      );
      if (places === 'same' && job !== undefined) {
        report.problem(
          ['destinations', name],
          `is the same place as '${other}', and the job '${job[0]}' stores to both: they would be one repository`,
        );
      } else if (places === 'same') {
        report.warn('DestinationsSame', ['destinations', name], `is the same place as '${other}'`);
      } else {
        report.warn(
          'DestinationsNested',
          ['destinations', name],
          `one of '${name}' and '${other}' is inside the other`,
        );
      }
    }
  }
}

function checkEndpoint(name: string, endpoint: string | undefined, report: Report): void {
  if (endpoint === undefined || !/^http:/i.test(endpoint) || isLoopback(endpoint)) return;
  report.warn(
    'PlainHttp',
    ['destinations', name, 'endpoint'],
    'is http: others on the network can see and change what is sent; use https',
  );
}

function checkS3(name: string, s3: Extract<DestinationConfig, { type: 's3' }>, report: Report): void {
  if (s3.storageClass !== undefined && /^(?:GLACIER|DEEP_ARCHIVE)$/i.test(s3.storageClass)) {
    report.warn(
      'StorageClassArchived',
      ['destinations', name, 'storageClass'],
      'objects of this class cannot be read, checked or restored before they are thawed',
    );
  }
}

function isLoopback(url: string): boolean {
  return URL.canParse(url) && /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(new URL(url).hostname);
}

function checkUse(config: Config, report: Report): void {
  const jobs = Object.values(config.jobs);
  for (const name of Object.keys(config.destinations)) {
    if (!jobs.some((job) => job.destinations.includes(name)))
      report.warn('DestinationUnused', ['destinations', name], 'no job stores here');
  }
  for (const name of Object.keys(config.notify)) {
    if (!jobs.some((job) => job.notify.includes(name)))
      report.warn('NotifyUnused', ['notify', name], 'no job notifies this one');
  }
  for (const [name, notifier] of Object.entries(config.notify)) {
    if ('digest' in notifier && notifier.digest === undefined && notifier.on.includes('digest'))
      report.warn('DigestUnset', ['notify', name, 'on'], 'names digest, but `digest` does not say when; none is sent');
    if (notifier.type === 'email' && /^smtp:/i.test(notifier.smtp) && notifier.startTls !== 'required')
      report.warn(
        'PlainSmtp',
        ['notify', name, 'startTls'],
        'mails and the password may go over the network in the clear',
      );
  }
}

function checkJob(name: string, job: JobConfig, config: Config, report: Report): void {
  const base = ['jobs', name];
  for (const list of ['destinations', 'notify'] as const) {
    for (const [index, item] of job[list].entries()) {
      if (job[list].indexOf(item) !== index) report.problem([...base, list, index], `'${item}' is named twice`);
    }
  }
  const distinct = new Set(job.destinations).size;
  if (job.minimumDestinations > distinct) {
    report.problem(
      [...base, 'minimumDestinations'],
      `expected at most ${distinct}, the number of this job’s destinations, found ${job.minimumDestinations}`,
    );
  }
  checkSchedule(job, [...base, 'schedule'], report);
  const names = new Map<string, number>();
  for (const [index, source] of job.sources.entries()) {
    const twin = names.get(source.name);
    if (twin !== undefined)
      report.problem([...base, 'sources', index, 'name'], `the name '${source.name}' is sources[${twin}]’s already`);
    names.set(source.name, index);
    checkSource(name, job, index, config, report);
  }
}

function checkSchedule({ schedule }: JobConfig, path: Path, report: Report): void {
  if (schedule === undefined) return;
  const interval = 'every' in schedule ? schedule.every : cronInterval(schedule.cron);
  if (interval !== undefined && schedule.jitter >= interval) {
    report.warn(
      'JitterLong',
      [...path, 'jitter'],
      `is not shorter than the time between two runs (${formatDuration(interval)})`,
    );
  }
  if ('cron' in schedule && cronRestrictsBothDays(schedule.cron)) {
    report.warn(
      'CronDays',
      [...path, 'cron'],
      'names days of the month and weekdays: it runs only on days that are both (classic cron: either)',
    );
  }
}

function checkSource(name: string, job: JobConfig, index: number, config: Config, report: Report): void {
  const source = job.sources[index];
  if (source?.type !== 'files') return;
  const base = ['jobs', name, 'sources', index];
  let understood = true;
  for (const list of ['include', 'exclude'] as const) {
    for (const [at, pattern] of source[list].entries()) {
      const problem = patternProblem(pattern);
      if (problem === undefined) continue;
      report.problem([...base, list, at], problem);
      understood = false;
    }
  }
  if (!understood) return;
  for (const [at, path] of source.paths.entries()) {
    const where = [...base, 'paths', at];
    checkAgainstDestinations(path, where, name, index, config, report);
    for (const [what, folder] of [
      ['state', config.state],
      ['spool', config.spool.path],
    ] as const) {
      const relation = relationOf(folder, path);
      if (what === 'spool' && relationOf(folder, config.state) === 'inside') continue;
      if (relation === 'same' || relation === 'around')
        report.problem(where, `is inside the ${what} folder ${folder}, which is never backed up`);
      else if (relation === 'inside' && !isExcluded(folder, path, source)) {
        report.warn('StateExcluded', where, `the ${what} folder ${folder} is inside; it is left out`);
      }
    }
    const twice = job.sources
      .slice(0, index + 1)
      .some(
        (other, otherAt) =>
          other.type === 'files' && other.paths.slice(0, otherAt === index ? at : undefined).includes(path),
      );
    if (twice) report.warn('PathTwice', where, `${path} is named twice in this job`);
  }
}

function checkAgainstDestinations(
  path: string,
  where: Path,
  name: string,
  index: number,
  config: Config,
  report: Report,
): void {
  const job = config.jobs[name];
  const source = job?.sources[index];
  if (job === undefined || source?.type !== 'files') return;
  for (const [other, destination] of Object.entries(config.destinations)) {
    if (destination.type !== 'local') continue;
    const relation = relationOf(destination.path, path);
    if (relation === 'apart') continue;
    const own = job.destinations.includes(other);
    const inside = relation === 'inside';
    if (inside && isExcluded(destination.path, path, source)) {
      if (own)
        report.warn(
          'DestinationExcluded',
          where,
          `the destination '${other}' (${destination.path}) is inside this path, left out by \`exclude\``,
        );
    } else if (!own) {
      report.warn(
        'DestinationInSource',
        where,
        `${inside ? 'holds' : 'is inside'} the destination '${other}' of other jobs (${destination.path})`,
      );
    } else if (inside) {
      report.problem(
        where,
        `the destination '${other}' (${destination.path}) is inside this path: every run would back up the backups`,
        'Move the destination, or leave it out with `exclude`.',
      );
    } else {
      report.problem(
        where,
        `is inside the destination '${other}' (${destination.path}): every run would back up the backups`,
      );
    }
  }
}

function patternProblem(pattern: string): string | undefined {
  try {
    compilePatterns([pattern], '/', ['/']);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : 'cannot be understood';
  }
}
