import { z } from 'zod';
import { path, plainText, sourceName } from './fields.js';
import { checkServer, databasesKeys, serverKeys } from './schema-databases.js';
import { mysqlSourceSchema } from './schema-mysql.js';
import { checkReach, reachKeys } from './schema-reach.js';

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

const postgresSourceSchema = z
  .strictObject({
    type: z.literal('postgres').describe('Databases of a PostgreSQL server, dumped with its own pg_dump.'),
    ...databasesKeys,
    ...serverKeys,
    ...reachKeys,
    excludeSchemas: patterns('Schemas to leave out, as pg_dump’s --exclude-schema takes them, such as audit or tmp_*.'),
    excludeTables: patterns('Tables to leave out, as pg_dump’s --exclude-table takes them, such as public.sessions.'),
    jobs: z
      .int()
      .min(1)
      .max(32)
      .prefault(2)
      .describe('Tables dumped at the same time; each takes a connection of the server.'),
  })
  .superRefine(checkServer)
  .superRefine(checkReach)
  .describe('PostgreSQL.');

const sqliteSourceSchema = z
  .strictObject({
    type: z.literal('sqlite').describe('SQLite databases, copied while their programs go on writing.'),
    name: sourceName()
      .optional()
      .describe('The source’s name, unique within the job. Default: the last part of the first path.'),
    path: z
      .union([path(), z.array(path()).min(1, { error: 'expected at least one path' })], {
        error: 'expected an absolute path or a list of them',
      })
      .describe('Database files, absolute; `*` in the last parts stands for any characters: /var/lib/*/app.db.'),
    exclude: z
      .array(path())
      .prefault([])
      .describe('Files to leave out of what a `*` finds, absolute; `*` as in `path`.'),
  })
  .describe('SQLite.');

export const sourceSchema = z.discriminatedUnion('type', [
  filesSourceSchema,
  postgresSourceSchema,
  mysqlSourceSchema,
  sqliteSourceSchema,
]);
