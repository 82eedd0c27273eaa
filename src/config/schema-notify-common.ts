import { z } from 'zod';
import { duration, plainText, secret } from './fields.js';
import { timezoneProblem } from './timezone.js';

/** What to notify of. */
export const notifyEvents = [
  'success',
  'failure',
  'warning',
  'recovery',
  'start',
  'missed',
  'anomaly',
  'drill',
  'damage',
  'auth',
  'digest',
] as const;
type Event = (typeof notifyEvents)[number];

const usual: Event[] = ['failure', 'warning', 'recovery', 'missed', 'anomaly', 'drill', 'damage', 'auth'];

const events = (possible: readonly [Event, ...Event[]], prefault: Event[]) =>
  z
    .array(z.enum(possible))
    .min(1, { error: `expected at least one of ${possible.join(', ')}` })
    .prefault(prefault);

const zone = z.string().superRefine((value, context) => {
  const problem = timezoneProblem(value);
  if (problem !== undefined) context.addIssue(problem);
});

const timeOfDay = () =>
  z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, { error: 'expected a time of day such as 07:00, in quotes' });

export const weekdays = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'] as const;

const digestSchema = z
  .union([
    z.enum(['daily', 'weekly']),
    z
      .strictObject({
        every: z.enum(['daily', 'weekly']).describe('How often.'),
        at: timeOfDay().prefault('07:00').describe('At what time.'),
        day: z.enum(weekdays).prefault('monday').describe('On which day, with `every: weekly`.'),
        timezone: zone.optional().describe('The time zone of `at`. Default: this machine’s.'),
      })
      .describe('When to send it.'),
  ])
  .optional()
  .describe('Also send a summary of every run: daily or weekly (at 07:00, on Mondays), or with a time of your own.');

const quietSchema = z
  .strictObject({
    from: timeOfDay().describe('When they begin, such as "22:00".'),
    to: timeOfDay().describe('When they end; what was held back is then sent as one message.'),
    timezone: zone.optional().describe('The time zone of both. Default: this machine’s.'),
    urgent: z.array(z.enum(notifyEvents)).prefault([]).describe('What is sent at once all the same.'),
  })
  .refine(({ from, to }) => from !== to, { error: 'expected `from` and `to` to differ' })
  .optional()
  .describe('Hours in which nothing is sent.');

const repeatSchema = z
  .strictObject({
    count: z.int().min(1).prefault(10).describe('After so many.'),
    every: duration().prefault('1d').describe('Or after so long, whichever is first.'),
  })
  .prefault({})
  .describe('When to tell again of a failure that repeats. The recovery says how many there were. `count: 1`: always.');

/** What every notifier that writes messages may say. */
export const everyMessenger = {
  on: events(notifyEvents, usual).describe(
    'What to notify of. warning: a run was partial; recovery: the first success after that, a failure or a miss; missed: no success within the expected time; auth: a destination refused the credentials.',
  ),
  digest: digestSchema,
  quiet: quietSchema,
  repeat: repeatSchema,
};

export const pingEvents = ['start', 'success', 'warning', 'failure'] as const;

/** What to tell a service that watches pings. */
export const pingOn = (possible: readonly ['success', ...Event[]] | readonly ['start', ...Event[]], what: string) =>
  events(possible, [...possible]).describe(`What to ping at. ${what}`);

/** An http(s) URL that counts as a secret. */
export const secretUrl = (description: string) =>
  secret(description).refine((value) => value.includes('${') || (URL.canParse(value) && /^https?:/i.test(value)), {
    error: 'expected an http:// or https:// URL',
  });

/** The http(s) URL of a server, which is no secret. */
export const serverUrl = () =>
  oneLine().refine((value) => URL.canParse(value) && /^https?:/i.test(value), {
    error: 'expected an http:// or https:// URL',
  });

/** Text without line breaks, such as goes to a header. */
export const oneLine = () => plainText().refine((value) => !/[\r\n]/.test(value), { error: 'must be one line' });
