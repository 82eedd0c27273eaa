import { z } from 'zod';
import { duration } from './fields.js';
import { bandwidthSchema } from './schema-bandwidth.js';
import { timezoneProblem } from './timezone.js';

/** What every destination may say. */
export const everyDestination = {
  bandwidth: bandwidthSchema.optional(),
  timezone: z
    .string()
    .superRefine((value, context) => {
      const problem = timezoneProblem(value);
      if (problem !== undefined) context.addIssue(problem);
    })
    .optional()
    .describe('The time zone of the times in `bandwidth`, such as Europe/Berlin. Default: this machine’s.'),
  deletes: z
    .boolean()
    .optional()
    .describe(
      'false: nothing is ever deleted there, so that credentials do without that permission. Retention then leaves this destination alone. Default: true.',
    ),
  giveUpAfter: duration()
    .prefault('5m')
    .describe(
      'How long a run waits for this destination without progress once the others are done; then it is missed and delivered later.',
    ),
};
