import { z } from 'zod';
import { cronProblem, splitCron } from './cron.js';
import { duration, name, path, plainText, rate, secret, size, sourceName, text } from './fields.js';
import { parseReferences } from './references.js';
import { timezoneProblem } from './timezone.js';

/** The config's single source of truth: what is accepted, its defaults, and the description of every key. */

/** What to notify of. */
export const notifyEvents = ['success', 'failure', 'warning', 'recovery', 'start'] as const;
/** What tells that a file has changed. */
export const detectFields = ['size', 'mtime', 'ctime', 'inode'] as const;

/** Types that later versions bring, by the key that holds the union: refused by name, never ignored. */
export const plannedTypes: ReadonlyMap<string, readonly string[]> = new Map([
  ['sources', ['postgres', 'mysql', 'sqlite']],
  ['destinations', ['sftp', 'ftp', 'gdrive', 'dropbox']],
  ['notify', ['email']],
]);

const patterns = (description: string) => z.array(plainText()).prefault([]).describe(description);

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

const encryptionSchema = z
  .strictObject({
    passphrase: secret(
      `The passphrase that protects every repository’s key. Usually a reference: \${file:/path}, \${env:NAME}, \${command:pass show x}, \${credential:x}.`,
    ),
  })
  .describe(
    'Encryption on this machine before anything is uploaded. Left out: repositories in the clear, with a warning.',
  );

const everyDestination = {
  bandwidth: rate().optional().describe('At most this many bytes per second, such as 10MB/s. Default: no limit.'),
  giveUpAfter: duration()
    .prefault('5m')
    .describe(
      'How long a run waits for this destination without progress once the others are done; then it is missed and delivered later.',
    ),
};

const localDestinationSchema = z
  .strictObject({
    type: z.literal('local').describe('A folder of this machine: a disk, a mounted NAS, an external drive.'),
    path: path().describe('The folder that keeps the repositories, absolute; `~` is the home folder.'),
    presence: z
      .enum(['required', 'optional'])
      .prefault('required')
      .describe('optional: an external drive, which is waited for and caught up when it is plugged in.'),
    mountPoint: path()
      .optional()
      .describe(
        'The folder where the disk is mounted (`path` itself or above it). Nothing is written unless something is mounted there.',
      ),
    ...everyDestination,
  })
  .describe('A local folder.');

const s3DestinationSchema = z
  .strictObject({
    type: z.literal('s3').describe('Amazon S3 or a service that speaks its protocol.'),
    bucket: text()
      .refine((value) => !value.includes('/'), {
        error: 'expected a bucket’s name without `/`; a folder goes to `prefix`',
      })
      .describe('The bucket; it must exist.'),
    prefix: z
      .string()
      .overwrite((value) => value.replace(/^\/+|\/+$/g, ''))
      .refine(
        (value) => value === '' || value.split('/').every((part) => part !== '' && part !== '.' && part !== '..'),
        {
          error: 'expected a prefix such as backups/web-1, without empty parts, `.` or `..`',
        },
      )
      .superRefine((value, context) => {
        const parsed = parseReferences(value);
        if ('problem' in parsed) context.addIssue(parsed.problem);
      })
      .prefault('')
      .describe('What every object’s key starts with. Default: none.'),
    region: text().optional().describe('The region. Default: the AWS SDK’s own search.'),
    endpoint: text()
      .superRefine((value, context) => {
        const problem = endpointProblem(value);
        if (problem !== undefined) context.addIssue(problem);
      })
      .optional()
      .describe('The URL of a service other than Amazon’s.'),
    forcePathStyle: z
      .boolean()
      .optional()
      .describe(
        'true: https://host/bucket in place of https://bucket.host. Default: true with an `endpoint`, else false.',
      ),
    accessKeyId: secret(
      'The access key’s id. Left out with `secretAccessKey`: the AWS SDK’s default chain.',
    ).optional(),
    secretAccessKey: secret('The secret access key.').optional(),
    sessionToken: secret('The session token of temporary credentials.').optional(),
    storageClass: text().optional().describe('The storage class of packs, such as STANDARD_IA. Default: the bucket’s.'),
    sse: z.enum(['AES256', 'aws:kms']).optional().describe('Encryption at rest by the service. Default: the bucket’s.'),
    ...everyDestination,
  })
  .superRefine((s3, context) => {
    const have = (key: 'accessKeyId' | 'secretAccessKey' | 'sessionToken') => s3[key] !== undefined;
    if (have('accessKeyId') !== have('secretAccessKey'))
      context.addIssue('expected `accessKeyId` and `secretAccessKey` together');
    else if (have('sessionToken') && !have('accessKeyId'))
      context.addIssue('`sessionToken` needs `accessKeyId` and `secretAccessKey`');
  })
  .describe('An S3 bucket.');

function endpointProblem(value: string): string | undefined {
  if (value.includes('${')) return undefined;
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    return 'expected an http:// or https:// URL';
  return url.username === '' && url.password === ''
    ? undefined
    : 'must not hold credentials; they go to `accessKeyId` and `secretAccessKey`';
}

const destinationSchema = z.discriminatedUnion('type', [localDestinationSchema, s3DestinationSchema]);

const webhookSchema = z
  .strictObject({
    type: z.literal('webhook').describe('An HTTP POST with a JSON document.'),
    url: secret('Where to post to; counts as a secret.').refine(
      (value) => value.includes('${') || (URL.canParse(value) && /^https?:/i.test(value)),
      {
        error: 'expected an http:// or https:// URL',
      },
    ),
    secret: secret('The key the request is signed with (HMAC-SHA-256), so that the receiver can check it.').optional(),
    headers: z
      .record(
        z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, { error: 'expected the name of an HTTP header' }),
        secret('The header’s value.').refine((value) => !/[\r\n]/.test(value), { error: 'must be one line' }),
      )
      .optional()
      .describe('Further request headers.'),
    on: z
      .array(z.enum(notifyEvents))
      .min(1, { error: `expected at least one of ${notifyEvents.join(', ')}` })
      .prefault(['failure', 'warning', 'recovery'])
      .describe('What to notify of. recovery: the first success after a failure.'),
  })
  .describe('A webhook.');

const notifySchema = z.discriminatedUnion('type', [webhookSchema]);

const filesSourceSchema = z
  .strictObject({
    type: z.literal('files').describe('Files and folders of this machine.'),
    name: sourceName()
      .optional()
      .describe('The source’s name, unique within the job. Default: the last part of the first path.'),
    paths: z
      .array(path(), { error: 'expected a list of absolute paths, such as [/srv/www]' })
      .min(1, { error: 'expected at least one path' })
      .describe('Files and folders to back up, absolute; `~` is the home folder.'),
    include: patterns('Patterns of files to back up; left out: every file.'),
    exclude: patterns('Patterns of files and folders to leave out, such as cache/ or *.tmp.'),
    excludeIfPresent: z
      .array(plainText().refine((value) => !/[\\/]/.test(value), { error: 'expected a file’s name without `/`' }))
      .prefault([])
      .describe('A folder that holds a file of one of these names is left out.'),
    oneFileSystem: z
      .boolean()
      .prefault(false)
      .describe('true: do not descend into other file systems mounted below the paths.'),
    detect: z
      .array(z.enum(detectFields))
      .min(1, { error: `expected at least one of ${detectFields.join(', ')}` })
      .prefault([...detectFields])
      .describe('A file is read again when one of these differs from its last backup.'),
  })
  .describe('Files and folders.');

const sourceSchema = z.discriminatedUnion('type', [filesSourceSchema]);

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

const compressionSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('zstd').describe('Zstandard.'), level: level(19, 3) }).describe('Zstandard.'),
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
    mode: z
      .enum(['incremental', 'differential', 'full'])
      .prefault('incremental')
      .describe(
        'incremental: only what no earlier snapshot of the generation has; differential: what the last full one has not; full: everything, always.',
      ),
    compression: compressionSchema.prefault({ type: 'zstd' }).describe('How packs are compressed.'),
    retention: retentionSchema.optional(),
    notify: z
      .array(name(), { error: 'expected a list of names of notifiers' })
      .prefault([])
      .describe('Names of notifiers; the log is always written.'),
  })
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
export type TlsConfig = NonNullable<TemporalConfig['tls']>;
export type EncryptionConfig = NonNullable<ParsedConfig['encryption']>;
export type SpoolConfig = { path: string; max: number };
export type DestinationConfig = ParsedConfig['destinations'][string];
export type LocalDestinationConfig = Extract<DestinationConfig, { type: 'local' }>;
export type S3DestinationConfig = Extract<DestinationConfig, { type: 's3' }>;
export type NotifyConfig = ParsedConfig['notify'][string];
export type WebhookConfig = Extract<NotifyConfig, { type: 'webhook' }>;
export type NotifyEvent = (typeof notifyEvents)[number];
export type DetectField = (typeof detectFields)[number];

type ParsedJob = ParsedConfig['jobs'][string];
type ParsedFilesSource = Extract<ParsedJob['sources'][number], { type: 'files' }>;
/** Always named. */
export type FilesSourceConfig = ParsedFilesSource & { name: string };
export type SourceConfig = FilesSourceConfig;
export type CompressionConfig = ParsedJob['compression'];
export type RetentionConfig = NonNullable<ParsedJob['retention']>;
export type BackupMode = ParsedJob['mode'];
/** Times in milliseconds; `cron` never carries a CRON_TZ prefix. */
export type CronSchedule = { cron: string; timezone: string; jitter: number; catchupWindow?: number };
export type EverySchedule = { every: number; jitter: number; catchupWindow?: number };
export type ScheduleConfig = CronSchedule | EverySchedule;
export type JobConfig = Omit<ParsedJob, 'sources' | 'schedule'> & {
  sources: SourceConfig[];
  schedule?: ScheduleConfig;
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
  jobs: Record<string, JobConfig>;
}
