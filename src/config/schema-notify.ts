import { z } from 'zod';
import { secret } from './fields.js';

/** What to notify of. */
export const notifyEvents = ['success', 'failure', 'warning', 'recovery', 'start'] as const;

const webhookSchema = z
  .strictObject({
    type: z.literal('webhook').describe('An HTTP POST with a JSON document.'),
    url: secret('Where to post to; counts as a secret.').refine(
      (value) => value.includes('${') || (URL.canParse(value) && /^https?:/i.test(value)),
      {
        error: 'expected an http:// or https:// URL',
      },
    ),
    secret: secret('The key the request is signed with (HMAC-SHA-256), so that the receiver can check it.').optional(),
    headers: z
      .record(
        z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, { error: 'expected the name of an HTTP header' }),
        secret('The header’s value.').refine((value) => !/[\r\n]/.test(value), { error: 'must be one line' }),
      )
      .optional()
      .describe('Further request headers.'),
    on: z
      .array(z.enum(notifyEvents))
      .min(1, { error: `expected at least one of ${notifyEvents.join(', ')}` })
      .prefault(['failure', 'warning', 'recovery'])
      .describe('What to notify of. recovery: the first success after a failure.'),
  })
  .describe('A webhook.');

export const notifySchema = z.discriminatedUnion('type', [webhookSchema]);
