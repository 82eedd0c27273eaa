import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyPairKeyObjectResult,
  randomBytes,
  verify,
} from 'node:crypto';
import { text } from 'node:stream/consumers';
import { type Answer, type Asked, Refusal } from './fake-http.js';

interface Login {
  refreshToken: string;
  scope: string;
}

const random = (): string => randomBytes(16).toString('hex');

/** An authorization server: codes with PKCE, refresh tokens that may rotate, service accounts. */
export class FakeOAuth {
  readonly clientId = `client-${random()}`;
  readonly clientSecret = `secret-${random()}`;
  readonly serviceEmail = 'robot@project.iam.example.com';
  /** Each refresh gives a new refresh token, and the one before is worth nothing any more. */
  rotate = false;
  /** Seconds that an access token lives. */
  lifetime = 3600;
  /** Requests for tokens by grant, answered well. */
  readonly granted: string[] = [];
  private key: KeyPairKeyObjectResult | undefined;
  private readonly codes = new Map<string, { challenge: string; redirectUri: string | null; scope: string }>();
  private readonly refreshTokens = new Map<string, Login>();
  private readonly accessTokens = new Map<string, { until: number; scope: string }>();
  private readonly devices = new Map<string, { approved: boolean; scope: string }>();

  /** The service account's key; making one takes a while. */
  get serviceKey(): KeyPairKeyObjectResult {
    this.key ??= generateKeyPairSync('rsa', { modulusLength: 2048 });
    return this.key;
  }

  /** A refresh token as if somebody had logged in. */
  login(scope = 'https://www.googleapis.com/auth/drive.file'): string {
    const refreshToken = `refresh-${random()}`;
    this.refreshTokens.set(refreshToken, { refreshToken, scope });
    return refreshToken;
  }

  /** Every access token is refused from now on. */
  expireAccessTokens(): void {
    this.accessTokens.clear();
  }

  /** Every login is worth nothing any more. */
  revokeLogins(): void {
    this.accessTokens.clear();
    this.refreshTokens.clear();
  }

  get loggedIn(): string[] {
    return [...this.refreshTokens.keys()];
  }

  /** The person says yes to the device that shows this code. */
  approveDevices(): void {
    for (const device of this.devices.values()) device.approved = true;
  }

  /** The scope of the request's token, or undefined where it has none that is valid. */
  scopeOf(asked: Asked): string | undefined {
    const token = /^Bearer (\S+)$/.exec(asked.headers.authorization ?? '')?.[1];
    const known = token === undefined ? undefined : this.accessTokens.get(token);
    return known !== undefined && known.until > Date.now() ? known.scope : undefined;
  }

  /** The page where a person agrees, who does so at once. Without a redirect the code is shown. */
  authorize({ url }: Asked, rules: { offline: [string, string] }): Answer {
    const get = (name: string): string | null => url.searchParams.get(name);
    const challenge = get('code_challenge');
    const [key, value] = rules.offline;
    if (get('client_id') !== this.clientId || get('response_type') !== 'code') return refusePage('invalid_client');
    if (challenge === null || get('code_challenge_method') !== 'S256') return refusePage('no PKCE');
    if (get(key) !== value) return refusePage(`expected ${key}=${value}`);
    const code = `code-${random()}`;
    const redirectUri = get('redirect_uri');
    this.codes.set(code, { challenge, redirectUri, scope: get('scope') ?? '' });
    if (redirectUri === null) return { status: 200, body: `Enter this code: ${code}` };
    const back = new URL(redirectUri);
    if (!/^(127\.0\.0\.1|localhost)$/.test(back.hostname)) return refusePage('redirect_uri_mismatch');
    back.searchParams.set('code', code);
    const state = get('state');
    if (state !== null) back.searchParams.set('state', state);
    return { status: 302, headers: { location: back.href } };
  }

  async deviceCode(asked: Asked, endpoint: string): Promise<Answer> {
    const form = new URLSearchParams(await text(asked.incoming));
    if (form.get('client_id') !== this.clientId) throw refusal('invalid_client', 401);
    const device = `device-${random()}`;
    this.devices.set(device, { approved: false, scope: form.get('scope') ?? '' });
    return {
      status: 200,
      body: {
        device_code: device,
        user_code: 'ABCD-EFGH',
        verification_url: `${endpoint}/device`,
        expires_in: 60,
        interval: 1,
      },
    };
  }

  /** The token endpoint. */
  async token(asked: Asked, tokenUrl: string): Promise<Answer> {
    if (asked.method !== 'POST' || asked.url.search !== '') throw refusal('invalid_request', 400);
    if (!asked.headers['content-type']?.startsWith('application/x-www-form-urlencoded'))
      throw refusal('invalid_request', 400);
    const form = new URLSearchParams(await text(asked.incoming));
    const grant = form.get('grant_type') ?? '';
    if (grant === 'urn:ietf:params:oauth:grant-type:jwt-bearer') {
      const scope = this.checkAssertion(form.get('assertion') ?? '', tokenUrl);
      return this.grant(grant, scope);
    }
    const secret = form.get('client_secret');
    if (form.get('client_id') !== this.clientId || (secret !== null && secret !== this.clientSecret))
      throw refusal('invalid_client', 401);
    if (grant === 'authorization_code') {
      const code = form.get('code') ?? '';
      const known = this.codes.get(code);
      this.codes.delete(code);
      const verifier = createHash('sha256')
        .update(form.get('code_verifier') ?? '')
        .digest('base64url');
      if (known === undefined || known.redirectUri !== form.get('redirect_uri') || known.challenge !== verifier)
        throw refusal('invalid_grant', 400);
      return this.grant(grant, known.scope, this.login(known.scope));
    }
    if (grant === 'refresh_token') {
      const token = form.get('refresh_token') ?? '';
      const login = this.refreshTokens.get(token);
      if (login === undefined) throw refusal('invalid_grant', 400, 'Token has been expired or revoked.');
      if (!this.rotate) return this.grant(grant, login.scope);
      this.refreshTokens.delete(token);
      return this.grant(grant, login.scope, this.login(login.scope));
    }
    if (grant === 'urn:ietf:params:oauth:grant-type:device_code') {
      const device = this.devices.get(form.get('device_code') ?? '');
      if (device === undefined) throw refusal('invalid_grant', 400);
      if (!device.approved) throw refusal('authorization_pending', 428);
      return this.grant(grant, device.scope, this.login(device.scope));
    }
    throw refusal('unsupported_grant_type', 400);
  }

  private grant(grant: string, scope: string, refreshToken?: string): Answer {
    const token = `access-${random()}`;
    this.accessTokens.set(token, { until: Date.now() + this.lifetime * 1000, scope });
    this.granted.push(grant);
    const body = { access_token: token, expires_in: this.lifetime, token_type: 'Bearer', scope };
    return { status: 200, body: refreshToken === undefined ? body : { ...body, refresh_token: refreshToken } };
  }

  private checkAssertion(assertion: string, audience: string): string {
    const [header = '', claims = '', signature = ''] = assertion.split('.');
    const key = createPublicKey(this.serviceKey.publicKey.export({ type: 'spki', format: 'pem' }));
    const isOurs = verify('RSA-SHA256', Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url'));
    if (!isOurs) throw refusal('invalid_grant', 400, 'Invalid JWT Signature.');
    const { iss, aud, exp, scope } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>;
    const now = Date.now() / 1000;
    if (iss !== this.serviceEmail || aud !== audience || typeof exp !== 'number' || exp < now || exp > now + 3700)
      throw refusal('invalid_grant', 400, 'Invalid JWT.');
    return String(scope);
  }
}

function refusal(error: string, status: number, description?: string): Refusal {
  return new Refusal({ status, body: { error, ...(description && { error_description: description }) } });
}

function refusePage(why: string): Answer {
  return { status: 400, body: `Error: ${why}` };
}
