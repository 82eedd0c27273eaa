import { z } from 'zod';
import { pingEvents, pingOn, secretUrl } from './schema-notify-common.js';

export const healthchecksSchema = z
  .strictObject({
    type: z.literal('healthchecks').describe('Healthchecks.'),
    url: secretUrl('The check’s ping URL, such as https://hc-ping.com/UUID. One check for each job.'),
    on: pingOn(pingEvents, 'warning (a partial run) and failure ping /fail.'),
  })
  .describe('Healthchecks: pings at the start and the end of each run; it tells when they stay away.');

export const uptimekumaSchema = z
  .strictObject({
    type: z.literal('uptimekuma').describe('Uptime Kuma.'),
    url: secretUrl('The push monitor’s URL, with or without its query. One monitor for each job.'),
    on: pingOn(['success', 'warning', 'failure'], 'warning (a partial run) and failure say that it is down.'),
  })
  .describe('Uptime Kuma, by a push monitor; it tells when pings stay away.');
