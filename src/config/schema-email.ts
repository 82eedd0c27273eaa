import { z } from 'zod';
import { path, secret } from './fields.js';
import { everyMessenger, oneLine } from './schema-notify-common.js';

const address = () =>
  oneLine().refine((value) => /^(?:[^<>@,]*<[^\s<>@,]+@[^\s<>@,]+>|[^\s<>@,]+@[^\s<>@,]+)$/.test(value.trim()), {
    error: 'expected an address such as ops@example.com or "Holdfast <ops@example.com>"',
  });

export const emailSchema = z
  .strictObject({
    type: z.literal('email').describe('E-mail over SMTP.'),
    smtp: secret(
      'The server: smtps://USER:PASSWORD@HOST (TLS from the start, port 465) or smtp://... (STARTTLS, port 587). Characters such as @ and / in them are percent-encoded.',
    ).refine((value) => value.includes('${') || (URL.canParse(value) && /^smtps?:\/\/[^/]/i.test(value)), {
      error: 'expected smtps://USER:PASSWORD@HOST or smtp://USER:PASSWORD@HOST',
    }),
    startTls: z
      .enum(['required', 'optional', 'off'])
      .prefault('required')
      .describe(
        'With smtp://: optional sends in the clear where the server offers no STARTTLS; off never asks for it.',
      ),
    caFile: path().optional().describe('A file with the certificate authorities to trust (PEM).'),
    from: address().describe('The sender.'),
    to: z
      .array(address(), { error: 'expected a list of addresses' })
      .min(1, { error: 'expected at least one address' })
      .describe('The recipients.'),
    ...everyMessenger,
  })
  .describe('E-mail.');
