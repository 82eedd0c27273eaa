import { z } from 'zod';
import { duration } from './fields.js';

export const expectSchema = z
  .union([
    z.literal(false).describe('false: nobody is told when runs stay away.'),
    z
      .strictObject({
        within: duration(1000)
          .optional()
          .describe('The longest time from one success to the next, such as 26h. Default: the schedule’s, plus grace.'),
        grace: duration()
          .optional()
          .describe(
            'What is added to the schedule’s longest interval. Default: its jitter and a twelfth of the interval, from 15m to 1d.',
          ),
        partial: z.boolean().prefault(false).describe('Whether partial runs count as successes.'),
      })
      .refine(({ within, grace }) => within === undefined || grace === undefined, {
        error: 'expected either `within` or `grace`, found both',
      })
      .describe('By when a run is to have succeeded.'),
  ])
  .optional()
  .describe('By when a run is to have succeeded; else the event `missed`. Default: derived from the schedule.');
