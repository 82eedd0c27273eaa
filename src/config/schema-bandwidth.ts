import { z } from 'zod';
import { rate } from './fields.js';

const timeOfDay = () =>
  z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$|^24:00$/, { error: 'expected a time of day such as 08:00' });

const bandwidthWindowSchema = z
  .strictObject({
    from: timeOfDay().optional().describe('When it begins, such as 08:00. Default: 00:00.'),
    to: timeOfDay().optional().describe('When it ends, such as 18:00; before `from`: on the next day. Default: 24:00.'),
    rate: rate().optional().describe('At most this many bytes per second. Default: no limit.'),
  })
  .describe(
    'A rate for a part of the day. The first entry of the list that fits the time counts; with none there is no limit.',
  );

/** A rate, or a table of rates by time of day. */
export const bandwidthSchema = z
  .union([
    rate(),
    z.array(bandwidthWindowSchema).min(1, { error: 'expected at least one entry; leave `bandwidth` out for no limit' }),
  ])
  .describe(
    'At most this many bytes per second, such as 10MB/s, or a list of rates by time of day. Default: no limit.',
  );
