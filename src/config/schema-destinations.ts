import { z } from 'zod';
import { path, secret, text } from './fields.js';
import { parseReferences } from './references.js';
import { dropboxFields } from './schema-dropbox.js';
import { everyDestination } from './schema-every-destination.js';
import { ftpDestinationSchema } from './schema-ftp.js';
import { gdriveFields } from './schema-gdrive.js';
import { sftpDestinationSchema } from './schema-sftp.js';

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

const objectLockSchema = z
  .strictObject({
    mode: z
      .enum(['governance', 'compliance'])
      .describe('governance: users with a special permission may lift the lock; compliance: nobody may.'),
    days: z.int().min(1).max(36_500).describe('How long each object is locked from when it was stored.'),
  })
  .describe(
    'Locks packs, indexes and snapshots, so that stolen credentials cannot delete them. The bucket must have been made with Object Lock.',
  );

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
    sse: z
      .enum(['AES256', 'aws:kms', 'aws:kms:dsse'])
      .optional()
      .describe('Encryption at rest by the service. Default: the bucket’s.'),
    sseKmsKeyId: text().optional().describe('The KMS key’s id or ARN. Default: the account’s own key for S3.'),
    objectLock: objectLockSchema.optional(),
    ...everyDestination,
  })
  .superRefine((s3, context) => {
    const have = (key: 'accessKeyId' | 'secretAccessKey' | 'sessionToken') => s3[key] !== undefined;
    if (have('accessKeyId') !== have('secretAccessKey'))
      context.addIssue('expected `accessKeyId` and `secretAccessKey` together');
    else if (have('sessionToken') && !have('accessKeyId'))
      context.addIssue('`sessionToken` needs `accessKeyId` and `secretAccessKey`');
    if (s3.sseKmsKeyId !== undefined && !s3.sse?.startsWith('aws:kms'))
      context.addIssue({ code: 'custom', path: ['sseKmsKeyId'], message: 'needs `sse: aws:kms`' });
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

const gdriveDestinationSchema = z.strictObject({ ...gdriveFields, ...everyDestination }).describe('Google Drive.');
const dropboxDestinationSchema = z.strictObject({ ...dropboxFields, ...everyDestination }).describe('Dropbox.');

export const destinationSchema = z.discriminatedUnion('type', [
  localDestinationSchema,
  s3DestinationSchema,
  gdriveDestinationSchema,
  dropboxDestinationSchema,
  sftpDestinationSchema,
  ftpDestinationSchema,
]);
