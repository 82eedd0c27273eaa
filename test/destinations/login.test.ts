import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DropboxDestinationConfig, GoogleDriveDestinationConfig } from '../../src/destinations/config.js';
import { type LoginDialogue, logIn } from '../../src/destinations/login.js';
import { openDestination } from '../../src/destinations/open.js';
import { TokenFile } from '../../src/destinations/tokens.js';
import { DropboxServer } from '../support/dropbox-server.js';
import { DriveServer } from '../support/gdrive-server.js';
import { failure } from './conformance.js';

let state: string;
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
});
afterEach(() => rm(state, { recursive: true }));

function addressIn(text: string): string {
  const [address] = /http:\/\/\S+auth\S*\?\S+/.exec(text) ?? [];
  if (address === undefined) throw new Error(`no address in: ${text}`);
  return address;
}

/** A person who opens what is shown and answers with what `read` makes of the page. */
function person(read: (page: Response) => Promise<string>): LoginDialogue {
  let page: Promise<string> = Promise.resolve('');
  return {
    show(text) {
      page = fetch(addressIn(text), { redirect: 'manual' }).then(read);
    },
    ask: () => page,
  };
}

describe('a login to Google', () => {
  let server: DriveServer;
  let config: GoogleDriveDestinationConfig;
  beforeEach(async () => {
    server = await DriveServer.start();
    config = { type: 'gdrive', credentials: server.clientJson(), endpoint: server.endpoint };
  });
  afterEach(() => server.stop());

  async function works(): Promise<void> {
    const drive = await openDestination('drive', config, { state });
    await drive.ensureRoot();
    await drive.put('a', { bytes: Buffer.from('x') });
    expect((await drive.stat('a'))?.size).toBe(1);
    const file = new TokenFile(state, 'drive');
    expect((await stat(file.path)).mode & 0o777).toBe(0o600);
    expect((await file.read())?.refreshToken).toBe(server.oauth.loggedIn.at(-1));
  }

  it('comes back from the browser', async () => {
    const pages: Promise<Response>[] = [];
    const dialogue: LoginDialogue = {
      show: (text) => void pages.push(fetch(addressIn(text))),
      ask: () => Promise.reject(new Error('nothing is asked')),
    };
    await logIn('drive', config, state, 'browser', dialogue);
    expect(await (await pages[0])?.text()).toContain('Holdfast is logged in');
    await works();
  });

  it('takes no answer but its own', async () => {
    const dialogue: LoginDialogue = {
      async show(text) {
        const address = new URL(addressIn(text));
        const redirect = address.searchParams.get('redirect_uri') ?? '';
        const forged = await fetch(`${redirect}?code=forged&state=other`);
        expect(forged.status).toBe(404);
        await fetch(`${redirect}?error=access_denied&state=${address.searchParams.get('state')}`);
      },
      ask: () => Promise.resolve(''),
    };
    const error = await failure(logIn('drive', config, state, 'browser', dialogue));
    expect(error).toMatchObject({ code: 'AuthDenied' });
    expect(error.message).toContain('access_denied');
    expect(await new TokenFile(state, 'drive').read()).toBeUndefined();
  });

  it('works by pasting', async () => {
    await logIn(
      'drive',
      config,
      state,
      'paste',
      person(async (page) => page.headers.get('location') ?? ''),
    );
    await works();
    for (const answer of ['', 'http://127.0.0.1:8085/?code=x&state=other']) {
      const error = await failure(
        logIn(
          'drive',
          config,
          state,
          'paste',
          person(async () => answer),
        ),
      );
      expect(error.code).toBe('AuthDenied');
    }
    // The login before is still there.
    await works();
  });

  it('works by device', async () => {
    const dialogue: LoginDialogue = {
      show(text) {
        expect(text).toContain('ABCD-EFGH');
        setTimeout(() => server.oauth.approveDevices(), 1200);
      },
      ask: () => Promise.resolve(''),
    };
    await logIn('drive', config, state, 'device', dialogue);
    await works();
  });

  it('is refused with a wrong secret, and not needed by a service account', async () => {
    const wrong = { ...config, credentials: server.clientJson({ client_secret: 'wrong-secret' }) };
    const pasting = person(async (page) => page.headers.get('location') ?? '');
    const error = await failure(logIn('drive', wrong, state, 'paste', pasting));
    expect(error.code).toBe('AuthDenied');
    expect(error.message).not.toContain('wrong-secret');
    const service = { ...config, credentials: server.serviceJson() };
    expect((await failure(logIn('drive', service, state, 'paste', pasting))).code).toBe('UsageInvalid');
  });
});

describe('a login to Dropbox', () => {
  let server: DropboxServer;
  let config: DropboxDestinationConfig;
  beforeEach(async () => {
    server = await DropboxServer.start();
    config = { type: 'dropbox', path: '/b', appKey: server.oauth.clientId, endpoint: server.endpoint };
  });
  afterEach(() => server.stop());

  it('takes the code that is shown, without any secret', async () => {
    const reading = person(async (page) => / (code-\w+)/.exec(await page.text())?.[1] ?? '');
    await logIn('box', config, state, 'browser', reading);
    const box = await openDestination('box', config, { state });
    await box.ensureRoot();
    await box.put('a', { bytes: Buffer.from('x') });
    expect((await box.stat('a'))?.size).toBe(1);
    await box.close();
    for (const code of ['', 'code-wrong']) {
      const error = await failure(
        logIn(
          'box',
          config,
          state,
          'paste',
          person(async () => code),
        ),
      );
      expect(error.code).toBe('AuthDenied');
    }
    expect((await failure(logIn('box', config, state, 'device', reading))).code).toBe('UsageInvalid');
  });
});
