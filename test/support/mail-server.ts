import type { AddressInfo } from 'node:net';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';

export interface Mail {
  from: string;
  to: string[];
  /** As it came: headers and body. */
  raw: string;
  secure: boolean;
  user: string | undefined;
}

/** A real SMTP server on loopback that keeps what it is sent. */
export class MailServer {
  private constructor(
    private readonly server: SMTPServer,
    readonly port: number,
    readonly mails: Mail[],
  ) {}

  static async start(options: SMTPServerOptions & { user?: string; password?: string } = {}): Promise<MailServer> {
    const { user, password, ...rest } = options;
    const mails: Mail[] = [];
    const server = new SMTPServer({
      logger: false,
      authOptional: user === undefined,
      onAuth(auth, _session, done) {
        if (auth.username === user && auth.password === password) done(null, { user: auth.username });
        else done(new Error(`535 5.7.8 wrong: ${auth.username} ${auth.password}`));
      },
      onData(stream, session, done) {
        let raw = '';
        stream.setEncoding('utf8').on('data', (text: string) => {
          raw += text;
        });
        stream.on('end', () => {
          const { mailFrom, rcptTo } = session.envelope;
          mails.push({
            from: mailFrom === false ? '' : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            raw,
            secure: session.secure,
            user: typeof session.user === 'string' ? session.user : undefined,
          });
          done();
        });
      },
      ...rest,
    });
    // A client that turns away because of a certificate is no reason to end.
    server.on('error', () => undefined);
    const listening = server.listen(0, '127.0.0.1');
    await new Promise<void>((resolve) => listening.once('listening', resolve));
    return new MailServer(server, (listening.address() as AddressInfo).port, mails);
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => this.server.close(resolve));
  }
}

/** A MIME message's decoded text parts, by content type. */
export function partsOf(raw: string): Map<string, string> {
  const parts = new Map<string, string>();
  const boundary = /boundary="([^"]+)"/.exec(raw)?.[1] ?? '';
  for (const part of raw.split(`--${boundary}`)) {
    const type = /content-type: (text\/\w+)/i.exec(part)?.[1];
    const at = part.indexOf('\r\n\r\n');
    if (type === undefined || at < 0) continue;
    const body = part.slice(at + 4);
    const encoding = /content-transfer-encoding: (\S+)/i.exec(part)?.[1]?.toLowerCase();
    parts.set(
      type,
      encoding === 'base64'
        ? Buffer.from(body, 'base64').toString('utf8')
        : encoding === 'quoted-printable'
          ? unquote(body)
          : body.replaceAll('\r\n', '\n'),
    );
  }
  return parts;
}

function unquote(text: string): string {
  const bytes = text
    .replaceAll('=\r\n', '')
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8').replaceAll('\r\n', '\n');
}
