import { z } from 'zod';
import { path, size } from './fields.js';

export const logLevels = ['debug', 'info', 'warn', 'error'] as const;

export const logSchema = z
  .strictObject({
    level: z.enum(logLevels).prefault('info').describe('What is written at least.'),
    path: path().optional().describe('The folder of the log files (0700). Default: `logs` in the state folder.'),
    rotate: z
      .strictObject({
        size: size()
          .refine((bytes) => bytes >= 4096, { error: 'expected at least 4KiB' })
          .prefault('10MB')
          .describe('A file that is larger is put aside.'),
        count: z.int().min(1).max(1000).prefault(5).describe('How many older files are kept.'),
      })
      .prefault({})
      .describe('When log files are put aside.'),
    format: z
      .enum(['auto', 'pretty', 'json'])
      .prefault('auto')
      .describe(
        'What `up` and `worker` print on stderr. auto: text on a terminal and in the journal, else JSON lines. In the journal each line has its level (<4>).',
      ),
  })
  .prefault({})
  .describe('The workers’ log: JSON lines in files, and on stderr.');
