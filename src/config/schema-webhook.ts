import { z } from 'zod';
import { templateProblem } from '../notifiers/template.js';
import { secret, text } from './fields.js';
import { everyMessenger, oneLine, secretUrl } from './schema-notify-common.js';

export const webhookSchema = z
  .strictObject({
    type: z.literal('webhook').describe('An HTTP request with a JSON document.'),
    url: secretUrl('Where to send it to; counts as a secret.'),
    method: z.enum(['POST', 'PUT']).prefault('POST').describe('The request’s method.'),
    secret: secret('The key the request is signed with (HMAC-SHA-256), so that the receiver can check it.').optional(),
    headers: z
      .record(
        z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, { error: 'expected the name of an HTTP header' }),
        secret('The header’s value.').refine((value) => !/[\r\n]/.test(value), { error: 'must be one line' }),
      )
      .optional()
      .describe('Further request headers.'),
    body: text()
      .superRefine((value, context) => {
        const problem = templateProblem(value);
        if (problem !== undefined) context.addIssue(problem);
      })
      .optional()
      .describe(
        'A template for the body, such as {"text": "{{subject}}"}. {{name}} is a member of the document, escaped for the content type; {{json name}} its JSON. Default: the whole document.',
      ),
    contentType: oneLine().prefault('application/json').describe('The body’s content type.'),
    ...everyMessenger,
  })
  .describe('A webhook.');
