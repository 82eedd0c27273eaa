import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';

/** What happens to a request instead of its being served. */
export type Fault =
  | { answer: { status: number; body?: unknown; headers?: Record<string, string> } }
  /** The connection breaks when so many bytes of the request's body have been taken in. */
  | { cutRequestAfter: number }
  /** The request is served, and the connection breaks after so many bytes of the answer's body. */
  | { cutAnswerAfter: number };

/** One request as a fake service sees it. */
export interface Asked {
  method: string;
  url: URL;
  headers: IncomingMessage['headers'];
  incoming: IncomingMessage;
}

/** An answer; `stream` writes the body itself. */
export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
  stream?: (outgoing: ServerResponse) => void;
}

/** Ends a request with this answer from wherever it is thrown. */
export class Refusal extends Error {
  constructor(readonly answer: Answer) {
    super(`refused with ${answer.status}`);
  }
}

/** An HTTP server on the loopback that can go away and come back, and get into every kind of trouble on request. */
export class FakeHttp {
  /** Decides about each request; undefined serves it. */
  fault: (asked: Asked) => Fault | undefined = () => undefined;
  /** Every request, `METHOD /path`. */
  readonly log: string[] = [];
  private server: Server | undefined;
  private port = 0;

  constructor(private readonly serve: (asked: Asked, limit: number) => Promise<Answer>) {}

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Listens, on the same port as before if it did. */
  async start(): Promise<void> {
    const server = createServer((incoming, outgoing) => void this.handle(incoming, outgoing));
    this.server = server;
    server.listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    this.port = address.port;
  }

  /** Breaks every connection and refuses new ones. */
  async stop(): Promise<void> {
    const server = this.server;
    this.server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }

  private async handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', this.endpoint);
    const asked: Asked = { method: incoming.method ?? '', url, headers: incoming.headers, incoming };
    const { socket } = incoming;
    this.log.push(`${asked.method} ${url.pathname}`);
    const fault = this.fault(asked);
    try {
      if (fault !== undefined && 'answer' in fault) {
        incoming.resume();
        this.answer(outgoing, fault.answer);
        return;
      }
      const limit =
        fault !== undefined && 'cutRequestAfter' in fault ? fault.cutRequestAfter : Number.POSITIVE_INFINITY;
      const answer = await this.serve(asked, limit);
      if (fault !== undefined && 'cutAnswerAfter' in fault) cut(outgoing, fault.cutAnswerAfter);
      this.answer(outgoing, answer);
    } catch (error) {
      if (error instanceof Refusal) {
        incoming.resume();
        this.answer(outgoing, error.answer);
      } else if (error instanceof Cut) socket.destroy();
      else {
        // The client went away.
        if (!incoming.destroyed) console.error(error);
        outgoing.destroy();
      }
    }
  }

  private answer(outgoing: ServerResponse, { status, headers = {}, body, stream }: Answer): void {
    const isText = typeof body === 'string';
    const bytes = body === undefined ? '' : isText ? body : JSON.stringify(body);
    const type = isText || body === undefined ? 'text/plain' : 'application/json; charset=UTF-8';
    outgoing.writeHead(status, { 'content-type': type, ...headers });
    if (stream === undefined) outgoing.end(bytes);
    else stream(outgoing);
  }
}

/** The connection is to be broken. */
export class Cut extends Error {}

function cut(outgoing: ServerResponse, after: number): void {
  let left = after;
  const write = outgoing.write.bind(outgoing);
  const send = (chunk: unknown, encoding?: unknown, done?: unknown): boolean => {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk ?? ''));
    const some = bytes.subarray(0, left);
    left -= some.length;
    const callback = typeof encoding === 'function' ? encoding : done;
    return write(some, () => {
      if (left <= 0) outgoing.destroy();
      else if (typeof callback === 'function') callback();
    });
  };
  if (after === 0) outgoing.writeHead = () => outgoing.destroy();
  Object.assign(outgoing, {
    write: send,
    end: (chunk?: unknown) => {
      if (chunk !== undefined) send(chunk);
      outgoing.destroy();
      return outgoing;
    },
  });
}

/** Takes in a body piece by piece, at most `limit` bytes: then the connection breaks. */
export async function takeIn(incoming: IncomingMessage, limit: number, take: (bytes: Buffer) => void): Promise<void> {
  let taken = 0;
  for await (const chunk of incoming) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('expected bytes');
    const some = chunk.subarray(0, limit - taken);
    take(some);
    taken += some.length;
    if (taken >= limit) throw new Cut();
  }
}

/** A body in memory. */
export async function wholeBody(incoming: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await takeIn(incoming, limit, (bytes) => chunks.push(bytes));
  return Buffer.concat(chunks);
}

export async function jsonBody(incoming: IncomingMessage): Promise<Record<string, unknown>> {
  const said = await text(incoming);
  const parsed: unknown = said === '' ? {} : JSON.parse(said);
  if (typeof parsed !== 'object' || parsed === null) throw new TypeError('expected an object');
  return { ...parsed };
}
