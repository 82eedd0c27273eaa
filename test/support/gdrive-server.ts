import { createHash, type Hash, randomBytes } from 'node:crypto';
import { appendFileSync, createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Answer, type Asked, Cut, FakeHttp, jsonBody, Refusal, takeIn, wholeBody } from './fake-http.js';
import { FakeOAuth } from './fake-oauth.js';
import { matches, parseQuery } from './gdrive-query.js';

const KiB256 = 256 * 1024;
const folderType = 'application/vnd.google-apps.folder';
const multipartLimit = 5 * 1024 * 1024 + 64 * 1024;

export interface StoredFile {
  id: string;
  name: string;
  mimeType: string;
  parents: string[];
  size: number;
  path?: string;
  md5?: string;
  sha256?: string;
  created: string;
  modified: string;
  trashed: boolean;
  /** Made by somebody else than the app: only the scope drive sees it. */
  foreign: boolean;
}

interface Session {
  meta: Record<string, unknown>;
  total: number;
  received: number;
  path: string;
  md5: Hash;
  sha256: Hash;
  fields: string | null;
  file?: StoredFile;
}

/** Google Drive's API v3 and its token endpoint, as documented, for one app and one account. */
export class DriveServer {
  readonly oauth = new FakeOAuth();
  readonly http: FakeHttp;
  readonly files = new Map<string, StoredFile>();
  readonly sessions = new Map<string, Session>();
  /** Bytes of content that arrived, over all requests. */
  uploaded = 0;
  quota = Number.POSITIVE_INFINITY;
  readOnly = false;
  /** Set: everything lies on this shared drive, where only managers delete for good. */
  sharedDrive: string | undefined;
  /** What the account may do on the shared drive. */
  manager = false;
  pageSize = 1000;
  /** Spoils what arrives. */
  corrupt = false;
  private readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-gdrive-'));
  private readonly ids = new Set<string>();
  private lastTime = 0;

  private constructor() {
    this.http = new FakeHttp((asked, limit) => this.serve(asked, limit));
    this.add({ id: 'my-drive', name: 'My Drive', mimeType: folderType, parents: [] });
  }

  static async start(): Promise<DriveServer> {
    const server = new DriveServer();
    await server.http.start();
    return server;
  }

  get endpoint(): string {
    return this.http.endpoint;
  }

  async stop(): Promise<void> {
    await this.http.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The JSON file of an OAuth client, as the console offers it. */
  clientJson(more: Record<string, unknown> = {}): string {
    const { clientId, clientSecret } = this.oauth;
    return JSON.stringify({
      installed: {
        client_id: clientId,
        client_secret: clientSecret,
        auth_uri: `${this.endpoint}/o/oauth2/auth`,
        token_uri: `${this.endpoint}/token`,
        redirect_uris: ['http://localhost'],
        ...more,
      },
    });
  }

  /** The JSON file of a service account. */
  serviceJson(more: Record<string, unknown> = {}): string {
    return JSON.stringify({
      type: 'service_account',
      client_email: this.oauth.serviceEmail,
      private_key: this.oauth.serviceKey.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      token_uri: `${this.endpoint}/token`,
      ...more,
    });
  }

  /** A file or folder, made without the API. */
  add(file: Partial<StoredFile> & { name: string }, bytes?: Uint8Array): StoredFile {
    const now = this.time();
    const made: StoredFile = {
      id: `id-${randomBytes(12).toString('hex')}`,
      mimeType: bytes === undefined ? folderType : 'application/octet-stream',
      parents: ['my-drive'],
      size: bytes?.length ?? 0,
      created: now,
      modified: now,
      trashed: false,
      foreign: false,
      ...file,
    };
    if (bytes !== undefined) {
      made.path = join(this.folder, made.id);
      writeFileSync(made.path, bytes);
      made.md5 = createHash('md5').update(bytes).digest('hex');
      made.sha256 = createHash('sha256').update(bytes).digest('hex');
    }
    this.files.set(made.id, made);
    return made;
  }

  /** Deletes a file, or a folder with all in it. */
  drop(id: string): void {
    this.files.delete(id);
    for (const file of [...this.files.values()]) if (file.parents.includes(id)) this.drop(file.id);
  }

  /** What is not in the trash, by its path below a folder; several of one name are all listed. */
  paths(root: string): string[] {
    const below = (id: string, path: string): string[] =>
      [...this.files.values()]
        .filter((file) => !file.trashed && file.parents.includes(id))
        .flatMap((file) => {
          const name = path === '' ? file.name : `${path}/${file.name}`;
          return file.mimeType === folderType ? below(file.id, name) : [name];
        });
    return below(root, '').sort();
  }

  /** Makes objects below a folder, with the folders they need. */
  seed(root: string, keys: string[], bytes: Uint8Array): void {
    const folders = new Map<string, string>([['', root]]);
    const folderOf = (path: string): string => {
      const known = folders.get(path);
      if (known !== undefined) return known;
      const at = path.lastIndexOf('/');
      const made = this.add({ name: path.slice(at + 1), parents: [folderOf(path.slice(0, Math.max(at, 0)))] });
      folders.set(path, made.id);
      return made.id;
    };
    for (const key of keys) {
      const at = key.lastIndexOf('/');
      this.add({ name: key.slice(at + 1), parents: [folderOf(key.slice(0, Math.max(at, 0)))] }, bytes);
    }
  }

  private time(): string {
    this.lastTime = Math.max(this.lastTime + 1, Date.now());
    return new Date(this.lastTime).toISOString();
  }

  private get used(): number {
    return [...this.files.values()].reduce((sum, { size }) => sum + size, 0);
  }

  private async serve(asked: Asked, limit: number): Promise<Answer> {
    const { method, url } = asked;
    const path = url.pathname;
    if (path === '/token') return await this.oauth.token(asked, `${this.endpoint}/token`);
    if (path === '/device/code') return await this.oauth.deviceCode(asked, this.endpoint);
    if (path === '/o/oauth2/auth') return this.oauth.authorize(asked, { offline: ['access_type', 'offline'] });
    const scope = this.oauth.scopeOf(asked);
    if (scope === undefined) throw problem(401, 'authError', 'Invalid Credentials');
    if (!/\/auth\/drive(\.file)?$/.test(scope))
      throw problem(403, 'insufficientPermissions', 'Request had insufficient authentication scopes.');
    const sees = (file: StoredFile): boolean => !file.foreign || scope.endsWith('/drive');
    if (
      this.sharedDrive !== undefined &&
      !path.includes('/about') &&
      !path.includes('generateIds') &&
      !url.searchParams.has('upload_id')
    ) {
      if (url.searchParams.get('supportsAllDrives') !== 'true') throw notFound('the shared drive');
    }
    if (path === '/drive/v3/about' && method === 'GET') return this.about(url);
    if (path === '/drive/v3/files/generateIds' && method === 'GET') return this.generateIds(url);
    if (path === '/drive/v3/files' && method === 'GET') return this.list(url, sees);
    if (path === '/drive/v3/files' && method === 'POST') return this.create(await jsonBody(asked.incoming), url, sees);
    if (path === '/upload/drive/v3/files') return await this.upload(asked, limit, sees);
    const id = /^\/drive\/v3\/files\/([^/]+)$/.exec(path)?.[1];
    const found = id === undefined ? undefined : this.files.get(id === 'root' ? 'my-drive' : id);
    if (id === undefined) throw problem(404, 'notFound', 'Not Found');
    if (found === undefined || !sees(found)) throw notFound(id);
    if (method === 'GET' && url.searchParams.get('alt') === 'media') return this.content(asked, found);
    if (method === 'GET')
      return {
        status: 200,
        body: masked(resource({ ...found, trashed: this.isTrashed(found) }), url.searchParams.get('fields')),
      };
    if (this.readOnly)
      throw problem(403, 'insufficientFilePermissions', 'The user does not have sufficient permissions for this file.');
    if (method === 'PATCH') return this.update(found, await jsonBody(asked.incoming), url);
    if (method === 'DELETE') return this.remove(found);
    throw problem(405, 'httpMethodNotAllowed', 'Method Not Allowed');
  }

  private about(url: URL): Answer {
    const fields = url.searchParams.get('fields');
    if (fields === null) throw problem(400, 'required', "The 'fields' parameter is required for this method.");
    const limited = Number.isFinite(this.quota);
    const all = {
      kind: 'drive#about',
      user: { displayName: 'Ann', emailAddress: 'ann@example.com' },
      storageQuota: { ...(limited && { limit: String(this.quota) }), usage: String(this.used) },
    };
    return { status: 200, body: masked(all, fields) };
  }

  private generateIds(url: URL): Answer {
    const count = Number(url.searchParams.get('count') ?? 10);
    if (count < 1 || count > 1000) throw problem(400, 'invalidParameter', 'Invalid count');
    const ids = Array.from({ length: count }, () => `id-${randomBytes(12).toString('hex')}`);
    for (const id of ids) this.ids.add(id);
    return { status: 200, body: { kind: 'drive#generatedIds', space: 'drive', ids } };
  }

  private list(url: URL, sees: (file: StoredFile) => boolean): Answer {
    const get = (name: string): string | null => url.searchParams.get(name);
    const size = Math.min(Number(get('pageSize') ?? 100), this.pageSize);
    if (Number(get('pageSize')) > 1000)
      throw problem(400, 'invalid', "Invalid value '1001'. Values must be within the range: [1, 1000]");
    const query = parseQuery(get('q') ?? '');
    if (query === undefined) throw problem(400, 'invalid', 'Invalid Value');
    const named = [...(get('q') ?? '').matchAll(/'([^']*)' in parents/g)].map(([, id = '']) => id);
    for (const id of named) {
      const parent = this.files.get(id === 'root' ? 'my-drive' : id);
      if (parent === undefined || (!sees(parent) && id !== 'root')) throw notFound('.');
    }
    if (this.sharedDrive !== undefined) {
      if (get('includeItemsFromAllDrives') !== 'true')
        return { status: 200, body: { incompleteSearch: false, files: [] } };
      if (get('corpora') !== 'drive' || get('driveId') !== this.sharedDrive)
        throw problem(400, 'invalid', 'The driveId must be specified');
    }
    const found = [...this.files.values()].filter(
      (file) =>
        sees(file) &&
        matches(query, { ...file, trashed: this.isTrashed(file) }, (id) => (id === 'root' ? 'my-drive' : id)),
    );
    // The token is the query's own: another query with it is refused.
    const digest = createHash('md5')
      .update(get('q') ?? '')
      .digest('hex')
      .slice(0, 8);
    const [owner, start = '0'] = (get('pageToken') ?? `${digest}.0`).split('.');
    if (owner !== digest) throw problem(400, 'invalid', 'Invalid Value');
    const page = found.slice(Number(start), Number(start) + size);
    const next = Number(start) + size < found.length ? `${digest}.${Number(start) + size}` : undefined;
    const inner = /files\(([^)]*)\)/.exec(get('fields') ?? '')?.[1] ?? 'kind,id,name,mimeType';
    return {
      status: 200,
      body: {
        ...(next !== undefined && get('fields')?.includes('nextPageToken') && { nextPageToken: next }),
        incompleteSearch: false,
        files: page.map((file) => masked(resource({ ...file, trashed: this.isTrashed(file) }), inner)),
      },
    };
  }

  /** In the trash itself, or with a folder above it. */
  private isTrashed(file: StoredFile): boolean {
    return (
      file.trashed ||
      file.parents.some((id) => this.isTrashed(this.files.get(id) ?? { ...file, parents: [], trashed: true }))
    );
  }

  private checkNew(
    meta: Record<string, unknown>,
    size: number,
    sees: (file: StoredFile) => boolean,
  ): { id: string; name: string; parents: string[]; mimeType: string } {
    const { id, name = 'Untitled', parents = ['my-drive'], mimeType = 'application/octet-stream' } = meta;
    if (typeof name !== 'string' || typeof mimeType !== 'string' || !Array.isArray(parents) || parents.length !== 1)
      throw problem(400, 'invalid', 'Invalid Value');
    const parent = parents[0] === 'root' ? 'my-drive' : String(parents[0]);
    const above = this.files.get(parent);
    if (above === undefined || (!sees(above) && parent !== 'my-drive')) throw notFound(parent);
    if (this.readOnly)
      throw problem(403, 'insufficientFilePermissions', 'The user does not have sufficient permissions for this file.');
    if (this.used + size > this.quota)
      throw problem(403, 'storageQuotaExceeded', "The user's Drive storage quota has been exceeded.");
    if (id !== undefined && (typeof id !== 'string' || !this.ids.has(id)))
      throw problem(400, 'invalid', 'The provided file ID is not usable.');
    if (typeof id === 'string' && this.files.has(id))
      throw problem(409, 'fileIdInUse', 'A file already exists with the provided ID.');
    return { id: id ?? `id-${randomBytes(12).toString('hex')}`, name, parents: [parent], mimeType };
  }

  private create(meta: Record<string, unknown>, url: URL, sees: (file: StoredFile) => boolean): Answer {
    const checked = this.checkNew(meta, 0, sees);
    const bytes = checked.mimeType === folderType ? undefined : new Uint8Array();
    return { status: 200, body: masked(resource(this.add(checked, bytes)), url.searchParams.get('fields')) };
  }

  private async upload(asked: Asked, limit: number, sees: (file: StoredFile) => boolean): Promise<Answer> {
    const { method, url, headers, incoming } = asked;
    const type = url.searchParams.get('uploadType');
    const session = url.searchParams.get('upload_id');
    if (session !== null) return await this.session(asked, session, limit);
    if (method !== 'POST') throw problem(405, 'httpMethodNotAllowed', 'Method Not Allowed');
    if (type === 'multipart') {
      const body = await wholeBody(incoming, limit);
      if (body.length > multipartLimit) throw problem(413, 'uploadTooLarge', 'Request Too Large');
      this.uploaded += body.length;
      const { meta, content } = parseMultipart(body, headers['content-type'] ?? '');
      const checked = this.checkNew(meta, content.length, sees);
      if (this.corrupt && content.length > 0) content[0] = (content[0] ?? 0) ^ 1;
      return { status: 200, body: masked(resource(this.add(checked, content)), url.searchParams.get('fields')) };
    }
    if (type !== 'resumable') throw problem(400, 'invalidParameter', 'Invalid upload type');
    const total = Number(headers['x-upload-content-length']);
    if (!Number.isInteger(total)) throw problem(400, 'required', 'X-Upload-Content-Length');
    const meta = { ...(await jsonBody(incoming)) };
    this.checkNew(meta, total, sees);
    const id = randomBytes(16).toString('hex');
    const path = join(this.folder, `session-${id}`);
    writeFileSync(path, '');
    const fields = url.searchParams.get('fields');
    this.sessions.set(id, {
      meta,
      total,
      received: 0,
      path,
      md5: createHash('md5'),
      sha256: createHash('sha256'),
      fields,
    });
    const location = `${this.endpoint}/upload/drive/v3/files?uploadType=resumable&upload_id=${id}`;
    return { status: 200, headers: { location } };
  }

  private async session({ method, headers, incoming }: Asked, id: string, limit: number): Promise<Answer> {
    const session = this.sessions.get(id);
    if (session === undefined) throw problem(404, 'notFound', 'Not Found');
    if (method === 'DELETE') {
      this.sessions.delete(id);
      rmSync(session.path, { force: true });
      return { status: 499 };
    }
    if (method !== 'PUT') throw problem(405, 'httpMethodNotAllowed', 'Method Not Allowed');
    const done = (): Answer => ({
      status: 200,
      body: session.file === undefined ? {} : masked(resource(session.file), session.fields),
    });
    const range = headers['content-range'] ?? '';
    const query = /^bytes \*\/(\d+|\*)$/.exec(range);
    if (session.file !== undefined) {
      incoming.resume();
      return done();
    }
    if (query !== null) {
      if (Number(headers['content-length']) !== 0) throw problem(400, 'badRequest', 'A status query has no body');
      return resumeIncomplete(session.received);
    }
    const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(range) ?? [];
    const [start, end] = [Number(first), Number(last) + 1];
    if (
      first === undefined ||
      Number(total) !== session.total ||
      end > session.total ||
      end - start !== Number(headers['content-length'])
    )
      throw problem(400, 'badRequest', 'Invalid Content-Range');
    if (start !== session.received)
      throw problem(400, 'badRequest', `Invalid request. ${start} is not where the upload is.`);
    if (end !== session.total && (end - start) % KiB256 !== 0)
      throw problem(400, 'badRequest', 'Chunks are multiples of 262144 bytes.');
    // Of a request that breaks off, only whole blocks are kept.
    let held: Buffer = Buffer.alloc(0);
    const keep = (bytes: Buffer): void => {
      appendFileSync(session.path, bytes);
      session.md5.update(bytes);
      session.sha256.update(bytes);
      session.received += bytes.length;
    };
    await takeIn(incoming, limit, (bytes) => {
      this.uploaded += bytes.length;
      held = Buffer.concat([held, bytes]);
      const whole = held.length - (held.length % KiB256);
      if (whole > 0) keep(held.subarray(0, whole));
      held = held.subarray(whole);
    });
    if (incoming.readableAborted) throw new Cut();
    keep(held);
    if (session.received < session.total) return resumeIncomplete(session.received);
    if (this.used + session.total > this.quota)
      throw problem(403, 'storageQuotaExceeded', "The user's Drive storage quota has been exceeded.");
    const checked = this.checkNew(session.meta, session.total, () => true);
    const sums = { md5: session.md5.digest('hex'), sha256: session.sha256.digest('hex') };
    if (this.corrupt) sums.md5 = sums.md5.replace(/./, (c) => (c === '0' ? '1' : '0'));
    session.file = this.add({
      ...checked,
      ...sums,
      size: session.total,
      path: session.path,
      mimeType: checked.mimeType,
    });
    return done();
  }

  private content({ headers }: Asked, file: StoredFile): Answer {
    const { path, size } = file;
    if (path === undefined)
      throw problem(403, 'fileNotDownloadable', 'Only files with binary content can be downloaded.');
    const range = headers.range;
    if (range === undefined) {
      return {
        status: 200,
        headers: { 'content-length': String(size), 'content-type': 'application/octet-stream' },
        stream: (out) => createReadStream(path).pipe(out),
      };
    }
    const [, first = '', last = ''] = /^bytes=(\d+)-(\d*)$/.exec(range) ?? [];
    const start = Number(first);
    const end = last === '' ? size - 1 : Math.min(Number(last), size - 1);
    if (first === '' || start >= size)
      throw problem(416, 'requestedRangeNotSatisfiable', 'Request range not satisfiable');
    return {
      status: 206,
      headers: {
        'content-length': String(end - start + 1),
        'content-range': `bytes ${start}-${end}/${size}`,
        'content-type': 'application/octet-stream',
      },
      stream: (out) => createReadStream(path, { start, end }).pipe(out),
    };
  }

  private update(file: StoredFile, meta: Record<string, unknown>, url: URL): Answer {
    for (const key of Object.keys(meta))
      if (!['name', 'trashed'].includes(key)) throw problem(403, 'fieldNotWritable', key);
    if (typeof meta.name === 'string') file.name = meta.name;
    if (typeof meta.trashed === 'boolean') file.trashed = meta.trashed;
    return { status: 200, body: masked(resource(file), url.searchParams.get('fields')) };
  }

  private remove(file: StoredFile): Answer {
    if (this.sharedDrive !== undefined && !this.manager)
      throw problem(403, 'insufficientFilePermissions', 'The user does not have sufficient permissions for this file.');
    this.drop(file.id);
    return { status: 204 };
  }
}

function resource(file: StoredFile): Record<string, unknown> {
  const isFolder = file.mimeType === folderType;
  return {
    kind: 'drive#file',
    id: file.id,
    name: file.name,
    mimeType: file.mimeType,
    parents: file.parents,
    createdTime: file.created,
    modifiedTime: file.modified,
    trashed: file.trashed,
    ...(!isFolder && { size: String(file.size), md5Checksum: file.md5, sha256Checksum: file.sha256 }),
  };
}

/** Only what was asked for, as the API does. */
function masked(all: Record<string, unknown>, fields: string | null): Record<string, unknown> {
  const wanted = (fields ?? 'kind,id,name,mimeType').split(',');
  for (const field of wanted)
    if (!/^\w+$/.test(field)) throw problem(400, 'invalidParameter', `Invalid field selection ${field}`);
  return Object.fromEntries(Object.entries(all).filter(([key]) => wanted.includes(key)));
}

function resumeIncomplete(received: number): Answer {
  return { status: 308, headers: received === 0 ? {} : { range: `bytes=0-${received - 1}` } };
}

function parseMultipart(body: Buffer, type: string): { meta: Record<string, unknown>; content: Buffer } {
  const boundary = /^multipart\/related; ?boundary=(\S+)$/.exec(type)?.[1];
  if (boundary === undefined) throw problem(400, 'badContent', 'Unsupported content with type');
  const mark = Buffer.from(`--${boundary}`);
  const starts: number[] = [];
  for (let at = body.indexOf(mark); at >= 0; at = body.indexOf(mark, at + mark.length)) starts.push(at);
  const parts = starts.slice(0, -1).map((at, n) => {
    const part = body.subarray(at + mark.length + 2, (starts[n + 1] ?? 0) - 2);
    return part.subarray(part.indexOf('\r\n\r\n') + 4);
  });
  const [meta, content] = parts;
  if (meta === undefined || content === undefined || parts.length !== 2)
    throw problem(400, 'badContent', 'Malformed multipart body.');
  return { meta: JSON.parse(meta.toString()) as Record<string, unknown>, content: Buffer.from(content) };
}

/** An error as the API words it. */
export function driveProblem(code: number, reason: string, message: string): Record<string, unknown> {
  return { error: { code, message, errors: [{ domain: 'global', reason, message }] } };
}

function problem(status: number, reason: string, message: string): Refusal {
  return new Refusal({ status, body: driveProblem(status, reason, message) });
}

function notFound(id: string): Refusal {
  return problem(404, 'notFound', `File not found: ${id}.`);
}
