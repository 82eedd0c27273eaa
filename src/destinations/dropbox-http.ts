import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';

/** A request body of known length that is read while it is sent. */
export class SizedStream {
  constructor(
    readonly stream: Readable,
    readonly length: number,
  ) {}
}

/** What Dropbox's client asks of a `fetch`. */
interface FetchOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: unknown;
}

/** What Dropbox's client uses of an answer; `buffer` gives a download as the stream it is. */
interface FetchAnswer {
  ok: boolean;
  status: number;
  headers: { get(name: string): string | null };
  text(): Promise<string>;
  buffer(): Promise<IncomingMessage>;
}

/** Connections to Dropbox, or to what stands in its place. */
export class DropboxHttp {
  private readonly agents = {
    http: new HttpAgent({ keepAlive: true, maxSockets: 16 }),
    https: new HttpsAgent({ keepAlive: true, maxSockets: 16 }),
  };

  /** @param endpoint takes requests for https://api.dropboxapi.com at its folder `api`, and so on. */
  constructor(private readonly endpoint: string | undefined) {}

  /** A `fetch` for one call, which `signal` ends. Unlike the usual ones it streams, both ways. */
  fetch(signal: AbortSignal): (url: string, options?: FetchOptions) => Promise<FetchAnswer> {
    return (url, options = {}) => this.send(this.target(url), options, signal);
  }

  close(): void {
    this.agents.http.destroy();
    this.agents.https.destroy();
  }

  private target(url: string): URL {
    const asked = new URL(url);
    if (this.endpoint === undefined) return asked;
    const folder = asked.hostname.split('.')[0];
    return new URL(`${this.endpoint.replace(/\/+$/, '')}/${folder}${asked.pathname}${asked.search}`);
  }

  private send(
    url: URL,
    { method = 'GET', headers = {}, body }: FetchOptions,
    signal: AbortSignal,
  ): Promise<FetchAnswer> {
    const isPlain = url.protocol === 'http:';
    const sized = body instanceof SizedStream ? body : undefined;
    const content = typeof body === 'string' ? Buffer.from(body) : undefined;
    return new Promise((resolve, reject) => {
      const length = sized?.length ?? content?.length ?? 0;
      const outgoing = (isPlain ? requestHttp : requestHttps)(url, {
        method,
        headers: { ...headers, 'Content-Length': String(length) },
        agent: isPlain ? this.agents.http : this.agents.https,
        signal,
      });
      outgoing.on('error', reject);
      outgoing.on('response', (incoming) => {
        // An answer that comes before everything is sent is a refusal.
        if (sized !== undefined && !sized.stream.readableEnded) {
          sized.stream.unpipe(outgoing);
          sized.stream.destroy();
          incoming.once('close', () => outgoing.destroy());
        }
        resolve(answerOf(incoming));
      });
      if (sized === undefined) outgoing.end(content);
      else {
        sized.stream.on('error', (error) => outgoing.destroy(error));
        sized.stream.pipe(outgoing);
      }
    });
  }
}

function answerOf(incoming: IncomingMessage): FetchAnswer {
  const status = incoming.statusCode ?? 0;
  return {
    ok: status >= 200 && status < 300,
    status,
    headers: {
      get(name) {
        const value = incoming.headers[name.toLowerCase()];
        return (Array.isArray(value) ? value.join(', ') : value) ?? null;
      },
    },
    text: () => text(incoming),
    buffer: async () => incoming,
  };
}
