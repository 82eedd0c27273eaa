import { z } from 'zod';
import { secret } from './fields.js';

/** What a template for names of archives may hold, and what it may not lack. */
const placeholder = /\{(job|host|date|time|mode)\}/g;

const nameTemplate = z.string().superRefine((value, context) => {
  if (!/^[A-Za-z0-9._-]{1,150}$/.test(value.replace(placeholder, 'x')) || !/^[A-Za-z0-9{]/.test(value)) {
    context.addIssue(
      'expected letters, digits, `.`, `_` and `-`, the first a letter or digit, and {job}, {host}, {date}, {time}, {mode}',
    );
  }
});

export const archiveSchema = z
  .strictObject({
    type: z
      .enum(['zip', 'tar.gz', 'tar.zst'])
      .describe(
        'zip: opens everywhere, but cannot hold extended attributes, devices, or hard links as such. tar.gz, tar.zst: hold all of it.',
      ),
    name: nameTemplate
      .optional()
      .describe(
        'The archive’s name without its ending; {job}, {host}, {date} (2026-11-22), {time} (030000) and {mode} (full, differential) are filled in, in the time zone of the schedule. A name that is taken gets -2, -3 and so on. Default: {job}-{date}, of differential jobs {job}-{date}-{mode}.',
      ),
    encrypted: z
      .boolean()
      .optional()
      .describe(
        'false: the archive is stored in the clear though the config has `encryption`, which then protects only the list of what is in it. Default: true where there is `encryption`.',
      ),
    password: secret(
      'The password of encrypted zip files (AES-256), usually a reference. Tar archives are encrypted with the job’s key instead.',
    ).optional(),
  })
  .describe('For jobs with `format: archive`: what each run makes.');

interface ArchiveJob {
  format: 'repository' | 'archive';
  archive?: z.output<typeof archiveSchema> | undefined;
  mode?: 'incremental' | 'differential' | 'full' | undefined;
  renewEvery?: number | undefined;
  compression?: unknown;
  drill?: unknown;
}

/** What of a job goes together with `format: archive`, and what does not. */
export function checkArchive(job: ArchiveJob, context: z.RefinementCtx): void {
  const refuse = (path: string[], message: string): void => {
    context.addIssue({ code: 'custom', path, message });
  };
  const { archive, mode } = job;
  if (job.format === 'repository') {
    if (archive !== undefined) refuse(['archive'], 'needs `format: archive`');
    return;
  }
  if (archive === undefined) refuse(['archive'], 'is missing: `format: archive` needs it, such as { type: zip }');
  if (mode === 'incremental') {
    refuse(
      ['mode'],
      'must be full or differential with `format: archive`: an incremental archive would need every one before it',
    );
  }
  if (job.compression !== undefined) {
    refuse(
      ['compression'],
      'is for repositories; with `format: archive` the archive’s `type` says how it is compressed',
    );
  }
  if (job.renewEvery !== undefined && mode !== 'differential') {
    refuse(['renewEvery'], 'needs `mode: differential` with `format: archive`: every archive of this job is full');
  }
  if (job.drill !== undefined) {
    refuse(['drill'], 'is for repositories; `holdfast check JOB --read-data` reads archives and every file in them');
  }
  if (archive?.password === undefined) return;
  if (archive.type !== 'zip')
    refuse(['archive', 'password'], 'is for zip; tar archives are encrypted with the job’s key');
  else if (archive.encrypted === false) refuse(['archive', 'password'], 'makes no sense with `encrypted: false`');
}
