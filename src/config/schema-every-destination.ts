import { duration, rate } from './fields.js';

/** What every destination may say. */
export const everyDestination = {
  bandwidth: rate().optional().describe('At most this many bytes per second, such as 10MB/s. Default: no limit.'),
  giveUpAfter: duration()
    .prefault('5m')
    .describe(
      'How long a run waits for this destination without progress once the others are done; then it is missed and delivered later.',
    ),
};
