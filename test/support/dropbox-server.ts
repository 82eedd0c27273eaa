import { createHash, randomBytes } from 'node:crypto';
import { appendFileSync, createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Answer, type Asked, Cut, FakeHttp, jsonBody, Refusal, wholeBody } from './fake-http.js';
import { FakeOAuth } from './fake-oauth.js';

const MiB = 1024 * 1024;
const uploadLimit = 150 * MiB;

interface Entry {
  tag: 'file' | 'folder';
  id: string;
  /** As it was first written. */
  display: string;
  size: number;
  path: string;
  hash: string;
  modified: string;
  rev: string;
}

interface Session {
  size: number;
  path: string;
  closed: boolean;
}

/** Dropbox's API v2 (hosts as folders: api, content, www) and its token endpoint, as documented, for one app and one account. */
export class DropboxServer {
  readonly oauth = new FakeOAuth();
  readonly http: FakeHttp;
  /** By namespace, then by path in lower case. */
  readonly namespaces = new Map<string, Map<string, Entry>>([['home', new Map()]]);
  readonly sessions = new Map<string, Session>();
  /** Bytes of content that arrived, over all requests. */
  uploaded = 0;
  quota = Number.POSITIVE_INFINITY;
  readOnly = false;
  /** The account is in a team whose space has this namespace id. */
  teamSpace: string | undefined;
  pageSize = 2000;
  /** How many listings in progress are to be reset. */
  resets = 0;
  private writing = 0;
  private readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-dropbox-'));

  private constructor() {
    this.http = new FakeHttp((asked, limit) => this.serve(asked, limit));
  }

  static async start(): Promise<DropboxServer> {
    const server = new DropboxServer();
    await server.http.start();
    return server;
  }

  get endpoint(): string {
    return this.http.endpoint;
  }

  get home(): Map<string, Entry> {
    return this.namespaces.get('home') ?? new Map();
  }

  async stop(): Promise<void> {
    await this.http.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Makes a file, or a folder where there are no bytes, with the folders above. */
  add(path: string, bytes?: Uint8Array, space = this.home): void {
    const file = join(this.folder, randomBytes(8).toString('hex'));
    if (bytes !== undefined) writeFileSync(file, bytes);
    this.place(space, path, bytes === undefined ? undefined : { file, size: bytes.length, hash: contentHash(bytes) });
  }

  private place(
    space: Map<string, Entry>,
    path: string,
    content?: { file: string; size: number; hash: string },
  ): Entry {
    const above = path.slice(0, path.lastIndexOf('/'));
    if (above !== '' && !space.has(above.toLowerCase())) this.place(space, above);
    const known = space.get(path.toLowerCase());
    const entry: Entry = {
      tag: content === undefined ? 'folder' : 'file',
      id: known?.id ?? `id:${randomBytes(8).toString('hex')}`,
      display: known?.display ?? path,
      size: content?.size ?? 0,
      path: content?.file ?? '',
      hash: content?.hash ?? '',
      modified: `${new Date().toISOString().slice(0, 19)}Z`,
      rev: randomBytes(8).toString('hex'),
    };
    space.set(path.toLowerCase(), entry);
    return entry;
  }

  private async serve(asked: Asked, limit: number): Promise<Answer> {
    const [, host, rest = ''] = /^\/(api|content|www)\/(.*)$/.exec(asked.url.pathname) ?? [];
    if (host === undefined) return { status: 404, body: 'no such host' };
    if (host === 'www' && rest === 'oauth2/authorize')
      return this.oauth.authorize(asked, { offline: ['token_access_type', 'offline'] });
    if (host === 'api' && rest === 'oauth2/token')
      return await this.oauth.token(asked, `${this.endpoint}/api/oauth2/token`);
    if (asked.method !== 'POST') return { status: 405, body: 'expected POST' };
    const route = /^2\/([\w/]+)$/.exec(rest)?.[1] ?? '';
    const onContent = route === 'files/download' || /^files\/upload/.test(route);
    if (onContent !== (host === 'content')) return { status: 404, body: `${route} is not on this host` };
    if (this.oauth.scopeOf(asked) === undefined)
      throw refusal(401, 'expired_access_token', { '.tag': 'expired_access_token' });
    const space = this.spaceOf(asked);
    if (onContent) {
      const arg = asked.headers['dropbox-api-arg'];
      if (typeof arg !== 'string') return { status: 400, body: 'expected Dropbox-API-Arg' };
      if (!/^[\x20-\x7e]*$/.test(arg)) return { status: 400, body: 'could not decode Dropbox-API-Arg' };
      return await this.contentRoute(route, JSON.parse(arg) as Record<string, unknown>, asked, space, limit);
    }
    const isJson = asked.headers['content-type'] === 'application/json';
    const args = await jsonBody(asked.incoming);
    if (Object.keys(args).length > 0 && !isJson) return { status: 400, body: 'expected application/json' };
    return this.rpcRoute(route, args, space);
  }

  private spaceOf({ headers }: Asked): Map<string, Entry> {
    const header = headers['dropbox-api-path-root'];
    if (header === undefined) return this.home;
    const root = JSON.parse(String(header)) as Record<string, string>;
    const id = root['.tag'] === 'root' ? root.root : root.namespace_id;
    const isCurrent = root['.tag'] !== 'root' || id === this.teamSpace;
    const space = this.namespaces.get(id ?? '');
    if (space === undefined || !isCurrent) throw refusal(422, 'invalid_root', { '.tag': 'invalid_root' });
    return space;
  }

  private rpcRoute(route: string, args: Record<string, unknown>, space: Map<string, Entry>): Answer {
    switch (route) {
      case 'users/get_current_account': {
        const root = this.teamSpace ?? '1';
        const tag = this.teamSpace === undefined ? 'user' : 'team';
        return {
          status: 200,
          body: {
            email: 'ann@example.com',
            root_info: { '.tag': tag, root_namespace_id: root, home_namespace_id: '1' },
          },
        };
      }
      case 'users/get_space_usage': {
        const used = this.used();
        const allocated = Number.isFinite(this.quota) ? this.quota : 2e12;
        return { status: 200, body: { used, allocation: { '.tag': 'individual', allocated } } };
      }
      case 'files/get_metadata': {
        const found = this.find(space, args.path, 'path');
        return { status: 200, body: described(found) };
      }
      case 'files/create_folder_v2': {
        const path = checkPath(args.path, 'path');
        this.checkWrite('path');
        const there = space.get(path.toLowerCase());
        if (there !== undefined)
          throw refusal(409, `path/conflict/${there.tag}`, {
            '.tag': 'path',
            path: { '.tag': 'conflict', conflict: { '.tag': there.tag } },
          });
        return { status: 200, body: { metadata: described(this.place(space, path)) } };
      }
      case 'files/delete_v2': {
        const found = this.find(space, args.path, 'path_lookup');
        this.checkWrite('path_write');
        const lower = found.display.toLowerCase();
        for (const path of [...space.keys()]) if (path === lower || path.startsWith(`${lower}/`)) space.delete(path);
        return { status: 200, body: { metadata: described(found) } };
      }
      case 'files/list_folder':
        return this.listFolder(args, space);
      case 'files/list_folder/continue': {
        if (this.resets > 0) {
          this.resets -= 1;
          throw refusal(409, 'reset', { '.tag': 'reset' });
        }
        const { path, at } = JSON.parse(Buffer.from(String(args.cursor), 'base64url').toString()) as {
          path: string;
          at: number;
        };
        return this.page(space, path, at);
      }
    }
    return { status: 400, body: `unknown route ${route}` };
  }

  private listFolder(args: Record<string, unknown>, space: Map<string, Entry>): Answer {
    const { path, limit } = args;
    if (path === '/') return { status: 400, body: 'Specify the root folder as an empty string rather than as "/".' };
    if (typeof limit === 'number' && (limit < 1 || limit > 2000)) return { status: 400, body: 'limit' };
    if (path !== '') {
      const found = this.find(space, path, 'path');
      if (found.tag !== 'folder')
        throw refusal(409, 'path/not_folder', { '.tag': 'path', path: { '.tag': 'not_folder' } });
    }
    if (args.recursive !== true) return { status: 400, body: 'this fake lists recursively only' };
    return this.page(space, String(path).toLowerCase(), 0);
  }

  private page(space: Map<string, Entry>, path: string, at: number): Answer {
    const all = [...space.entries()].filter(([lower]) => lower === path || lower.startsWith(`${path}/`));
    const some = all.slice(at, at + this.pageSize);
    const next = at + some.length;
    // Only the last part of a path is sure to be written as it was.
    const entries = some.map(([lower, entry]) => ({
      ...described(entry),
      path_display: lower.slice(0, lower.lastIndexOf('/') + 1) + lastPart(entry.display),
    }));
    const cursor = Buffer.from(JSON.stringify({ path, at: next })).toString('base64url');
    return { status: 200, body: { entries, cursor, has_more: next < all.length } };
  }

  private async contentRoute(
    route: string,
    args: Record<string, unknown>,
    asked: Asked,
    space: Map<string, Entry>,
    limit: number,
  ): Promise<Answer> {
    if (route === 'files/download') return this.download(args, asked, space);
    const { headers, incoming } = asked;
    if (headers['content-type'] !== 'application/octet-stream')
      return { status: 400, body: 'expected application/octet-stream' };
    if (headers['content-length'] === undefined) return { status: 400, body: 'expected Content-Length' };
    if (Number(headers['content-length']) > uploadLimit) return { status: 413, body: 'too large' };
    const counted = async (): Promise<Buffer> => {
      const bytes = await wholeBody(incoming, limit).catch((error) => {
        if (error instanceof Cut) this.uploaded += limit;
        throw error;
      });
      if (bytes.length !== Number(headers['content-length'])) throw new Cut();
      this.uploaded += bytes.length;
      const said = args.content_hash;
      if (said !== undefined && said !== contentHash(bytes))
        throw refusal(409, 'content_hash_mismatch', { '.tag': 'content_hash_mismatch' });
      return bytes;
    };
    switch (route) {
      case 'files/upload': {
        this.checkCommit(args, space, Number(headers['content-length']), 'path');
        const bytes = await counted();
        const path = join(this.folder, randomBytes(8).toString('hex'));
        writeFileSync(path, bytes);
        return await this.commit(args, space, { file: path, size: bytes.length, hash: contentHash(bytes) }, 'path');
      }
      case 'files/upload_session/start': {
        const bytes = await counted();
        const id = `session-${randomBytes(8).toString('hex')}`;
        const path = join(this.folder, id);
        writeFileSync(path, bytes);
        this.sessions.set(id, { size: bytes.length, path, closed: args.close === true });
        return { status: 200, body: { session_id: id } };
      }
      case 'files/upload_session/append_v2': {
        const session = this.session(args.cursor, false);
        const bytes = await counted();
        appendFileSync(session.path, bytes);
        session.size += bytes.length;
        return { status: 200, body: null };
      }
      case 'files/upload_session/finish': {
        const bytes = await counted();
        const session = this.session(args.cursor, true);
        appendFileSync(session.path, bytes);
        const commit = typeof args.commit === 'object' && args.commit !== null ? { ...args.commit } : {};
        const size = session.size + bytes.length;
        this.checkCommit(commit, space, size, 'path');
        const answer = await this.commit(
          commit,
          space,
          { file: session.path, size, hash: contentHash(readFileSync(session.path)) },
          'path',
        );
        this.sessions.delete(String((args.cursor as { session_id: string }).session_id));
        return answer;
      }
    }
    return { status: 400, body: `unknown route ${route}` };
  }

  private session(cursor: unknown, finishing: boolean): Session {
    const { session_id, offset } = cursor as { session_id: string; offset: number };
    const fail = (tag: string, more: object = {}): Refusal => {
      const body = { '.tag': tag, ...more };
      return finishing
        ? refusal(409, `lookup_failed/${tag}`, { '.tag': 'lookup_failed', lookup_failed: body })
        : refusal(409, tag, body);
    };
    const session = this.sessions.get(session_id);
    if (session === undefined) throw fail('not_found');
    if (session.closed && !finishing) throw fail('closed');
    if (offset !== session.size) throw fail('incorrect_offset', { correct_offset: session.size });
    return session;
  }

  private checkCommit(args: Record<string, unknown>, space: Map<string, Entry>, size: number, at: string): void {
    const path = checkPath(args.path, at);
    this.checkWrite(at);
    const reason = (tag: string, more: object = {}): Refusal =>
      refusal(409, `${at}/${tag}`, { '.tag': 'path', reason: { '.tag': tag, ...more }, upload_session_id: 'x' });
    if (this.used() + size > this.quota) throw reason('insufficient_space');
    const there = space.get(path.toLowerCase());
    const mode =
      typeof args.mode === 'object' && args.mode !== null && '.tag' in args.mode ? args.mode['.tag'] : args.mode;
    if (there?.tag === 'folder') throw reason('conflict/folder');
    if (there !== undefined && mode !== 'overwrite') throw reason('conflict/file');
  }

  /** Takes a moment, in which nobody else may write to the namespace. */
  private async commit(
    args: Record<string, unknown>,
    space: Map<string, Entry>,
    content: { file: string; size: number; hash: string },
    at: string,
  ): Promise<Answer> {
    if (this.writing > 0) {
      throw refusal(429, 'too_many_write_operations', {
        reason: { '.tag': 'too_many_write_operations' },
        retry_after: 1,
      });
    }
    this.writing += 1;
    try {
      await new Promise((resolve) => setTimeout(resolve, 1));
      this.checkCommit(args, space, content.size, at);
      return { status: 200, body: described(this.place(space, String(args.path), content)) };
    } finally {
      this.writing -= 1;
    }
  }

  private download(args: Record<string, unknown>, { headers }: Asked, space: Map<string, Entry>): Answer {
    const found = this.find(space, args.path, 'path');
    if (found.tag !== 'file') throw refusal(409, 'path/not_file', { '.tag': 'path', path: { '.tag': 'not_file' } });
    const { path, size } = found;
    const result = { 'dropbox-api-result': JSON.stringify(described(found)).replace(/[\u007f-\uffff]/g, escaped) };
    if (headers.range === undefined) {
      const length = { ...result, 'content-length': String(size), 'content-type': 'application/octet-stream' };
      return { status: 200, headers: length, stream: (out) => createReadStream(path).pipe(out) };
    }
    const [, first = '', last = ''] = /^bytes=(\d+)-(\d*)$/.exec(headers.range) ?? [];
    const start = Number(first);
    const end = last === '' ? size - 1 : Math.min(Number(last), size - 1);
    if (first === '' || start >= size) return { status: 416, body: 'Requested range not satisfiable' };
    const range = {
      ...result,
      'content-length': String(end - start + 1),
      'content-range': `bytes ${start}-${end}/${size}`,
      'content-type': 'application/octet-stream',
    };
    return { status: 206, headers: range, stream: (out) => createReadStream(path, { start, end }).pipe(out) };
  }

  private find(space: Map<string, Entry>, path: unknown, at: string): Entry {
    const found = space.get(checkPath(path, at).toLowerCase());
    if (found === undefined) throw refusal(409, `${at}/not_found`, { '.tag': at, [at]: { '.tag': 'not_found' } });
    return found;
  }

  private checkWrite(at: string): void {
    if (this.readOnly)
      throw refusal(409, `${at}/no_write_permission`, { '.tag': 'path', reason: { '.tag': 'no_write_permission' } });
  }

  private used(): number {
    return [...this.namespaces.values()]
      .flatMap((space) => [...space.values()])
      .reduce((sum, { size }) => sum + size, 0);
  }
}

function described(entry: Entry): Record<string, unknown> {
  const common = {
    '.tag': entry.tag,
    id: entry.id,
    name: lastPart(entry.display),
    path_lower: entry.display.toLowerCase(),
    path_display: entry.display,
  };
  if (entry.tag === 'folder') return common;
  const { size, hash, modified, rev } = entry;
  return { ...common, size, content_hash: hash, client_modified: modified, server_modified: modified, rev };
}

function checkPath(path: unknown, at: string): string {
  if (typeof path !== 'string' || !/^(\/[^/]+)+$/.test(path))
    throw refusal(409, `${at}/malformed_path`, { '.tag': at, [at]: { '.tag': 'malformed_path' } });
  return path;
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Written apart from the program's own, straight from the documentation. */
export function contentHash(bytes: Uint8Array): string {
  const blocks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 4 * MiB)
    blocks.push(
      createHash('sha256')
        .update(bytes.subarray(at, at + 4 * MiB))
        .digest(),
    );
  return createHash('sha256').update(Buffer.concat(blocks)).digest('hex');
}

/** An error as the API words it. */
export function dropboxProblem(summary: string, error: object): Record<string, unknown> {
  return { error_summary: `${summary}/${'.'.repeat(summary.length % 4)}`, error };
}

function refusal(status: number, summary: string, error: object): Refusal {
  return new Refusal({ status, body: dropboxProblem(summary, error) });
}
