import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { answers } from './answers.js';
import { freePort } from './free-port.js';

const source = 'github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0';

/** A fault of the network, as https://github.com/Shopify/toxiproxy describes them. */
export interface Toxic {
  type: 'latency' | 'bandwidth' | 'reset_peer' | 'timeout' | 'slow_close' | 'limit_data';
  /** Which way; default: both. */
  stream?: 'upstream' | 'downstream';
  attributes: Record<string, number>;
}

/** A proxy that does to TCP connections what bad networks do. */
export interface Toxiproxy {
  /** Passes `host:port` on to the same port of 127.0.0.1, or to `target`; resolves to the port it listens on. */
  forward(target: number, at?: { host: string; port: number }): Promise<number>;
  /** Lets all connections, old and new, suffer from these alone. */
  apply(...toxics: Toxic[]): Promise<void>;
  stop(): Promise<void>;
}

function findServer(): string {
  const go = join(homedir(), 'go', 'bin');
  const tools = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'holdfast', 'tools', 'bin');
  const places = [...(process.env.PATH ?? '').split(delimiter), tools, go].map((folder) =>
    join(folder, 'toxiproxy-server'),
  );
  for (const place of [...places, join(go, 'server')]) {
    try {
      accessSync(place, constants.X_OK);
      return place;
    } catch {
      // The next one, then.
    }
  }
  throw new Error(`These tests need toxiproxy-server: scripts/install-tools.sh network (it is ${source})`);
}

export async function startToxiproxy(): Promise<Toxiproxy> {
  const port = await freePort();
  const child = spawn(findServer(), ['-port', String(port)], { stdio: 'ignore' });
  for (const deadline = Date.now() + 10_000; !(await answers(port)); await sleep(10)) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error('toxiproxy did not start');
  }
  const names: string[] = [];
  const ask = async (method: string, path: string, body?: object): Promise<void> => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`toxiproxy ${method} ${path}: ${answer.status} ${await answer.text()}`);
  };
  return {
    async forward(target, at) {
      const { host, port: listen } = at ?? { host: '127.0.0.1', port: await freePort() };
      const name = `${host}-${listen}`;
      await ask('POST', '/proxies', {
        name,
        listen: `${host}:${listen}`,
        upstream: `127.0.0.1:${target}`,
        enabled: true,
      });
      names.push(name);
      return listen;
    },
    async apply(...toxics) {
      await ask('POST', '/reset');
      for (const name of names) {
        for (const [index, { type, stream, attributes }] of toxics.entries()) {
          for (const way of stream === undefined ? ['upstream', 'downstream'] : [stream]) {
            await ask('POST', `/proxies/${name}/toxics`, {
              name: `${type}-${index}-${way}`,
              type,
              stream: way,
              attributes,
            });
          }
        }
      }
    },
    async stop() {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}
