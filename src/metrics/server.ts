import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { errnoOf } from '../errors.js';

export interface MetricsServerOptions {
  host: string;
  port: number;
  /** Without it everybody who reaches the port may scrape. */
  token: string | undefined;
  /** The exposition, in Prometheus' text format 0.0.4. */
  render: () => Promise<string>;
  /** Whether a worker serves. */
  healthy: () => boolean;
  log: Logger;
}

const retryMs = 5000;

/**
 * Serves GET /metrics (with the token) and /health (without). Where the port is taken, as by a worker that this one waits to
 * follow, it tries again until it is free: backups don't depend on it.
 */
export function serveMetrics(options: MetricsServerOptions): { close(): Promise<void> } {
  const { host, port, log } = options;
  const server = createServer({ headersTimeout: 5000, requestTimeout: 10_000 }, (request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      log.warn({ err: error }, 'the metrics could not be worked out');
      if (!response.headersSent) reply(response, 500, 'the metrics could not be worked out; see the log\n');
    });
  });
  server.maxConnections = 32;
  let retry: NodeJS.Timeout | undefined;
  let warned = false;
  const listen = () => server.listen({ host, port, exclusive: true });
  server.on('listening', () =>
    log.info(`metrics at http://${host.includes(':') ? `[${host}]` : host}:${port}/metrics`),
  );
  server.on('error', (error) => {
    if (!warned) log.warn(`no metrics at ${host}:${port} (${errnoOf(error) ?? error.message}); it is tried again`);
    warned = true;
    retry = setTimeout(listen, retryMs);
  });
  listen();
  return {
    async close() {
      clearTimeout(retry);
      if (!server.listening) return;
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

async function answer(
  options: MetricsServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = request.url?.split('?')[0];
  if (request.method !== 'GET') return reply(response, 404, 'not found\n');
  if (path === '/health') return options.healthy() ? reply(response, 200, 'ok\n') : reply(response, 503, 'no worker\n');
  if (path !== '/metrics') return reply(response, 404, 'not found\n');
  if (options.token !== undefined && !isAuthorized(request.headers.authorization, options.token)) {
    response.setHeader('WWW-Authenticate', 'Bearer');
    return reply(response, 401, 'expected Authorization: Bearer TOKEN\n');
  }
  reply(response, 200, await options.render(), 'text/plain; version=0.0.4; charset=utf-8');
}

/** Digests are compared, so that neither time nor length tells anything of the token. */
function isAuthorized(header: string | undefined, token: string): boolean {
  const given = /^Bearer (.*)$/i.exec(header ?? '')?.[1];
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

function reply(response: ServerResponse, status: number, body: string, type = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(body);
}
