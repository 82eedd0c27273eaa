import { relationOf } from './overlaps.js';
import type { ArchiveConfig, Config, JobConfig } from './schema.js';

/** Whether a job's archives are encrypted: by themselves where the config has `encryption`. */
export const isArchiveEncrypted = (config: Pick<Config, 'encryption'>, archive: ArchiveConfig): boolean =>
  archive.encrypted ?? config.encryption !== undefined;

interface Report {
  problem(path: readonly PropertyKey[], message: string, hint?: string): void;
  warn(code: string, path: readonly PropertyKey[], message: string): void;
}

/** What of an archive job takes more than the job itself to see. */
export function checkArchiveJob(name: string, job: JobConfig, config: Config, report: Report): void {
  const { archive } = job;
  if (archive === undefined) return;
  const base = ['jobs', name, 'archive'];
  if (config.encryption === undefined) {
    if (archive.encrypted === true || archive.password !== undefined) {
      const key = archive.password === undefined ? 'encrypted' : 'password';
      report.problem([...base, key], 'needs `encryption`, which protects the list of what is in the archives');
    }
  } else if (!isArchiveEncrypted(config, archive)) {
    report.warn('Unencrypted', base, 'stores archives in the clear, readable by whoever can read a destination');
  } else if (archive.type === 'zip' && archive.password === undefined) {
    report.problem(
      base,
      'a zip file is encrypted with a password of its own, which is missing: `password`',
      'Or say `encrypted: false` to store zip files in the clear.',
    );
  }
  const roots = job.sources.flatMap((source, index) =>
    source.type === 'files' ? source.paths.map((path) => ({ path, index })) : [],
  );
  for (const [at, one] of roots.entries()) {
    const other = roots
      .slice(0, at)
      .find(({ path, index }) => index !== one.index && relationOf(path, one.path) !== 'apart');
    if (other !== undefined) {
      report.problem(
        ['jobs', name, 'sources', one.index, 'paths'],
        `${one.path} overlaps with ${other.path} of another source: an archive holds each file once`,
        'Name both paths in one source.',
      );
    }
  }
}
