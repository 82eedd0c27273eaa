import type { RelativePath } from '../../platform/restore-path.js';
import type { Entry, EntryType } from '../entry.js';

export const archiveFormats = ['zip', 'tar.gz', 'tar.zst'] as const;
export type ArchiveFormat = (typeof archiveFormats)[number];

/** One member of an archive that is being written. */
export interface Member {
  /** Without a leading slash and, for directories, without one at the end. */
  name: RelativePath;
  entry: Entry;
  /** Bytes of content, 0 for all but files. */
  size: number;
  /** A member written before, of which this is another name. */
  linkTo?: RelativePath | undefined;
  /** The content from its beginning, holes as zeros; may be asked for once. */
  content(): AsyncIterable<Buffer>;
}

/** Where an archive goes. */
export interface ArchiveSink {
  /** Resolves when the bytes are out of memory. */
  write(bytes: Uint8Array): Promise<void>;
}

/** What a format can hold. */
export interface FormatAbilities {
  types: ReadonlySet<EntryType>;
  hardLinks: boolean;
  xattrs: boolean;
  /** Whether names that are not UTF-8 keep their bytes. */
  rawNames: boolean;
}

export const abilitiesOf = (format: ArchiveFormat): FormatAbilities =>
  format === 'zip'
    ? { types: new Set<EntryType>(['dir', 'file', 'symlink']), hardLinks: false, xattrs: false, rawNames: false }
    : {
        types: new Set<EntryType>(['dir', 'file', 'symlink', 'fifo', 'char', 'block']),
        hardLinks: true,
        xattrs: true,
        rawNames: true,
      };
