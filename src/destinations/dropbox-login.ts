import type { DropboxDestinationConfig } from './config.js';
import type { OAuthClient } from './oauth.js';
import { type AccessTokens, LoginTokens, TokenFile } from './tokens.js';

/** Dropbox's pages and its token endpoint, or those of what stands in their place. */
export function dropboxOAuth(config: DropboxDestinationConfig): { client: OAuthClient; authUrl: string } {
  const { endpoint, appKey, appSecret } = config;
  const base = endpoint?.replace(/\/+$/, '');
  return {
    client: {
      tokenUrl: base === undefined ? 'https://api.dropboxapi.com/oauth2/token' : `${base}/api/oauth2/token`,
      clientId: appKey,
      ...(appSecret === undefined ? {} : { clientSecret: appSecret }),
    },
    authUrl: base === undefined ? 'https://www.dropbox.com/oauth2/authorize' : `${base}/www/oauth2/authorize`,
  };
}

/** Where a destination's access tokens come from. */
export function dropboxTokens(name: string, config: DropboxDestinationConfig, state: string): AccessTokens {
  const label = `Destination "${name}" (Dropbox)`;
  return new LoginTokens(label, name, dropboxOAuth(config).client, new TokenFile(state, name), config.refreshToken);
}
