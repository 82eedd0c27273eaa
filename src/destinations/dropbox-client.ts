import { IncomingMessage } from 'node:http';
import { Dropbox, type DropboxResponse } from 'dropbox';
import { HoldfastError } from '../errors.js';
import { watched } from './attempts.js';
import { dropboxStatus, dropboxSummary } from './dropbox-errors.js';
import { DropboxHttp } from './dropbox-http.js';
import { isRecord, textAt } from './service-errors.js';
import type { AccessTokens } from './tokens.js';

const idleMs = 60_000;

/** Dropbox's client with tokens that are renewed, for one destination. */
export class DropboxClient {
  private readonly http: DropboxHttp;
  private pathRoot: Promise<string | undefined> | undefined;

  constructor(
    private readonly label: string,
    readonly tokens: AccessTokens,
    private readonly namespace: string | undefined,
    endpoint: string | undefined,
  ) {
    this.http = new DropboxHttp(endpoint);
  }

  /** Makes one call below the configured namespace; a second time with a new token where the first was refused. */
  async call<T>(
    signal: AbortSignal | undefined,
    work: (dropbox: Dropbox, alive: () => void) => Promise<DropboxResponse<T>>,
    headers?: Record<string, string>,
  ): Promise<{ result: T; status: number; date: Date }> {
    const root = await this.root();
    return await this.callWith(root, signal, work, headers);
  }

  /** A file's content, or a range of it, as a stream that has just begun, and what the service says of the file. */
  async download(
    signal: AbortSignal | undefined,
    path: string,
    range: string | undefined,
  ): Promise<{ status: number; stream: IncomingMessage; name: string; size: number }> {
    const { result, status } = await this.call(
      signal,
      (dropbox) => dropbox.filesDownload({ path }),
      range === undefined ? undefined : { Range: range },
    );
    const stream = 'fileBinary' in result ? result.fileBinary : undefined;
    if (!(stream instanceof IncomingMessage))
      throw new HoldfastError('DestinationFailed', `${this.label}: no body came for ${path}`);
    return { status, stream, name: result.name, size: result.size };
  }

  close(): void {
    this.http.close();
  }

  private async callWith<T>(
    pathRoot: string | undefined,
    signal: AbortSignal | undefined,
    work: (dropbox: Dropbox, alive: () => void) => Promise<DropboxResponse<T>>,
    headers?: Record<string, string>,
  ): Promise<{ result: T; status: number; date: Date }> {
    for (let second = false; ; second = true) {
      signal?.throwIfAborted();
      const accessToken = await this.tokens.get();
      try {
        return await watched(this.label, signal, idleMs, async (both, alive) => {
          const customHeaders = { ...headers, ...(pathRoot !== undefined && { 'Dropbox-API-Path-Root': pathRoot }) };
          const dropbox = new Dropbox({ accessToken, fetch: this.http.fetch(both), customHeaders });
          const answer = await work(dropbox, alive);
          const date: unknown = answer.headers.get('date');
          return { result: answer.result, status: answer.status, date: new Date(String(date)) };
        });
      } catch (error) {
        const isRefused = dropboxStatus(error) === 401 && /access_token/.test(dropboxSummary(error));
        if (!isRefused) throw error;
        this.tokens.reject(accessToken);
        if (second) throw error;
      }
    }
  }

  /** The header that says below which namespace paths begin; none for the user's own folder. */
  private async root(): Promise<string | undefined> {
    const { namespace } = this;
    if (namespace === undefined || namespace === 'home') return undefined;
    if (namespace !== 'team') return JSON.stringify({ '.tag': 'namespace_id', namespace_id: namespace });
    let root = this.pathRoot;
    if (root === undefined) {
      root = this.teamRoot();
      this.pathRoot = root;
      root.catch(() => {
        this.pathRoot = undefined;
      });
    }
    return await root;
  }

  /** The team's space is only reached by naming it. */
  private async teamRoot(): Promise<string> {
    const { result } = await this.callWith(undefined, undefined, (dropbox) => dropbox.usersGetCurrentAccount());
    const info: unknown = result.root_info;
    const id = isRecord(info) ? textAt(info, 'root_namespace_id') : undefined;
    if (id === undefined) {
      throw new HoldfastError('DestinationMissing', `${this.label}: the account has no team space`, {
        hint: 'Leave `namespace` out.',
      });
    }
    return JSON.stringify({ '.tag': 'root', root: id });
  }
}
