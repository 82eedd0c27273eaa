import { z } from 'zod';
import { secret } from './fields.js';

const expected = 'expected HOST:PORT such as 127.0.0.1:9477 or [::1]:9477';

/** The parts of HOST:PORT; undefined where it is none. IPv6 addresses stand in brackets and come without. */
export function parseListen(listen: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(listen);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || !(port >= 1 && port <= 65_535) ? undefined : { host, port };
}

const isLoopback = (host: string): boolean => /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/.test(host);

export const metricsSchema = z
  .strictObject({
    listen: z
      .string({ error: expected })
      .refine((value) => parseListen(value) !== undefined, { error: expected })
      .prefault('127.0.0.1:9477')
      .describe('HOST:PORT to listen at. Another address than the loopback needs `token`.'),
    token: secret(
      'What scrapers have to send as `Authorization: Bearer TOKEN`. Left out: every user of this machine can read the metrics.',
    ).optional(),
  })
  .superRefine(({ listen, token }, context) => {
    const host = parseListen(listen)?.host;
    if (host !== undefined && !isLoopback(host) && token === undefined) {
      context.addIssue({
        code: 'custom',
        path: ['listen'],
        message: `${host} can be reached from elsewhere: expected a \`token\` with it, or 127.0.0.1`,
      });
    }
  })
  .describe('Metrics for Prometheus at /metrics, served by `up` and `worker`. Left out: none.');
