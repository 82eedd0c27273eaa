import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../errors.js';
import type { DropboxDestinationConfig, GoogleDriveDestinationConfig } from './config.js';
import { dropboxOAuth } from './dropbox-login.js';
import { driveScope, googleCredentials } from './gdrive-credentials.js';
import { clientForm, codeForm, type Grant, OAuthRefusal, pkce, postForm, requestToken } from './oauth.js';
import { isRecord, textAt } from './service-errors.js';
import { TokenFile } from './tokens.js';

/** How a person and the login talk. */
export interface LoginDialogue {
  /** Shows lines to the person. */
  show(text: string): void;
  /** Asks for a line of text. */
  ask(question: string): Promise<string>;
}

/**
 * `browser`: the browser of this machine comes back to it. `paste`: any browser, and what it shows is pasted.
 * `device`: a short code is entered in any browser; Google only, with a client for limited-input devices.
 */
export type LoginWay = 'browser' | 'paste' | 'device';

/** Destinations that people log in to. */
export type LoginConfig = GoogleDriveDestinationConfig | DropboxDestinationConfig;

const patienceMs = 10 * 60_000;
/** Nothing listens there: the browser shows an error page whose address holds the code. */
const pasteRedirect = 'http://127.0.0.1:8085/';

/**
 * Logs in and keeps the login in the state folder, durably; an older one is replaced only then.
 *
 * @throws HoldfastError `AuthDenied` when it is refused, `UsageInvalid` where there is nothing to log in to or the way does
 * not exist, `ConfigInvalid`, `DestinationUnreachable`.
 */
export async function logIn(
  name: string,
  config: LoginConfig,
  state: string,
  way: LoginWay,
  dialogue: LoginDialogue,
): Promise<void> {
  const label = `Destination "${name}"`;
  const { accessToken, refreshToken, expiresAt } = await refusalsOf(label, () =>
    config.type === 'dropbox' ? dropbox(label, config, way, dialogue) : google(label, name, config, way, dialogue),
  );
  if (refreshToken === undefined) throw denied(label, 'the service gave no refresh token');
  const file = new TokenFile(state, name);
  await file.locked(() => file.write({ refreshToken, accessToken, expiresAt, since: new Date().toISOString() }));
}

/** Keeps beside the login whose it is. */
export async function rememberAccount(name: string, state: string, account: string): Promise<void> {
  const file = new TokenFile(state, name);
  await file.locked(async () => {
    const stored = await file.read();
    if (stored !== undefined) await file.write({ ...stored, account });
  });
}

async function google(
  label: string,
  name: string,
  config: GoogleDriveDestinationConfig,
  way: LoginWay,
  dialogue: LoginDialogue,
): Promise<Grant> {
  const credentials = googleCredentials(name, config);
  if (credentials.kind === 'service') {
    throw new HoldfastError('UsageInvalid', `${label} uses a service account, which needs no login`, {
      hint: `Share the folder or the shared drive with ${credentials.email}.`,
    });
  }
  const { client, authUrl, deviceUrl } = credentials;
  const scope = driveScope(config, credentials);
  if (way === 'device') {
    return await device(
      label,
      deviceUrl,
      client.tokenUrl,
      { ...clientForm(client), scope },
      clientForm(client),
      dialogue,
    );
  }
  const { verifier, challenge } = pkce();
  const nonce = randomBytes(16).toString('base64url');
  const addressFor = (redirect: string): string => {
    const url = new URL(authUrl);
    const query = {
      client_id: client.clientId,
      redirect_uri: redirect,
      response_type: 'code',
      scope,
      state: nonce,
      code_challenge: challenge,
      code_challenge_method: 'S256',
      access_type: 'offline',
      // Without it Google gives no refresh token to somebody who agreed before.
      prompt: 'consent',
    };
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    return url.href;
  };
  const { code, redirect } =
    way === 'paste'
      ? await pasted(label, addressFor(pasteRedirect), nonce, dialogue)
      : await fromBrowser(label, addressFor, nonce, dialogue);
  return await requestToken(label, client.tokenUrl, codeForm(client, code, verifier, redirect));
}

async function dropbox(
  label: string,
  config: DropboxDestinationConfig,
  way: LoginWay,
  dialogue: LoginDialogue,
): Promise<Grant> {
  if (way === 'device')
    throw new HoldfastError('UsageInvalid', 'Dropbox has no login by device', { hint: 'Leave --device out.' });
  const { client, authUrl } = dropboxOAuth(config);
  const { verifier, challenge } = pkce();
  const url = new URL(authUrl);
  const query = {
    client_id: client.clientId,
    response_type: 'code',
    code_challenge: challenge,
    code_challenge_method: 'S256',
    token_access_type: 'offline',
  };
  for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
  dialogue.show(`Open this address in a browser, agree, and copy the code that Dropbox shows:\n\n  ${url.href}\n`);
  const code = (await dialogue.ask('Code: ')).trim();
  if (code === '') throw denied(label, 'no code was entered');
  return await requestToken(label, client.tokenUrl, codeForm(client, code, verifier));
}

/** Waits on the loopback for the browser to come back. */
async function fromBrowser(
  label: string,
  addressFor: (redirect: string) => string,
  nonce: string,
  dialogue: LoginDialogue,
): Promise<{ code: string; redirect: string }> {
  let settle: (answer: URLSearchParams) => void = () => {};
  const answered = new Promise<URLSearchParams>((resolve) => {
    settle = resolve;
  });
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1');
    // Only who was sent here knows the nonce; browsers also ask for icons.
    if (searchParams.get('state') !== nonce) {
      response.writeHead(404).end();
      return;
    }
    const words = searchParams.has('code') ? 'Holdfast is logged in.' : 'Holdfast is not logged in.';
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' });
    response.end(`${words} You can close this page.\n`, () => settle(searchParams));
  });
  const stop = new AbortController();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const redirect = `http://127.0.0.1:${address.port}/`;
    dialogue.show(
      `Open this address in a browser on this machine (elsewhere: \`holdfast login --paste\`):\n\n  ${addressFor(redirect)}\n`,
    );
    const late = sleep(patienceMs, undefined, { signal: stop.signal, ref: false });
    const answer = await Promise.race([answered, late]);
    if (answer === undefined) throw denied(label, 'nobody agreed within ten minutes');
    const code = answer.get('code');
    if (code === null) throw denied(label, `the login was refused (${answer.get('error') ?? 'no code came'})`);
    return { code, redirect };
  } finally {
    stop.abort();
    server.close();
    server.closeAllConnections();
  }
}

/** Lets the person copy the address that the browser could not open. */
async function pasted(
  label: string,
  address: string,
  nonce: string,
  dialogue: LoginDialogue,
): Promise<{ code: string; redirect: string }> {
  dialogue.show(
    `Open this address in any browser and agree. The browser then fails to open a page at ${pasteRedirect}:\n` +
      `copy that page's whole address from the address bar.\n\n  ${address}\n`,
  );
  const answer = (await dialogue.ask('Address: ')).trim();
  if (!URL.canParse(answer)) throw denied(label, 'that is no address');
  const { searchParams } = new URL(answer);
  if (searchParams.get('state') !== nonce) throw denied(label, 'that address is of another login');
  const code = searchParams.get('code');
  if (code === null) throw denied(label, `the login was refused (${searchParams.get('error') ?? 'no code in it'})`);
  return { code, redirect: pasteRedirect };
}

/** The device flow (RFC 8628): asks again and again until the person has entered the code. */
async function device(
  label: string,
  deviceUrl: string,
  tokenUrl: string,
  request: Record<string, string>,
  client: Record<string, string>,
  dialogue: LoginDialogue,
): Promise<Grant> {
  const answer = await postForm(label, deviceUrl, request);
  const deviceCode = textAt(answer, 'device_code');
  const userCode = textAt(answer, 'user_code');
  const page = textAt(answer, 'verification_url') ?? textAt(answer, 'verification_uri');
  if (deviceCode === undefined || userCode === undefined || page === undefined)
    throw new HoldfastError('DestinationFailed', `${label}: the service gave no code for a device`);
  dialogue.show(`Open ${page} in any browser and enter the code  ${userCode}\n`);
  const number = (key: string, usual: number): number => {
    const value = isRecord(answer) ? answer[key] : undefined;
    return typeof value === 'number' ? value : usual;
  };
  let pause = number('interval', 5) * 1000;
  const grant = { ...client, device_code: deviceCode, grant_type: 'urn:ietf:params:oauth:grant-type:device_code' };
  for (const deadline = Date.now() + number('expires_in', 1800) * 1000; Date.now() < deadline; ) {
    await sleep(pause);
    try {
      return await requestToken(label, tokenUrl, grant);
    } catch (error) {
      if (!(error instanceof OAuthRefusal)) throw error;
      if (error.error === 'slow_down') pause += 5000;
      else if (error.error !== 'authorization_pending') throw error;
    }
  }
  throw denied(label, 'the code was not entered in time');
}

async function refusalsOf<T>(label: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof OAuthRefusal) throw denied(label, `the login was refused (${error.message})`);
    throw error;
  }
}

function denied(label: string, why: string): HoldfastError {
  return new HoldfastError('AuthDenied', `${label}: ${why}`, {
    hint: 'Run `holdfast login` again; docs/destinations.md tells how to set up the app or client.',
  });
}
