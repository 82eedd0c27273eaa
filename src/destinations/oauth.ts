import { createHash, createSign, randomBytes } from 'node:crypto';
import { HoldfastError } from '../errors.js';
import { isRecord, lineProblem, quote, retryAfterMs, textAt } from './service-errors.js';

/** The token endpoint and who asks (RFC 6749). */
export interface OAuthClient {
  tokenUrl: string;
  clientId: string;
  clientSecret?: string;
}

/** What a token endpoint grants. */
export interface Grant {
  accessToken: string;
  /** Milliseconds since the epoch. */
  expiresAt: number;
  /** Left out: the one used stays valid. */
  refreshToken?: string;
}

/** The token endpoint's refusal: `invalid_grant`, `invalid_client`, `authorization_pending`, ... */
export class OAuthRefusal extends Error {
  constructor(
    readonly error: string,
    readonly description: string,
  ) {
    super(description === '' ? error : `${error}: ${description}`);
    this.name = 'OAuthRefusal';
  }
}

const timeoutMs = 30_000;
const defaultLifeMs = 3600_000;

/**
 * Asks for tokens. The form goes into the request's body, never into its URL.
 *
 * @throws OAuthRefusal; HoldfastError `DestinationUnreachable`, `Throttled`, `DestinationFailed`.
 */
export async function requestToken(label: string, url: string, form: Record<string, string>): Promise<Grant> {
  const asked = Date.now();
  const answer = await postForm(label, url, form);
  const accessToken = textAt(answer, 'access_token');
  if (accessToken === undefined)
    throw new HoldfastError('DestinationFailed', `${label}: the token endpoint gave no access token`);
  const life = isRecord(answer) && typeof answer.expires_in === 'number' ? answer.expires_in * 1000 : defaultLifeMs;
  const refreshToken = textAt(answer, 'refresh_token');
  return { accessToken, expiresAt: asked + life, ...(refreshToken === undefined ? {} : { refreshToken }) };
}

/** Posts a form to an OAuth endpoint and returns the JSON it answers. Throws like {@link requestToken}. */
export async function postForm(label: string, url: string, form: Record<string, string>): Promise<unknown> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { accept: 'application/json' },
      body: new URLSearchParams(form),
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
    text = await response.text();
  } catch (error) {
    const why = lineProblem(error)?.code ?? (error instanceof Error ? error.name : 'no answer');
    throw new HoldfastError('DestinationUnreachable', `${label}: the token endpoint cannot be reached (${why})`, {
      hint: 'Check the network.',
    });
  }
  const answer = parsed(text);
  if (response.ok) return answer;
  const refusal = textAt(answer, 'error');
  if (response.status === 429) {
    throw new HoldfastError('Throttled', `${label}: the token endpoint asks to slow down`, {
      retryAfterMs: retryAfterMs(response.headers.get('retry-after')) ?? 5000,
    });
  }
  if (refusal !== undefined && response.status < 500)
    throw new OAuthRefusal(refusal, quote(textAt(answer, 'error_description') ?? '', Object.values(form)));
  throw new HoldfastError('DestinationFailed', `${label}: the token endpoint answered ${response.status}`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The form that trades a refresh token for an access token. */
export function refreshForm(client: OAuthClient, refreshToken: string): Record<string, string> {
  return { grant_type: 'refresh_token', refresh_token: refreshToken, ...clientForm(client) };
}

/** The form that trades the code of a login for tokens. */
export function codeForm(
  client: OAuthClient,
  code: string,
  verifier: string,
  redirectUri?: string,
): Record<string, string> {
  return {
    grant_type: 'authorization_code',
    code,
    code_verifier: verifier,
    ...(redirectUri === undefined ? {} : { redirect_uri: redirectUri }),
    ...clientForm(client),
  };
}

/** Who asks, as form fields. */
export function clientForm({ clientId, clientSecret }: OAuthClient): Record<string, string> {
  return { client_id: clientId, ...(clientSecret === undefined ? {} : { client_secret: clientSecret }) };
}

/** A secret for one login and what may be shown of it (PKCE, RFC 7636, S256). */
export function pkce(): { verifier: string; challenge: string } {
  const verifier = randomBytes(48).toString('base64url');
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') };
}

/** The form by which a service account asks for a token (RFC 7523, RS256). Throws when the private key is none. */
export function assertionForm(
  account: { email: string; privateKey: string; tokenUrl: string },
  scope: string,
): Record<string, string> {
  const now = Math.floor(Date.now() / 1000);
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { iss: account.email, scope, aud: account.tokenUrl, iat: now, exp: now + 3600 };
  const signed = `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}`;
  const signature = createSign('RSA-SHA256').update(signed).sign(account.privateKey).toString('base64url');
  return { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: `${signed}.${signature}` };
}
