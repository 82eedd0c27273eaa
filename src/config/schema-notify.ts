import { z } from 'zod';
import { discordSchema, slackSchema, teamsSchema, telegramSchema } from './schema-chat.js';
import { emailSchema } from './schema-email.js';
import { healthchecksSchema, uptimekumaSchema } from './schema-ping.js';
import { gotifySchema, ntfySchema, pushoverSchema } from './schema-push.js';
import { webhookSchema } from './schema-webhook.js';

export { notifyEvents } from './schema-notify-common.js';

export const notifySchema = z.discriminatedUnion('type', [
  webhookSchema,
  emailSchema,
  slackSchema,
  discordSchema,
  teamsSchema,
  telegramSchema,
  ntfySchema,
  gotifySchema,
  pushoverSchema,
  healthchecksSchema,
  uptimekumaSchema,
]);
