import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { Client } from 'basic-ftp';
import { afterEach, describe, expect, it } from 'vitest';
import { pipelined, refusalOf, takesPipelines } from '../../src/destinations/ftp-pipeline.js';
import { listingIn } from '../../src/destinations/ftp-stat-list.js';

let server: Server | undefined;
const client = new Client(5000);
const sockets: Socket[] = [];

afterEach(() => {
  client.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.close();
});

/** A server that gives these pieces once it has got so many commands; what it got goes to `got`. */
async function connected(commands: number, pieces: string[], got: string[] = []): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket);
    socket.setEncoding('utf8').on('error', () => {});
    socket.write('220 hello\r\n');
    socket.on('data', async (text) => {
      got.push(String(text));
      if (got.join('').split('\r\n').length - 1 !== commands) return;
      for (const piece of pieces) {
        socket.write(piece);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      if (pieces.at(-1) === '') socket.destroy();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  await client.connect('127.0.0.1', (server.address() as AddressInfo).port);
}

describe('pipelined', () => {
  it('sends all at once and puts the answers together from whatever pieces they come in', async () => {
    const got: string[] = [];
    await connected(3, ['25', '0 made\r\n213-Li', 'nes:\r\n 213 not the end\r\n2', '13 End\r\n55', '0 no\r\n'], got);
    const replies = await pipelined({ client, pipelines: true }, ['MKD /a', 'STAT /a', 'CWD /b']);
    expect(replies).toEqual([
      { code: 250, text: '250 made' },
      { code: 213, text: '213-Lines:\n 213 not the end\n213 End' },
      { code: 550, text: '550 no' },
    ]);
    expect(replies.map((reply) => refusalOf(reply)?.message)).toEqual([undefined, undefined, '550 no']);
    expect(got).toEqual(['MKD /a\r\nSTAT /a\r\nCWD /b\r\n']);
  });

  it('takes answers that are larger than the library takes, and leaves the connection usable', async () => {
    const lines = ' line of a listing\r\n'.repeat(10_000);
    await connected(2, [`213-Lines:\r\n${lines}213 End\r\n200 ok\r\n`]);
    const replies = await pipelined({ client, pipelines: true }, ['STAT /a', 'NOOP']);
    expect(replies[0]?.text).toHaveLength('213-Lines:\n213 End'.length + ' line of a listing\n'.length * 10_000);
    const next = client.send('NOOP');
    sockets[0]?.write('200 again\r\n');
    expect(await next).toMatchObject({ code: 200, message: '200 again' });
  });

  it('sends one after the other where the server is known to lose commands', async () => {
    const got: string[] = [];
    await connected(1, ['200 one\r\n'], got);
    expect(await pipelined({ client, pipelines: false }, ['NOOP'])).toEqual([{ code: 200, text: '200 one' }]);
    const both = pipelined({ client, pipelines: false }, ['FIRST', 'SECOND']);
    await expect.poll(() => got).toEqual(['NOOP\r\n', 'FIRST\r\n']);
    sockets[0]?.write('200 a\r\n');
    await expect.poll(() => got.at(-1)).toBe('SECOND\r\n');
    sockets[0]?.write('200 b\r\n');
    expect((await both).map(({ text }) => text)).toEqual(['200 a', '200 b']);
    expect(takesPipelines('220 Microsoft FTP Service')).toBe(false);
    expect(takesPipelines('220 (vsFTPd 3.0.3)')).toBe(true);
  });

  it('fails when the connection ends, or the server says goodbye, in between', async () => {
    await connected(2, ['200 one\r\n', '']);
    await expect(pipelined({ client, pipelines: true }, ['A', 'B'])).rejects.toThrow(/closed|FIN/i);
    server?.close();
    await connected(2, ['421 too many\r\n']);
    await expect(pipelined({ client, pipelines: true }, ['A', 'B'])).rejects.toMatchObject({ code: 421 });
    expect(client.closed).toBe(true);
  });

  it('sends nothing that would be another command', async () => {
    await connected(9, []);
    await expect(pipelined({ client, pipelines: true }, ['MKD a', 'MKD b\r\nDELE c'])).rejects.toThrow(/control/i);
  });
});

describe('listingIn', () => {
  const itself = 'drwx------    2 0   0   4096 Jan 02 03:04 .\ndrwx------    2 0   0   4096 Jan 02 03:04 ..\n';
  const file = '-rw-------    1 0   0     12 Jan 02 03:04 object\n';

  it('believes a listing that has the folder itself in it, and no other', () => {
    const listed = listingIn({ code: 213, text: `213-Status follows:\n${itself}${file}213 End of status` });
    expect(listed).toMatchObject([{ name: 'object', size: 12 }]);
    expect(listingIn({ code: 213, text: `213-Status follows:\n${itself}213 End` })).toEqual([]);
    for (const text of ['213-Status follows:\n213 End', `213-Status follows:\n${file}213 End`, '213 none of it'])
      expect(listingIn({ code: 213, text })).toBeUndefined();
    expect(listingIn({ code: 550, text: '550 no' })).toBeUndefined();
  });
});
