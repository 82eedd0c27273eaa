import { performance } from 'node:perf_hooks';
import type { Client, SFTPWrapper } from 'ssh2';

/** An answer of the server other than OK; `status` is from draft-ietf-secsh-filexfer-02, section 7. */
export const sftpStatus = {
  eof: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  unsupported: 8,
} as const;

/** The status that an SFTP server answered, or undefined for other errors. */
export function statusOf(error: unknown): number | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'number') return error.code;
  return undefined;
}

/** The connection broke, or nothing came over it for too long. */
export class ConnectionLost extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ConnectionLost';
  }
}

type Answer<T> = (error: Error | null | undefined, value: T) => void;

const pingAfterMs = 15_000;
const closeAfterMs = 60_000;

/**
 * One SFTP session. Requests may be sent at any time and are answered in the order the server likes. A request unanswered
 * while nothing at all comes for `timeoutMs` breaks the connection, so that a dead one never hangs.
 */
export class SftpConnection {
  /** Operations that use it now; the pool shares it among several. */
  load = 0;
  /** Those of them that fill it. */
  heavy = 0;
  private lost: ConnectionLost | undefined;
  private heardAt = performance.now();
  private usedAt = performance.now();
  private readonly waiting = new Set<(error: ConnectionLost) => void>();
  private readonly timer: NodeJS.Timeout;

  /** @param clients the SSH connection, and below it the one to the jump host */
  constructor(
    private readonly sftp: SFTPWrapper,
    private readonly clients: readonly Client[],
    private readonly timeoutMs: number,
    onClose: () => void,
  ) {
    const end = (why: string) => (error?: unknown) => {
      this.end(new ConnectionLost(error instanceof Error ? error.message : why, error));
      onClose();
    };
    for (const client of clients)
      client.on('error', end('the connection failed')).on('close', end('the connection was closed'));
    sftp.on('error', end('the SFTP session failed')).on('close', end('the server ended the SFTP session'));
    this.timer = setInterval(() => this.watch(), Math.min(timeoutMs / 4, 5000)).unref();
  }

  get closed(): boolean {
    return this.lost !== undefined;
  }

  /** Whether the server offers an extension, such as `fsync@openssh.com`. */
  offers(extension: string): boolean {
    const offered = '_extensions' in this.sftp ? this.sftp._extensions : undefined;
    return typeof offered === 'object' && offered !== null && extension in offered;
  }

  /** Sends one request; rejects with the server's status, or with `ConnectionLost`. */
  call<T = void>(send: (sftp: SFTPWrapper, answer: Answer<T>) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.lost !== undefined) {
        reject(this.lost);
        return;
      }
      if (this.waiting.size === 0) this.heardAt = performance.now();
      this.usedAt = performance.now();
      this.waiting.add(reject);
      const answer: Answer<T> = (error, value) => {
        this.heardAt = performance.now();
        if (!this.waiting.delete(reject)) return;
        if (error) reject(error);
        else resolve(value);
      };
      try {
        send(this.sftp, answer);
      } catch (error) {
        this.waiting.delete(reject);
        reject(error);
      }
    });
  }

  close(): void {
    this.end(new ConnectionLost('the destination was closed'));
    for (const client of this.clients) client.end();
  }

  private watch(): void {
    const now = performance.now();
    if (this.waiting.size > 0) {
      if (now - this.heardAt < this.timeoutMs) return;
      this.end(new ConnectionLost(`the server did not answer for ${Math.round(this.timeoutMs / 1000)} s`));
      for (const client of this.clients) client.destroy();
    } else if (this.load === 0 && now - this.usedAt > closeAfterMs) {
      this.close();
    } else if (now - this.heardAt > pingAfterMs) {
      const { usedAt } = this;
      this.call<string>((sftp, answer) => sftp.realpath('.', answer)).catch(() => {});
      this.usedAt = usedAt;
    }
  }

  private end(error: ConnectionLost): void {
    if (this.lost !== undefined) return;
    this.lost = error;
    clearInterval(this.timer);
    for (const reject of this.waiting) reject(error);
    this.waiting.clear();
  }
}
