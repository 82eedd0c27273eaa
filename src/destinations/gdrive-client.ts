import type { Readable } from 'node:stream';
import { auth, type drive_v3, drive as makeDrive } from '@googleapis/drive';
import { HoldfastError } from '../errors.js';
import { watched } from './attempts.js';
import { driveStatus } from './gdrive-errors.js';
import type { AccessTokens } from './tokens.js';

/** What is asked of every file, so that it can be found, chosen and checked. */
export const fileFields = 'id,name,mimeType,size,md5Checksum,sha256Checksum,createdTime,modifiedTime,trashed';
export const folderType = 'application/vnd.google-apps.folder';

/** One file or folder of a drive. */
export interface DriveFile {
  id: string;
  name: string;
  mimeType: string;
  size: number;
  md5?: string;
  sha256?: string;
  /** RFC 3339, UTC: as text it sorts by time. */
  created: string;
  modified: Date;
  trashed: boolean;
}

/** Options that every call of the API takes. */
export interface CallOptions {
  rootUrl: string;
  signal: AbortSignal;
  /** Whoever calls decides about trying again. */
  retry: false;
}

const idleMs = 60_000;
const origin = 'https://www.googleapis.com/';

/** Google's client with tokens that are renewed, for one destination. */
export class DriveClient {
  readonly drive: drive_v3.Drive;
  /** Ends in a slash. */
  readonly rootUrl: string;
  private readonly auth = new auth.OAuth2();

  constructor(
    private readonly label: string,
    readonly tokens: AccessTokens,
    endpoint: string | undefined,
  ) {
    this.rootUrl = endpoint === undefined ? origin : `${endpoint.replace(/\/+$/, '')}/`;
    this.drive = makeDrive({ version: 'v3', auth: this.auth });
  }

  /** Makes one call; a second time with a new token where the first one was refused (401). */
  async call<T>(
    signal: AbortSignal | undefined,
    work: (options: CallOptions, alive: () => void) => Promise<T>,
    silenceMs = idleMs,
  ): Promise<T> {
    for (let second = false; ; second = true) {
      signal?.throwIfAborted();
      const token = await this.tokens.get();
      this.auth.setCredentials({ access_token: token });
      try {
        return await watched(this.label, signal, silenceMs, (both, alive) =>
          work({ rootUrl: this.rootUrl, signal: both, retry: false }, alive),
        );
      } catch (error) {
        if (driveStatus(error) !== 401) throw error;
        this.tokens.reject(token);
        if (second) throw error;
      }
    }
  }

  /** A file's content, or a range of it, as a stream that has just begun. */
  async download(
    signal: AbortSignal | undefined,
    fileId: string,
    range: string | undefined,
  ): Promise<{ status: number; stream: Readable }> {
    const { status, data } = await this.call(signal, (options) =>
      this.drive.files.get(
        { fileId, alt: 'media', supportsAllDrives: true },
        { ...options, responseType: 'stream', ...(range !== undefined && { headers: { Range: range } }) },
      ),
    );
    return { status, stream: data };
  }

  /** A request that the client has no method for: those of a resumable upload. Only to the API's own origin. */
  async request(
    options: CallOptions,
    request: {
      url: string;
      method: 'POST' | 'PUT' | 'DELETE';
      headers?: Record<string, string>;
      data?: unknown;
      accept: (status: number) => boolean;
    },
  ): Promise<{ status: number; header(name: string): string | undefined; data: unknown }> {
    const { url, method, headers, data, accept } = request;
    if (new URL(url).origin !== new URL(this.rootUrl).origin) {
      throw new HoldfastError('DestinationFailed', `${this.label}: an upload was sent to another server`, {
        retryable: false,
      });
    }
    const response = await this.auth.request<unknown>({
      url,
      method,
      ...(headers !== undefined && { headers }),
      ...(data !== undefined && { data }),
      validateStatus: accept,
      signal: options.signal,
      retry: false,
      // Following would repeat a body that is a stream.
      redirect: 'manual',
    });
    return {
      status: response.status,
      header: (name) => response.headers.get(name) ?? undefined,
      data: response.data,
    };
  }
}

/** A file as the API describes it. Throws `DestinationFailed` where what was asked for is missing. */
export function driveFile(value: unknown): DriveFile {
  const file = asRecord(value);
  const { id, name, mimeType, size, md5Checksum, sha256Checksum, createdTime, modifiedTime, trashed } = file;
  if (typeof id !== 'string' || typeof name !== 'string' || typeof createdTime !== 'string')
    throw new HoldfastError('DestinationFailed', 'Google Drive described a file without its id, name or time');
  return {
    id,
    name,
    mimeType: typeof mimeType === 'string' ? mimeType : '',
    size: Number(size ?? 0),
    ...(typeof md5Checksum === 'string' && { md5: md5Checksum }),
    ...(typeof sha256Checksum === 'string' && { sha256: sha256Checksum }),
    created: createdTime,
    modified: new Date(typeof modifiedTime === 'string' ? modifiedTime : createdTime),
    trashed: trashed === true,
  };
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/** Text inside a search query's quotes. */
export function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Older first; of two made in the same millisecond, any order that is always the same. */
export function byAge(a: DriveFile, b: DriveFile): number {
  if (a.created !== b.created) return a.created < b.created ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}
