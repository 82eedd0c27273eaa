import { z } from 'zod';
import { secret } from './fields.js';
import { oneLine, serverUrl } from './schema-notify-common.js';

export const tracesSchema = z
  .strictObject({
    endpoint: serverUrl()
      .refine((value) => !URL.canParse(value) || new URL(value).username + new URL(value).password === '', {
        error: 'must hold no user and no password: give them in `headers`',
      })
      .describe('Where spans are sent to by OTLP over HTTP, such as http://localhost:4318/v1/traces.'),
    headers: z
      .record(
        z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, { error: 'expected the name of an HTTP header' }),
        secret('The header’s value.').refine((value) => !/[\r\n]/.test(value), { error: 'must be one line' }),
      )
      .optional()
      .describe('Further request headers, such as Authorization.'),
    sample: z
      .number()
      .min(0)
      .max(1)
      .prefault(1)
      .describe('The share of traces that is sent, 0 to 1; a trace is sent whole or not at all.'),
    serviceName: oneLine().prefault('holdfast').describe('The service’s name in the traces.'),
  })
  .describe('OpenTelemetry traces of runs. Left out: none.');
