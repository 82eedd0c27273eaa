import { z } from 'zod';
import { plainText, secret, text } from './fields.js';
import { endpoint } from './schema-endpoint.js';

/** What only a Dropbox destination may say. */
export const dropboxFields = {
  type: z.literal('dropbox').describe('Dropbox.'),
  path: plainText()
    .overwrite((value) => (value.length > 1 ? value.replace(/\/+$/, '') : value))
    .refine((value) => value === '/' || /^(\/(?!\.{1,2}(\/|$))[^/\\\0]+)+$/.test(value), {
      error: 'expected a folder such as /backups, beginning with `/`, without empty parts, `.` or `..`',
    })
    .describe('The folder, such as /backups; `/` is everything the app may see.'),
  appKey: text().describe('The app’s key, from the Dropbox App Console.'),
  appSecret: secret('The app’s secret. Left out: logins are proven by PKCE alone.').optional(),
  refreshToken: secret('A refresh token from elsewhere. Left out: `holdfast login` gets one.').optional(),
  namespace: z
    .string()
    .regex(/^(home|team|\d+)$/, { error: 'expected home, team or the number of a namespace' })
    .optional()
    .describe(
      'Where `path` begins. home: the user’s folder; team: the team’s space; or a namespace’s id. Default: home.',
    ),
  endpoint: endpoint()
    .optional()
    .describe(
      'A base URL whose folders `api`, `content` and `www` stand for Dropbox’s hosts, for a gateway or tests. Default: Dropbox’s.',
    ),
};
