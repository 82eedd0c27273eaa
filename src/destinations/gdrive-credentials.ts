import { createPrivateKey } from 'node:crypto';
import { HoldfastError } from '../errors.js';
import type { GoogleDriveDestinationConfig } from './config.js';
import { assertionForm, type OAuthClient } from './oauth.js';
import { isRecord, textAt } from './service-errors.js';
import { type AccessTokens, KeyTokens, LoginTokens, TokenFile } from './tokens.js';

/** What the JSON file from Google's console holds: a service account's key, or an OAuth client people log in with. */
export type GoogleCredentials =
  | { kind: 'service'; email: string; privateKey: string; tokenUrl: string }
  | { kind: 'client'; client: OAuthClient; authUrl: string; deviceUrl: string };

const scopes = {
  'drive.file': 'https://www.googleapis.com/auth/drive.file',
  drive: 'https://www.googleapis.com/auth/drive',
} as const;

const hint = 'Give the JSON file that the Google Cloud console offers for an OAuth client or a service account.';

/** The scope to ask for: by default only what Holdfast made itself; for a service account what was shared with it. */
export function driveScope(config: GoogleDriveDestinationConfig, credentials: GoogleCredentials): string {
  return scopes[config.scope ?? (credentials.kind === 'service' ? 'drive' : 'drive.file')];
}

/** @throws HoldfastError `ConfigInvalid`, which quotes nothing of the file. */
export function googleCredentials(name: string, config: GoogleDriveDestinationConfig): GoogleCredentials {
  const invalid = (why: string): HoldfastError =>
    new HoldfastError('ConfigInvalid', `Destination "${name}": the credentials ${why}`, { hint });
  let file: unknown;
  try {
    file = JSON.parse(config.credentials);
  } catch {
    throw invalid('are not JSON');
  }
  const url = (from: unknown, key: string, usual: string): string => {
    const given = textAt(from, key) ?? usual;
    if (!isTrustworthy(given)) throw invalid(`have a ${key} that is not https`);
    return given;
  };
  if (textAt(file, 'type') === 'service_account') {
    const email = textAt(file, 'client_email');
    const privateKey = textAt(file, 'private_key');
    if (email === undefined || privateKey === undefined) throw invalid('lack client_email or private_key');
    try {
      createPrivateKey(privateKey);
    } catch {
      throw invalid('hold a private_key that is not a PEM key');
    }
    return {
      kind: 'service',
      email,
      privateKey,
      tokenUrl: url(file, 'token_uri', 'https://oauth2.googleapis.com/token'),
    };
  }
  const client = isRecord(file) ? (file.installed ?? file.web) : undefined;
  const clientId = textAt(client, 'client_id');
  if (clientId === undefined) throw invalid('are neither an OAuth client nor a service account');
  const clientSecret = textAt(client, 'client_secret');
  const tokenUrl = url(client, 'token_uri', 'https://oauth2.googleapis.com/token');
  return {
    kind: 'client',
    client: { tokenUrl, clientId, ...(clientSecret === undefined ? {} : { clientSecret }) },
    authUrl: url(client, 'auth_uri', 'https://accounts.google.com/o/oauth2/auth'),
    deviceUrl: new URL('device/code', tokenUrl).href,
  };
}

function isTrustworthy(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || (protocol === 'http:' && /^(127(\.\d+){3}|localhost|\[::1\])$/.test(hostname));
}

/** Where a destination's access tokens come from. */
export function googleTokens(
  name: string,
  config: GoogleDriveDestinationConfig,
  credentials: GoogleCredentials,
  state: string,
): AccessTokens {
  const label = `Destination "${name}" (Google Drive)`;
  if (credentials.kind === 'client')
    return new LoginTokens(label, name, credentials.client, new TokenFile(state, name));
  const scope = driveScope(config, credentials);
  return new KeyTokens(label, credentials.tokenUrl, () => assertionForm(credentials, scope), credentials.privateKey);
}
