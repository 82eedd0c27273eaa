import { z } from 'zod';
import { path, plainText, sourceName } from './fields.js';

/** What tells that a file has changed. */
export const detectFields = ['size', 'mtime', 'ctime', 'inode'] as const;

const patterns = (description: string) => z.array(plainText()).prefault([]).describe(description);

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

export const sourceSchema = z.discriminatedUnion('type', [filesSourceSchema]);
