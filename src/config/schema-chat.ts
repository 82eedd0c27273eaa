import { z } from 'zod';
import { secret } from './fields.js';
import { everyMessenger, oneLine, secretUrl, serverUrl } from './schema-notify-common.js';

export const slackSchema = z
  .strictObject({
    type: z.literal('slack').describe('Slack.'),
    url: secretUrl('The incoming webhook’s URL.'),
    ...everyMessenger,
  })
  .describe('Slack, by an incoming webhook.');

export const discordSchema = z
  .strictObject({
    type: z.literal('discord').describe('Discord.'),
    url: secretUrl('The channel’s webhook URL.'),
    ...everyMessenger,
  })
  .describe('Discord, by a channel’s webhook.');

export const teamsSchema = z
  .strictObject({
    type: z.literal('teams').describe('Microsoft Teams.'),
    url: secretUrl('The URL of a workflow that posts webhook requests to a channel.'),
    ...everyMessenger,
  })
  .describe('Microsoft Teams, by a workflow’s webhook.');

export const telegramSchema = z
  .strictObject({
    type: z.literal('telegram').describe('Telegram.'),
    token: secret('The bot’s token.'),
    chat: oneLine().describe('The chat’s id, or @channel.'),
    server: serverUrl().prefault('https://api.telegram.org').describe('The Bot API’s server.'),
    ...everyMessenger,
  })
  .describe('Telegram, by a bot.');
