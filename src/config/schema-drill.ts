import { z } from 'zod';
import { duration, plainText } from './fields.js';

/** '5%', as a number above 0 and at most 100. */
const percent = () =>
  z.codec(z.string({ error: 'expected a percentage such as 5%' }), z.number(), {
    decode: (value, context) => {
      const number = /^\d+(\.\d+)?%$/.test(value) ? Number(value.slice(0, -1)) : Number.NaN;
      if (number > 0 && number <= 100) return number;
      context.issues.push({
        code: 'custom',
        input: value,
        message: `expected a percentage above 0% and at most 100%, found ${JSON.stringify(value)}`,
      });
      return z.NEVER;
    },
    encode: (number) => `${number}%`,
  });

const timeout = duration(1000).prefault('10m').describe('It has failed when it takes longer, such as 10m.');

const sqlAssertSchema = z
  .strictObject({
    sql: plainText().describe(
      'A query for the temporary database; the first column of its first row, as text, is compared with `expect`.',
    ),
    expect: z
      .union([z.string().describe('Text.'), z.number().describe('A number.'), z.boolean().describe('true or false.')])
      .describe('What the query has to answer.'),
    source: plainText().optional().describe('The source whose database is asked, where the job has several.'),
    database: plainText()
      .optional()
      .describe('The database that is asked, where there are several; of SQLite its absolute path.'),
    timeout,
  })
  .describe('A question to a restored database.');

const commandAssertSchema = z
  .strictObject({
    command: plainText().describe(
      'A shell command that is run in the folder with the restored files (also in $HOLDFAST_DRILL_DIR); it has to end with exit code 0.',
    ),
    timeout,
  })
  .describe('A command that looks at the restored files.');

/** What a drill does, beside when. */
export const drillFields = {
  sample: percent()
    .prefault('5%')
    .describe('How many of the snapshot’s files are restored, chosen anew each time; of each source at least one.'),
  databases: z
    .literal('scratch')
    .optional()
    .describe(
      'scratch: every database of the snapshot is restored into a temporary one beside the others, compared by row counts and dropped. Left out: databases are not restored.',
    ),
  assert: z
    .array(z.union([sqlAssertSchema, commandAssertSchema]), { error: 'expected a list of assertions' })
    .prefault([])
    .describe('What has to be true of what was restored.'),
};

/** What of a drill needs a restored database has to have one. */
export function checkDrill(
  drill: { databases?: 'scratch' | undefined; assert: readonly object[] },
  context: { addIssue(issue: { code: 'custom'; path: (string | number)[]; message: string }): void },
): void {
  if (drill.databases !== undefined) return;
  for (const [at, assert] of drill.assert.entries()) {
    if ('sql' in assert)
      context.addIssue({ code: 'custom', path: ['assert', at, 'sql'], message: 'needs `databases: scratch`' });
  }
}
