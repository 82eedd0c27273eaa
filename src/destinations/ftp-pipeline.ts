import type { FtpConnection } from './ftp-connection.js';

/** What a server answered to one command; preliminary answers are left out. */
export interface FtpReply {
  code: number;
  /** With the code at its start, lines separated by '\n'. */
  text: string;
}

/** All answers together: a server that never stops talking is not to fill the memory. */
const mostText = 64 * 1024 * 1024;
const serviceCloses = 421;

/** Servers known to lose commands that come before they have answered the one before (as lftp knows them), by their greeting. */
const oneAtATime = /icrosoft FTP Service|MadGoat|MikroTik/i;

/** Whether a server that greets like this takes commands ahead of its answers. */
export const takesPipelines = (greeting: string): boolean => !oneAtATime.test(greeting);

/**
 * Sends commands in one go and resolves to their answers in order, refusals among them: a round trip for all of them in place of
 * one for each. None may open a data connection, or need the answer to another one.
 */
export async function pipelined(
  { client, pipelines }: Pick<FtpConnection, 'client' | 'pipelines'>,
  commands: readonly string[],
): Promise<FtpReply[]> {
  if (commands.some((command) => /[\r\n\0]/.test(command))) {
    throw new Error(`Invalid command: Contains control characters. (${commands.join(', ')})`);
  }
  if (commands.length === 0) return [];
  const width = pipelines ? commands.length : 1;
  const replies: FtpReply[] = [];
  for (let at = 0; at < commands.length; at += width) {
    replies.push(...(await exchange(client, commands.slice(at, at + width))));
  }
  return replies;
}

/** The error that a refusal is, as the library makes them. */
export function refusalOf({ code, text }: FtpReply): Error | undefined {
  return code < 400 ? undefined : Object.assign(new Error(text), { name: 'FTPError', code });
}

/** The answers are parsed here: the library loses a line that comes in two pieces, and takes 64 KiB at most. */
async function exchange({ ftp }: FtpConnection['client'], commands: readonly string[]): Promise<FtpReply[]> {
  const { socket } = ftp;
  const theirs = socket.listeners('data');
  const replies: FtpReply[] = [];
  const parser = new ReplyParser();
  const wake = (): void => {
    for (const listener of theirs) listener.call(socket, '200 \n');
  };
  const listen = (chunk: string): void => {
    try {
      replies.push(...parser.take(chunk));
    } catch (error) {
      ftp.closeWithError(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    if (replies.length >= commands.length || replies.some(({ code }) => code === serviceCloses)) wake();
  };
  // As the library's task, this has its time-out, and hears of the connection's end.
  const answered = ftp.handle(undefined, (answer, task) => {
    if (answer instanceof Error) task.reject(answer);
    else task.resolve(answer);
  });
  try {
    if (!ftp.closed) {
      socket.on('data', listen);
      for (const listener of theirs) socket.off('data', listener as (chunk: string) => void);
      // In one piece: Nagle's algorithm would hold back the second one for a round trip.
      socket.write(`${commands.join('\r\n')}\r\n`, ftp.encoding);
    }
    await answered;
  } finally {
    socket.off('data', listen);
    if (!ftp.closed) for (const listener of theirs) socket.on('data', listener as (chunk: string) => void);
  }
  const refused = replies.find(({ code }) => code === serviceCloses);
  if (refused === undefined && replies.length === commands.length) return replies;
  ftp.close();
  throw refusalOf(refused ?? { code: 500, text: `${replies.length} answers came to ${commands.length} commands` });
}

/** Puts answers together from the pieces in which they come (RFC 959, 4.2). */
class ReplyParser {
  private rest = '';
  private lines: string[] = [];
  private taken = 0;

  take(chunk: string): FtpReply[] {
    this.taken += chunk.length;
    if (this.taken > mostText) throw new Error('the server talks too much');
    const parts = (this.rest + chunk).split('\n');
    this.rest = parts.pop() ?? '';
    return parts.flatMap((part) => this.line(part.replace(/\r$/, '')));
  }

  private line(line: string): FtpReply[] {
    const [first] = this.lines;
    if (first === undefined && !/^\d{3}(?:$|[ -])/.test(line)) return [];
    this.lines.push(line);
    const start = (first ?? line).slice(0, 3);
    const ends = first === undefined ? line[3] !== '-' : line === start || line.startsWith(`${start} `);
    if (!ends) return [];
    const text = this.lines.join('\n');
    this.lines = [];
    const code = Number(start);
    return code < 200 ? [] : [{ code, text }];
  }
}
