import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';

/** What the proxy does with a request instead of, or while, passing it on. */
export type Meddling =
  | { answer: { status: number; body?: string; headers?: Record<string, string> } }
  | { cutAfter: number };

export interface HttpProxy {
  readonly endpoint: string;
  /** Decides about each request; undefined passes it on untouched. */
  meddle: (incoming: IncomingMessage) => Meddling | undefined;
  stop(): Promise<void>;
}

/** A proxy before an HTTP server that can refuse requests or break off answers in the middle. */
export async function startProxy(targetPort: number): Promise<HttpProxy> {
  const server = createServer((incoming, outgoing) => {
    const meddling = proxy.meddle(incoming);
    if (meddling !== undefined && 'answer' in meddling) {
      const { status, body = '', headers = {} } = meddling.answer;
      incoming
        .resume()
        .on('end', () => outgoing.writeHead(status, { 'content-type': 'application/xml', ...headers }).end(body));
      return;
    }
    const { method, url: path, headers } = incoming;
    const passed = request({ host: '127.0.0.1', port: targetPort, method, path, headers, agent: false }, (answer) => {
      if (meddling?.cutAfter === 0) {
        outgoing.destroy();
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      if (meddling === undefined) {
        answer.pipe(outgoing);
        return;
      }
      let left = meddling.cutAfter;
      answer.on('data', (chunk: Buffer) => {
        const some = chunk.subarray(0, left);
        left -= some.length;
        outgoing.write(some, () => {
          if (left === 0) outgoing.destroy();
        });
      });
    });
    passed.on('error', () => outgoing.destroy());
    incoming.on('error', () => passed.destroy());
    incoming.pipe(passed);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const proxy: HttpProxy = {
    endpoint: `http://127.0.0.1:${address.port}`,
    meddle: () => undefined,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
