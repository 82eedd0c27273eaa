import { z } from 'zod';
import { plainText } from './fields.js';
import { checkServer, databasesKeys, serverKeys } from './schema-databases.js';
import { checkReach, reachKeys } from './schema-reach.js';

export const mysqlSourceSchema = z
  .strictObject({
    type: z.literal('mysql').describe('Databases of a MySQL or MariaDB server, dumped with its own program.'),
    ...databasesKeys,
    ...serverKeys,
    ...reachKeys,
    excludeTables: z
      .array(plainText().refine((value) => value.includes('.'), { error: 'expected DATABASE.TABLE' }))
      .prefault([])
      .describe('Tables and views to leave out, as DATABASE.TABLE; `*` stands for any characters: shop.cache_*.'),
  })
  .superRefine((source, context) => {
    checkServer(source, context);
    checkReach(source, context);
    if (source.ssh !== undefined && (source.tls.mode ?? '').startsWith('verify'))
      context.addIssue({
        code: 'custom',
        path: ['tls', 'mode'],
        message: 'expected off or require with `ssh`: the tunnel’s near end has another name than the certificate',
      });
  })
  .describe('MySQL or MariaDB.');

export type MysqlSettings = z.output<typeof mysqlSourceSchema>;
