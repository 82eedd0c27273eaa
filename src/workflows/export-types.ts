/** Names and shapes of an export that workflow, activities and CLI share. No code that runs. */
import type { ArchiveFormat } from '../repository/export/member.js';
import type { RestoreDocument } from './restore-types.js';

/** What starts an export: it names, never describes. `sig` is an HMAC under the state folder's input key. */
export interface ExportInput {
  host: string;
  job: string;
  /** `latest`, a snapshot's id or its unique beginning, or an ISO time: the newest snapshot not after it. */
  snapshot: string;
  /** Absolute source paths; none means everything. */
  paths: string[];
  format: ArchiveFormat;
  /** Absolute path of the archive; `-` is the command's own stdout. */
  file: string;
  /** Whether a file that is there is replaced. */
  overwrite: boolean;
  /** Whether the archive gets a password, which only the command's own process knows. */
  encrypted: boolean;
  /** Take packs from this destination alone. */
  destination?: string;
  sig: string;
}

/** `export --json`: one run's document. `bytes` are content, `archiveBytes` the archive's own. */
export interface ExportDocument
  extends Pick<
    RestoreDocument,
    'run' | 'job' | 'snapshot' | 'status' | 'bytes' | 'damaged' | 'warnings' | 'more' | 'startedAt' | 'endedAt'
  > {
  files: { exported: number; failed: number };
  file: string;
  format: ArchiveFormat;
  encrypted: boolean;
  archiveBytes: number;
  durationMs: number;
}

export const exportIdPrefix = (host: string, job: string): string => `export/${host}/${job}`;

/** Where the archive grows until it is whole. */
export const partialOf = (file: string): string => `${file}.partial`;
