import { z } from 'zod';
import { secret } from './fields.js';
import { everyMessenger, serverUrl } from './schema-notify-common.js';

export const ntfySchema = z
  .strictObject({
    type: z.literal('ntfy').describe('ntfy.'),
    topic: secret(
      'The topic; whoever knows it can read along. Where it is made of everyday words and names in the config, it is not taken out of messages.',
    ),
    token: secret('The access token, where the server asks for one.').optional(),
    server: serverUrl().prefault('https://ntfy.sh').describe('The server.'),
    ...everyMessenger,
  })
  .describe('ntfy.');

export const gotifySchema = z
  .strictObject({
    type: z.literal('gotify').describe('Gotify.'),
    server: serverUrl().describe('The server.'),
    token: secret('The application’s token.'),
    ...everyMessenger,
  })
  .describe('Gotify.');

export const pushoverSchema = z
  .strictObject({
    type: z.literal('pushover').describe('Pushover.'),
    token: secret('The application’s token.'),
    userKey: secret('The user’s or group’s key.'),
    server: serverUrl().prefault('https://api.pushover.net').describe('The server.'),
    ...everyMessenger,
  })
  .describe('Pushover.');
