import { z } from 'zod';
import { cronProblem, splitCron } from './cron.js';
import { duration, name, path, plainText, secret, size, text } from './fields.js';
import { archiveSchema, checkArchive } from './schema-archive.js';
import { destinationSchema } from './schema-destinations.js';
import { checkDrill, drillFields } from './schema-drill.js';
import { encryptionSchema } from './schema-encryption.js';
import { expectSchema } from './schema-expect.js';
import { logSchema } from './schema-log.js';
import { metricsSchema } from './schema-metrics.js';
import { type notifyEvents, notifySchema } from './schema-notify.js';
import { sourceSchema } from './schema-sources.js';
import { tracesSchema } from './schema-traces.js';
import { timezoneProblem } from './timezone.js';

/** The config's single source of truth: what is accepted, its defaults, and the description of every key. */

const spoolSchema = z
  .strictObject({
    path: path().optional().describe('The spool folder (0700). Default: `spool` in the state folder.'),
    max: size().prefault('20GB').describe('How much the spool may hold at most, such as 20GB or 512MiB.'),
  })
  .prefault({})
  .describe('Private scratch space where packs are built before they are uploaded.');

const tlsSchema = z.union([
  z.boolean().describe('true: TLS with the system’s certificate authorities.'),
  z
    .strictObject({
      serverName: text()
        .optional()
        .describe('The name the server’s certificate must carry, where it differs from the address.'),
      caFile: path().optional().describe('A file with the certificate authorities to trust (PEM).'),
      certFile: path().optional().describe('The client certificate for mTLS (PEM).'),
      keyFile: path().optional().describe('The client certificate’s private key (PEM).'),
    })
    .describe('TLS with certificates of your own; mTLS with a client certificate and its key.'),
]);

const temporalSchema = z
  .strictObject({
    profile: plainText()
      .optional()
      .describe('A profile of Temporal’s own configuration file (temporal.toml), in place of `address`.'),
    address: text().optional().describe('host:port of the Temporal server.'),
    namespace: text().optional().describe('The Temporal namespace; default: `default`, or the profile’s.'),
    tls: tlsSchema.optional().describe('TLS towards the server.'),
    apiKey: secret('The API key for Temporal Cloud.').optional(),
    ui: z.int().min(1).max(65535).optional().describe('The port of the embedded server’s Web UI. Default: a free one.'),
  })
  .superRefine((temporal, context) => {
    const embedded = temporal.address === undefined && temporal.profile === undefined;
    if (temporal.address !== undefined && temporal.profile !== undefined)
      context.addIssue('expected either `profile` or `address`, found both');
    for (const key of ['namespace', 'tls', 'apiKey'] as const) {
      if (embedded && temporal[key] !== undefined)
        context.addIssue({
          code: 'custom',
          path: [key],
          message: 'needs `address` or `profile`; the embedded server has none',
        });
    }
    if (!embedded && temporal.ui !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['ui'],
        message: 'is for the embedded server only; leave it out with `address` or `profile`',
      });
    if (
      typeof temporal.tls === 'object' &&
      (temporal.tls.certFile === undefined) !== (temporal.tls.keyFile === undefined)
    ) {
      context.addIssue({ code: 'custom', path: ['tls'], message: 'expected `certFile` and `keyFile` together' });
    }
  })
  .describe('Where Temporal is. Left out (or with `ui` alone): an embedded server is started.');

const scheduleBase = {
  jitter: duration()
    .prefault('0s')
    .describe('A random delay of at most this long, so that machines do not all start at once.'),
  catchupWindow: duration(10_000)
    .optional()
    .describe(
      'How late a missed start may still happen, such as after the machine was off. Default: so that one missed backup runs when it is back.',
    ),
};

const cronScheduleSchema = z
  .strictObject({
    cron: z
      .string()
      .superRefine((value, context) => {
        const problem = cronProblem(value);
        if (problem !== undefined) context.addIssue(problem);
        const zone = splitCron(value).timezone;
        const zoneProblem = zone === undefined ? undefined : timezoneProblem(zone);
        if (zoneProblem !== undefined) context.addIssue(zoneProblem);
      })
      .describe('minute hour day-of-month month day-of-week, or @hourly, @daily, @weekly, @monthly, @yearly.'),
    timezone: z
      .string()
      .superRefine((value, context) => {
        const problem = timezoneProblem(value);
        if (problem !== undefined) context.addIssue(problem);
      })
      .optional()
      .describe('The time zone of the cron expression, such as Europe/Berlin. Default: this machine’s.'),
    ...scheduleBase,
  })
  .superRefine(({ cron, timezone }, context) => {
    if (timezone !== undefined && splitCron(cron).timezone !== undefined) {
      context.addIssue({
        code: 'custom',
        path: ['timezone'],
        message: 'the cron expression names a time zone already (CRON_TZ)',
      });
    }
  })
  .describe('By cron expression.');

const everyScheduleSchema = z
  .strictObject({
    every: duration(1000).describe('The time from one start to the next, such as 6h.'),
    ...scheduleBase,
  })
  .describe('By interval.');

const level = (highest: number, usual: number) =>
  z.int().min(1).max(highest).prefault(usual).describe(`1 (fastest) to ${highest} (smallest).`);

const readAllWithin = {
  readAllWithin: duration(86_400_000)
    .prefault('30d')
    .describe(
      'Each scheduled check downloads, decrypts and hashes so much that everything is read once in this time, such as 30d.',
    ),
};

const checkSchema = z
  .union([cronScheduleSchema.safeExtend(readAllWithin), everyScheduleSchema.extend(readAllWithin)])
  .describe('When to check the repository by itself, and how much of it to read. Left out: by hand only.');

const drillSchema = z
  .union([
    cronScheduleSchema.safeExtend(drillFields).superRefine(checkDrill),
    everyScheduleSchema.extend(drillFields).superRefine(checkDrill),
  ])
  .describe('When to try a restore by itself, and what to restore and to ask of it. Left out: by hand only.');

const compressionSchema = z.discriminatedUnion('type', [
  z
    .strictObject({ type: z.literal('zstd').describe('Zstandard.'), level: level(19, 3) })
    .describe('Zstandard, with a window as long as a pack. Levels 1 to 3 are faster than the zstd program has them.'),
  z
    .strictObject({
      type: z.literal('gzip').describe('gzip, where zstd is not to be had at restore.'),
      level: level(9, 6),
    })
    .describe('gzip.'),
  z.strictObject({ type: z.literal('none').describe('No compression.') }).describe('No compression.'),
]);

const keep = (what: string) => z.int().min(0).optional().describe(what);

const retentionSchema = z
  .strictObject({
    keepLast: keep('The newest so many snapshots.'),
    keepHourly: keep('The last snapshot of each of so many hours.'),
    keepDaily: keep('The last snapshot of each of so many days.'),
    keepWeekly: keep('The last snapshot of each of so many weeks.'),
    keepMonthly: keep('The last snapshot of each of so many months.'),
    keepYearly: keep('The last snapshot of each of so many years.'),
    keepWithin: duration().optional().describe('Every snapshot not older than this, such as 30d.'),
  })
  .refine((rules) => Object.values(rules).some((value) => value !== undefined && value !== 0), {
    error: 'keeps nothing; expected at least one rule above 0, or no `retention` at all to keep everything',
  })
  .describe('Which snapshots to keep; a snapshot is kept when any rule keeps it. Left out: all of them.');

const jobSchema = z
  .strictObject({
    sources: z
      .array(sourceSchema, { error: 'expected a list of sources' })
      .min(1, { error: 'expected at least one source' })
      .describe('What to back up.'),
    destinations: z
      .array(name(), { error: 'expected a list of names of destinations' })
      .min(1, { error: 'expected at least one name of a destination' })
      .describe('Names of the destinations to store to.'),
    minimumDestinations: z
      .int()
      .min(1)
      .prefault(1)
      .describe('A run that reaches fewer destinations has failed; at least this many but not all is partial.'),
    schedule: z
      .union([cronScheduleSchema, everyScheduleSchema])
      .optional()
      .describe('When to run. Left out: by hand only.'),
    format: z
      .enum(['repository', 'archive'])
      .prefault('repository')
      .describe(
        'repository: deduplicated, every snapshot restorable by itself. archive: one file per run, such as site-2026-11-22.zip, that any tool opens.',
      ),
    archive: archiveSchema.optional(),
    mode: z
      .enum(['incremental', 'differential', 'full'])
      .optional()
      .describe(
        'incremental: only what no earlier snapshot of the generation has; differential: what the last full one has not; full: everything, always. Default: incremental; with `format: archive` full.',
      ),
    renewEvery: duration()
      .optional()
      .describe('Start a new generation, with a full snapshot, once the current one is this old, such as 30d.'),
    compression: compressionSchema.optional().describe('How packs are compressed. Default: zstd, level 3.'),
    retention: retentionSchema.optional(),
    onAnomaly: z
      .enum(['warn', 'hold'])
      .prefault('warn')
      .describe(
        'What an anomaly does, such as half the files gone or nearly all of them changed: warn tells of it; hold also removes no snapshot until `holdfast anomalies accept`.',
      ),
    check: checkSchema.optional(),
    drill: drillSchema.optional(),
    notify: z
      .array(name(), { error: 'expected a list of names of notifiers' })
      .prefault([])
      .describe('Names of notifiers; the log is always written.'),
    expect: expectSchema,
  })
  .superRefine(checkArchive)
  .describe('What to back up, where to and when.');

/** Named things need one at least, except notifiers. */
const named = <Value extends z.ZodType>(value: Value, what: string) =>
  z.record(name(), value, { error: `expected ${what} by name` });

export const configSchema = z
  .strictObject({
    $schema: z.string().optional().describe('For editors: where the JSON Schema is. Not used.'),
    host: name().optional().describe('This machine’s name in schedules and repositories. Default: its hostname.'),
    state: path()
      .optional()
      .describe(
        'Catalogs, keys and the embedded Temporal’s database (0700). Default: ~/.local/state/holdfast, or the system’s customary place.',
      ),
    spool: spoolSchema,
    temporal: temporalSchema.optional(),
    encryption: encryptionSchema.optional(),
    destinations: named(destinationSchema, 'destinations')
      .refine((all) => Object.keys(all).length > 0, { error: 'expected at least one destination' })
      .describe('Places that keep repositories, by name.'),
    notify: named(notifySchema, 'notifiers').prefault({}).describe('Who hears of runs, by name.'),
    log: logSchema,
    metrics: metricsSchema.optional(),
    traces: tracesSchema.optional(),
    jobs: named(jobSchema, 'jobs')
      .refine((all) => Object.keys(all).length > 0, { error: 'expected at least one job' })
      .describe('The backup jobs, by name.'),
  })
  .meta({
    title: 'Holdfast configuration',
    description: 'One file says what to back up, where to, when, and how long to keep it.',
  });

/** What a file may say. */
export type ConfigInput = z.input<typeof configSchema>;
/** What the schema makes of it; `normalize` turns it into a `Config`. */
export type ParsedConfig = z.output<typeof configSchema>;

export type TemporalConfig = NonNullable<ParsedConfig['temporal']>;
export type EncryptionConfig = NonNullable<ParsedConfig['encryption']>;
export type SpoolConfig = { path: string; max: number };
export type DestinationConfig = ParsedConfig['destinations'][string];
export type LocalDestinationConfig = Extract<DestinationConfig, { type: 'local' }>;
export type S3DestinationConfig = Extract<DestinationConfig, { type: 's3' }>;
export type NotifyConfig = ParsedConfig['notify'][string];
export type WebhookConfig = Extract<NotifyConfig, { type: 'webhook' }>;
export type EmailConfig = Extract<NotifyConfig, { type: 'email' }>;
/** A notifier that writes messages, and so has quiet hours, digests and folding. */
export type MessengerConfig = Exclude<NotifyConfig, { type: 'healthchecks' | 'uptimekuma' }>;
export type LogConfig = ParsedConfig['log'] & { path: string };
export type MetricsConfig = NonNullable<ParsedConfig['metrics']>;
export type TracesConfig = NonNullable<ParsedConfig['traces']>;
export type NotifyEvent = (typeof notifyEvents)[number];

type ParsedJob = ParsedConfig['jobs'][string];
type ParsedSource<Type> = Extract<ParsedJob['sources'][number], { type: Type }>;
/** Always named. */
export type FilesSourceConfig = ParsedSource<'files'> & { name: string };
export type PostgresSourceConfig = ParsedSource<'postgres'> & { name: string };
export type SqliteSourceConfig = Omit<ParsedSource<'sqlite'>, 'path'> & { name: string; path: string[] };
export type MysqlSourceConfig = ParsedSource<'mysql'> & { name: string };
export type DatabaseSourceConfig = PostgresSourceConfig | MysqlSourceConfig | SqliteSourceConfig;
export type SourceConfig = FilesSourceConfig | DatabaseSourceConfig;
export type CompressionConfig = NonNullable<ParsedJob['compression']>;
export type ArchiveConfig = NonNullable<ParsedJob['archive']>;
export type BackupMode = NonNullable<ParsedJob['mode']>;
/** Times in milliseconds; `cron` never carries a CRON_TZ prefix. */
export type CronSchedule = { cron: string; timezone: string; jitter: number; catchupWindow?: number };
export type EverySchedule = { every: number; jitter: number; catchupWindow?: number };
export type ScheduleConfig = CronSchedule | EverySchedule;
/** A schedule of checks; `readAllWithin` in milliseconds. */
export type CheckConfig = ScheduleConfig & { readAllWithin: number };
/** A schedule of drills; `sample` in percent, time-outs in milliseconds. */
export type DrillConfig = ScheduleConfig & Pick<NonNullable<ParsedJob['drill']>, 'sample' | 'databases' | 'assert'>;
export type DrillAssert = DrillConfig['assert'][number];
export type JobConfig = Omit<ParsedJob, 'sources' | 'schedule' | 'check' | 'drill' | 'mode' | 'compression'> & {
  mode: BackupMode;
  /** Absent with `format: archive` alone. */
  compression?: CompressionConfig;
  sources: SourceConfig[];
  schedule?: ScheduleConfig;
  check?: CheckConfig;
  drill?: DrillConfig;
};

/** A config with every default filled in: durations in milliseconds, sizes in bytes, paths absolute, references as written. */
export interface Config {
  host: string;
  state: string;
  spool: SpoolConfig;
  temporal?: TemporalConfig;
  encryption?: EncryptionConfig;
  destinations: Record<string, DestinationConfig>;
  notify: Record<string, NotifyConfig>;
  log: LogConfig;
  metrics?: MetricsConfig;
  traces?: TracesConfig;
  jobs: Record<string, JobConfig>;
}
