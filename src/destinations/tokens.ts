import { join } from 'node:path';
import { HoldfastError } from '../errors.js';
import { type Grant, type OAuthClient, OAuthRefusal, refreshForm, requestToken } from './oauth.js';
import { readPrivate, withLock, writePrivate } from './private-file.js';
import { isRecord } from './service-errors.js';

/** What a login left: kept in `state/tokens/<destination>.json`, 0600. */
export interface StoredToken {
  refreshToken: string;
  accessToken?: string;
  /** Milliseconds since the epoch. */
  expiresAt?: number;
  /** When somebody logged in, ISO 8601. */
  since?: string;
  /** Who is logged in, for people. */
  account?: string;
}

/** Gives access tokens that are valid now. */
export interface AccessTokens {
  /** @throws HoldfastError `AuthExpired`, `AuthDenied`, `DestinationUnreachable`, `Throttled`, `DestinationFailed`. */
  get(): Promise<string>;
  /** The service refused this one: the next `get` asks for another. */
  reject(token: string): void;
  /** Values that no message may hold. */
  secrets(): string[];
}

/** A token that ends within this time is renewed first. */
const marginMs = 60_000;

/** One destination's token file. Whoever reads it in order to replace it holds its lock. */
export class TokenFile {
  readonly path: string;

  constructor(state: string, destination: string) {
    this.path = join(state, 'tokens', `${destination}.json`);
  }

  async read(): Promise<StoredToken | undefined> {
    const found = await readPrivate(this.path);
    return isStoredToken(found) ? found : undefined;
  }

  /** Durable when the promise resolves; before that the older one stays. */
  write(token: StoredToken): Promise<void> {
    return writePrivate(this.path, `${JSON.stringify(token, null, 2)}\n`);
  }

  locked<T>(work: () => Promise<T>): Promise<T> {
    return withLock(`${this.path}.lock`, work);
  }
}

function isStoredToken(value: unknown): value is StoredToken {
  return (
    isRecord(value) &&
    typeof value.refreshToken === 'string' &&
    (value.accessToken === undefined || typeof value.accessToken === 'string') &&
    (value.expiresAt === undefined || typeof value.expiresAt === 'number') &&
    (value.since === undefined || typeof value.since === 'string') &&
    (value.account === undefined || typeof value.account === 'string')
  );
}

/** Asks for tokens on demand, keeps the current one, and lets everybody who waits share one request. */
abstract class CachedTokens implements AccessTokens {
  private current: Grant | undefined;
  private coming: Promise<Grant> | undefined;
  private rejected: string | undefined;

  async get(): Promise<string> {
    const { current } = this;
    if (current !== undefined && isFresh(current.expiresAt)) return current.accessToken;
    this.coming ??= this.obtain(this.rejected)
      .then((grant) => {
        this.current = grant;
        return grant;
      })
      .finally(() => {
        this.coming = undefined;
      });
    return (await this.coming).accessToken;
  }

  reject(token: string): void {
    this.rejected = token;
    if (this.current?.accessToken === token) this.current = undefined;
  }

  secrets(): string[] {
    return [this.current?.accessToken, this.current?.refreshToken].filter((value) => value !== undefined);
  }

  protected abstract obtain(rejected: string | undefined): Promise<Grant>;
}

/** Access tokens of somebody who logged in. The file is read anew for each, so a new login counts at once. */
export class LoginTokens extends CachedTokens {
  constructor(
    private readonly label: string,
    private readonly destination: string,
    private readonly client: OAuthClient,
    private readonly file: TokenFile,
    /** A refresh token from the config. */
    private readonly configured?: string,
  ) {
    super();
  }

  override secrets(): string[] {
    const { clientSecret } = this.client;
    return [...super.secrets(), clientSecret, this.configured].filter((value) => value !== undefined);
  }

  protected async obtain(rejected: string | undefined): Promise<Grant> {
    const fresh = asGrant(await this.file.read(), rejected);
    return fresh ?? (await this.file.locked(() => this.renew(rejected)));
  }

  private async renew(rejected: string | undefined): Promise<Grant> {
    const stored = await this.file.read();
    // Another process has done it meanwhile.
    const fresh = asGrant(stored, rejected);
    if (fresh !== undefined) return fresh;
    const known = new Set([stored?.refreshToken, this.configured].filter((token) => token !== undefined));
    if (known.size === 0) throw this.expired('nobody is logged in');
    let refusal: OAuthRefusal | undefined;
    for (const token of known) {
      try {
        const grant = await requestToken(this.label, this.client.tokenUrl, refreshForm(this.client, token));
        const refreshToken = grant.refreshToken ?? token;
        const { account, since } = stored ?? {};
        const { accessToken, expiresAt } = grant;
        await this.file.write({
          refreshToken,
          accessToken,
          expiresAt,
          ...(since === undefined ? {} : { since }),
          ...(account === undefined ? {} : { account }),
        });
        return { ...grant, refreshToken };
      } catch (error) {
        if (!(error instanceof OAuthRefusal)) throw error;
        if (error.error !== 'invalid_grant') throw clientRefused(this.label, error);
        refusal = error;
      }
    }
    throw this.expired(`the login has expired or was revoked (${refusal?.message ?? 'invalid_grant'})`);
  }

  private expired(why: string): HoldfastError {
    return new HoldfastError('AuthExpired', `${this.label}: ${why}`, {
      hint: `Run \`holdfast login ${this.destination}\`.`,
    });
  }
}

/** Access tokens of an account that has a key of its own in place of a login. */
export class KeyTokens extends CachedTokens {
  constructor(
    private readonly label: string,
    private readonly tokenUrl: string,
    private readonly form: () => Record<string, string>,
    private readonly key: string,
  ) {
    super();
  }

  override secrets(): string[] {
    return [...super.secrets(), this.key];
  }

  protected async obtain(): Promise<Grant> {
    try {
      return await requestToken(this.label, this.tokenUrl, this.form());
    } catch (error) {
      if (error instanceof OAuthRefusal) throw clientRefused(this.label, error);
      throw error;
    }
  }
}

function clientRefused(label: string, refusal: OAuthRefusal): HoldfastError {
  return new HoldfastError('AuthDenied', `${label}: the credentials are refused (${refusal.message})`, {
    hint: 'Check the app or client in the config: its id, its secret or key, and that it was not deleted.',
  });
}

function asGrant(stored: StoredToken | undefined, rejected: string | undefined): Grant | undefined {
  const { accessToken, expiresAt, refreshToken } = stored ?? {};
  if (accessToken === undefined || expiresAt === undefined || accessToken === rejected) return undefined;
  return isFresh(expiresAt) ? { accessToken, expiresAt, ...(refreshToken && { refreshToken }) } : undefined;
}

function isFresh(expiresAt: number): boolean {
  return expiresAt - marginMs > Date.now();
}
