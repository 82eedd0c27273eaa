import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  type ServerSideEncryption,
  type StorageClass,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { HoldfastError } from '../errors.js';
import { digestMismatch, type OpenBody, openBody, sha256Of } from './body.js';
import type { S3DestinationConfig } from './config.js';
import type { Body, Destination, ObjectInfo, PutOptions } from './destination.js';
import { checkKey, checkPrefix } from './keys.js';
import { createClient } from './s3-client.js';
import { errorName, s3Error, statusOf } from './s3-errors.js';
import { type Cut, findUnfinished, type Unfinished } from './s3-unfinished.js';
import { onceEach, type Section, sendSection } from './s3-upload.js';
import { collect, emptyStream, guarded } from './streams.js';

const MiB = 1024 * 1024;
const singleLimit = 64 * MiB;
const minPart = 16 * MiB;
const maxParts = 10_000;
const partsAtOnce = 4;
/** Exclusive objects are small records; larger ones are trusted to the server's own check. */
const readBackLimit = 8 * MiB;
const attempts = 3;
/** A service that asks for more patience than this gets it from the caller's own retries. */
const longestWaitMs = 5000;

const repeatable: ReadonlySet<string> = new Set([
  'DestinationUnreachable',
  'DestinationFailed',
  'Throttled',
  'IntegrityMismatch',
  'ObjectExists',
]);

/** Failures after which the next attempt goes on with the parts that got through. */
const worthKeeping: ReadonlySet<string> = new Set([
  'DestinationUnreachable',
  'DestinationFailed',
  'Throttled',
  'AuthExpired',
]);
/** The service knows the upload's parts no more, or not as they were listed. */
const cannotGoOn = /NoSuchUpload|InvalidPart|EntityTooSmall/;
const dayMs = 86_400_000;
/** The same object stored again makes another version; more than a few are not ours. */
const maxVersions = 20;

/** A bucket, or the part of one below a prefix, at AWS or any service that speaks S3. */
export class S3Destination implements Destination {
  readonly type = 's3';
  private readonly client: S3Client;
  private readonly prefix: string;
  private readonly label: string;
  private readonly secrets: string[];
  /** Off once the service has answered that it does not know `If-None-Match`. */
  private conditional = true;
  /** Off once it has refused `x-amz-checksum-sha256` (Backblaze B2): the signed hash of the content still covers every byte. */
  private checksums = true;

  /** Throws `ConfigInvalid`. */
  constructor(
    readonly name: string,
    private readonly config: S3DestinationConfig,
  ) {
    this.client = createClient(name, config);
    const path = (config.prefix ?? '').replace(/^\/+|\/+$/g, '');
    this.prefix = path === '' ? '' : `${path}/`;
    this.label = `Destination "${name}" (bucket ${config.bucket})`;
    this.secrets = [config.secretAccessKey, config.sessionToken, config.accessKeyId]
      .filter((value) => value !== undefined)
      .filter((value) => value !== '');
  }

  async ensureRoot(signal?: AbortSignal): Promise<void> {
    await this.run('looking for the bucket', signal, () => this.checkBucket(signal));
  }

  async put(key: string, body: Body, options: PutOptions = {}): Promise<void> {
    checkKey(key);
    await options.after;
    const { signal, exclusive } = options;
    await this.run(`storing ${key}`, signal, async () => {
      const opened = await openBody(body);
      try {
        if (exclusive && (await this.isThere(key, signal))) throw this.objectExists(key);
        const proven = await this.uploadAsUnderstood(key, opened, options);
        if (!proven || exclusive) await this.verify(key, opened, options);
      } finally {
        await opened.close();
      }
    });
  }

  async get(key: string, options: { start?: number; end?: number; signal?: AbortSignal } = {}): Promise<Readable> {
    checkKey(key);
    const { start = 0, end, signal } = options;
    const action = `reading ${key}`;
    if (start === end) return emptyStream();
    return await this.run(action, signal, async () => {
      const whole = start === 0 && end === undefined;
      const range = whole ? undefined : `bytes=${start}-${end === undefined ? '' : end - 1}`;
      const command = new GetObjectCommand({ ...this.at(key), ...(range !== undefined && { Range: range }) });
      const answer = await this.client.send(command, { abortSignal: signal });
      const source = answer.Body;
      if (!(source instanceof Readable))
        throw new HoldfastError('DestinationFailed', `${this.label}: no body came for ${key}`);
      const label = `${key} at destination "${this.name}"`;
      const length = answer.ContentLength;
      const problem =
        length === undefined
          ? new HoldfastError('DestinationFailed', `${this.label}: the length of ${key} is not told`, {
              retryable: false,
            })
          : range !== undefined && answer.ContentRange === undefined
            ? new HoldfastError('DestinationFailed', `${this.label}: does not answer ranges`, { retryable: false })
            : end !== undefined && length < end - start
              ? new HoldfastError('IntegrityMismatch', `${label} ends at byte ${start + length}, before byte ${end}`)
              : undefined;
      if (problem !== undefined || length === undefined) {
        source.on('error', () => {});
        source.destroy();
        throw problem;
      }
      const translate = (error: unknown): HoldfastError => this.translate(action, error, signal);
      return guarded(source, { expected: length, label, translate, signal });
    });
  }

  async read(key: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<Buffer> {
    const label = `${key} at destination "${this.name}"`;
    const { maxBytes, signal } = options;
    return await this.run(`reading ${key}`, signal, () =>
      this.repeat(`reading ${key}`, signal, async () => {
        return await collect(await this.get(key, { signal }), label, maxBytes);
      }),
    );
  }

  async stat(key: string, signal?: AbortSignal): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return await this.run(`looking at ${key}`, signal, async () => {
      const head = await this.head(key, signal);
      return head && { key, size: head.ContentLength ?? 0, modified: head.LastModified ?? new Date(0) };
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    const action = `listing ${prefix === '' ? 'everything' : prefix}`;
    let token: string | undefined;
    do {
      const command = new ListObjectsV2Command({
        Bucket: this.config.bucket,
        Prefix: this.prefix + prefix,
        ...(token !== undefined && { ContinuationToken: token }),
      });
      const page = await this.run(action, signal, () => this.client.send(command, { abortSignal: signal }));
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        // A key ending in a slash is a folder that some other tool made.
        if (Key === undefined || Key.endsWith('/')) continue;
        yield { key: Key.slice(this.prefix.length), size: Size ?? 0, modified: LastModified ?? new Date(0) };
      }
      const next = page.IsTruncated ? page.NextContinuationToken : undefined;
      if (page.IsTruncated && (next === undefined || next === token)) {
        throw new HoldfastError('DestinationFailed', `${this.label}: the listing cannot be continued`);
      }
      token = next;
    } while (token !== undefined);
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    checkKey(key);
    await this.run(`deleting ${key}`, signal, async () => {
      if (this.config.objectLock !== undefined) return await this.deleteVersions(key, signal);
      try {
        await this.client.send(new DeleteObjectCommand(this.at(key)), { abortSignal: signal });
      } catch (error) {
        if (errorName(error) !== 'NoSuchKey') throw error;
      }
    });
  }

  async lockedUntil(key: string, signal?: AbortSignal): Promise<Date | undefined> {
    if (this.config.objectLock === undefined) return undefined;
    checkKey(key);
    return await this.run(`looking at ${key}`, signal, async () => {
      const until = (await this.head(key, signal))?.ObjectLockRetainUntilDate;
      return until !== undefined && until.getTime() > Date.now() ? until : undefined;
    });
  }

  /**
   * Where objects can be locked there are versions: a plain delete would only hide the object and keep its bytes for ever.
   * What is still locked stays, and is `AuthDenied`.
   */
  private async deleteVersions(key: string, signal?: AbortSignal): Promise<void> {
    for (let tries = 0; tries < maxVersions; tries++) {
      const head = await this.head(key, signal);
      if (head === undefined) return;
      const { VersionId } = head;
      const command = new DeleteObjectCommand({ ...this.at(key), ...(VersionId !== undefined && { VersionId }) });
      await this.client.send(command, { abortSignal: signal });
    }
    throw new HoldfastError('DestinationFailed', `${this.label}: ${key} is still there after deleting it`);
  }

  /** Without asking whether there is a bucket, which whoever stores something finds out. */
  private async isThere(key: string, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.client.send(new HeadObjectCommand(this.at(key)), { abortSignal: signal });
      return true;
    } catch (error) {
      if (statusOf(error) === 404) return false;
      throw await this.explained(error, signal);
    }
  }

  private async head(key: string, signal?: AbortSignal): Promise<HeadObjectCommandOutput | undefined> {
    try {
      return await this.client.send(new HeadObjectCommand(this.at(key)), { abortSignal: signal });
    } catch (error) {
      // An answer to HEAD has no body that could tell a missing object from a missing bucket, or why it is refused.
      if (statusOf(error) !== 404) throw await this.explained(error, signal);
      await this.checkBucket(signal);
      return undefined;
    }
  }

  /** The error of a request whose answer can tell what is wrong, in place of one that could not. */
  private async explained(error: unknown, signal?: AbortSignal): Promise<unknown> {
    const status = statusOf(error);
    if (status !== 400 && status !== 403) return error;
    const command = new ListObjectsV2Command({ Bucket: this.config.bucket, Prefix: this.prefix, MaxKeys: 1 });
    return await this.client.send(command, { abortSignal: signal }).then(
      () => error,
      (clearer: unknown) => clearer,
    );
  }

  /** From the `Date` header of a listing of at most one object (whole seconds). */
  async now(signal?: AbortSignal): Promise<Date> {
    return await this.run('reading the clock', signal, async () => {
      const command = new ListObjectsV2Command({ Bucket: this.config.bucket, Prefix: this.prefix, MaxKeys: 1 });
      let date: Date | undefined;
      command.middlewareStack.add(
        (next) => async (args) => {
          const result = await next(args);
          date = dateHeader(result.response);
          return result;
        },
        { step: 'deserialize', priority: 'low', name: 'holdfastDate' },
      );
      await this.client.send(command, { abortSignal: signal });
      if (date === undefined)
        throw new HoldfastError('DestinationFailed', `${this.label}: answers without a Date`, { retryable: false });
      return date;
    });
  }

  async space(): Promise<undefined> {
    return undefined;
  }

  async sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number> {
    checkPrefix(prefix);
    const before = (await this.now(signal)).getTime() - olderThanMs;
    return await this.run(`sweeping ${prefix}`, signal, async () => {
      let removed = 0;
      let marker: { KeyMarker?: string; UploadIdMarker?: string } = {};
      for (;;) {
        const command = new ListMultipartUploadsCommand({
          Bucket: this.config.bucket,
          Prefix: this.prefix + prefix,
          ...marker,
        });
        const page = await this.client.send(command, { abortSignal: signal });
        for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
          if (Key === undefined || !Key.startsWith(this.prefix + prefix)) continue;
          if (UploadId === undefined || Initiated === undefined || Initiated.getTime() >= before) continue;
          const abort = new AbortMultipartUploadCommand({ Bucket: this.config.bucket, Key, UploadId });
          await this.client.send(abort, { abortSignal: signal }).catch((error) => {
            if (errorName(error) !== 'NoSuchUpload') throw error;
          });
          removed += 1;
        }
        if (!page.IsTruncated || page.NextKeyMarker === undefined) return removed;
        marker = {
          KeyMarker: page.NextKeyMarker,
          ...(page.NextUploadIdMarker && { UploadIdMarker: page.NextUploadIdMarker }),
        };
      }
    });
  }

  async close(): Promise<void> {
    this.client.destroy();
  }

  private at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.config.bucket, Key: this.prefix + key };
  }

  private stored(retain: boolean | undefined) {
    const { storageClass, sse, sseKmsKeyId, objectLock } = this.config;
    // The SDK's types list the values it knew when it was made; services have others.
    return {
      ...(storageClass !== undefined && { StorageClass: storageClass as StorageClass }),
      ...(sse !== undefined && { ServerSideEncryption: sse as ServerSideEncryption }),
      ...(sseKmsKeyId !== undefined && { SSEKMSKeyId: sseKmsKeyId }),
      ...(objectLock !== undefined &&
        retain && {
          ObjectLockMode: lockModes[objectLock.mode],
          ObjectLockRetainUntilDate: new Date(Date.now() + objectLock.days * dayMs),
        }),
    };
  }

  /** Leaves out what the service turns out not to know. True when the service has named the checksum of what it stored. */
  private async uploadAsUnderstood(key: string, body: OpenBody, options: PutOptions): Promise<boolean> {
    for (;;) {
      try {
        return await this.upload(key, body, options, options.exclusive === true && this.conditional);
      } catch (error) {
        if (!(error instanceof Unsupported)) throw error;
        this[error.feature] = false;
      }
    }
  }

  private async upload(key: string, body: OpenBody, options: PutOptions, onlyNew: boolean): Promise<boolean> {
    if (body.size <= singleLimit) return await this.uploadWhole(key, body, options, onlyNew);
    await this.uploadParts(key, body, options, onlyNew);
    return false;
  }

  private async uploadWhole(key: string, body: OpenBody, options: PutOptions, onlyNew: boolean): Promise<boolean> {
    const { signal, limiter, onProgress } = options;
    const digest =
      options.sha256 === undefined ? await sha256Of(body, 0, body.size, signal) : Buffer.from(options.sha256, 'hex');
    const progress = onceEach(onProgress);
    return await this.repeat(`storing ${key}`, signal, async (attempt) => {
      const section: Section = { key, body, start: 0, end: body.size, digest, limiter, signal, onProgress: progress() };
      try {
        return await sendSection(section, async (stream, abortSignal) => {
          const command = new PutObjectCommand({
            ...this.at(key),
            ...this.stored(options.retain),
            Body: stream,
            ContentLength: body.size,
            ...this.checksum(digest),
            ...(onlyNew && { IfNoneMatch: '*' }),
          });
          command.middlewareStack.add(signContent(digest), { step: 'build', name: 'holdfastSignContent' });
          const { ChecksumSHA256 } = await this.client.send(command, { abortSignal });
          return ChecksumSHA256 === digest.toString('base64');
        });
      } catch (error) {
        this.noticeChecksums(error);
        await this.settleCondition(key, body, error, onlyNew, attempt, signal);
        return false;
      }
    });
  }

  private checksum(digest: Buffer): { ChecksumSHA256?: string } {
    return this.checksums ? { ChecksumSHA256: digest.toString('base64') } : {};
  }

  private noticeChecksums(error: unknown): void {
    if (this.checksums && error instanceof Error && /unsupported header.*x-amz-(sdk-)?checksum/i.test(error.message))
      throw new Unsupported('checksums');
  }

  private async uploadParts(key: string, body: OpenBody, options: PutOptions, onlyNew: boolean): Promise<void> {
    const { signal } = options;
    const cut = await digestParts(body, signal);
    if (options.sha256 !== undefined && cut.total !== options.sha256) throw digestMismatch(key);
    // Others may be creating an exclusive object at the same time: nobody goes on with what may be theirs.
    const unfinished = options.exclusive ? undefined : await this.unfinished(key, body, cut, signal);
    if (unfinished !== undefined) {
      try {
        return await this.sendAll(key, body, cut, unfinished, options, onlyNew);
      } catch (error) {
        if (!cannotGoOn.test(String(error))) throw error;
        await this.abort(key, unfinished.uploadId);
      }
    }
    const create = new CreateMultipartUploadCommand({
      ...this.at(key),
      ...this.stored(options.retain),
      ...(this.checksums && { ChecksumAlgorithm: 'SHA256' }),
    });
    const created = await this.client.send(create, { abortSignal: signal }).catch((error: unknown) => {
      this.noticeChecksums(error);
      throw error;
    });
    if (created.UploadId === undefined)
      throw new HoldfastError('DestinationFailed', `${this.label}: gave no id for a multipart upload`);
    await this.sendAll(key, body, cut, { uploadId: created.UploadId, parts: new Map() }, options, onlyNew);
  }

  /** An upload of the same content that was cut off; where the credentials may not list uploads there is none. */
  private async unfinished(
    key: string,
    body: OpenBody,
    cut: Cut,
    signal?: AbortSignal,
  ): Promise<Unfinished | undefined> {
    try {
      return await findUnfinished(this.client, this.at(key), body, cut, signal);
    } catch (error) {
      const { code } = this.translate(`looking for an unfinished upload of ${key}`, error, signal);
      if (code === 'AuthDenied' || code === 'DestinationFailed') return undefined;
      throw error;
    }
  }

  private async abort(key: string, UploadId: string): Promise<void> {
    const abort = new AbortMultipartUploadCommand({ ...this.at(key), UploadId });
    // What this does not reach, sweep() removes later.
    await this.client.send(abort, { abortSignal: AbortSignal.timeout(10_000) }).catch(() => {});
  }

  /** Sends the parts that the upload does not have yet, several at a time, and completes it. */
  private async sendAll(
    key: string,
    body: OpenBody,
    { partSize, digests }: Cut,
    upload: Unfinished,
    options: PutOptions,
    onlyNew: boolean,
  ): Promise<void> {
    const { signal, limiter, onProgress } = options;
    const { uploadId: UploadId } = upload;
    const failed = new AbortController();
    const together = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
    const parts: CompletedPart[] = [];
    let next = 0;
    const sendParts = async (): Promise<void> => {
      for (let index = next++; index < digests.length; index = next++) {
        const start = index * partSize;
        const end = Math.min(start + partSize, body.size);
        const there = upload.parts.get(index);
        if (there !== undefined) {
          parts[index] = there;
          onProgress?.(end - start);
          continue;
        }
        const digest = digests[index] ?? Buffer.alloc(0);
        const progress = onceEach(onProgress);
        parts[index] = await this.repeat(`storing ${key}`, together, () =>
          sendSection(
            { key, body, start, end, digest, limiter, signal: together, onProgress: progress() },
            async (stream, abortSignal) => {
              const command = new UploadPartCommand({
                ...this.at(key),
                UploadId,
                PartNumber: index + 1,
                Body: stream,
                ContentLength: end - start,
                ...this.checksum(digest),
              });
              command.middlewareStack.add(signContent(digest), { step: 'build', name: 'holdfastSignContent' });
              const sent = this.client.send(command, { abortSignal });
              const { ETag, ChecksumSHA256 } = await sent.catch((error: unknown) => {
                this.noticeChecksums(error);
                throw error;
              });
              return { PartNumber: index + 1, ...(ETag && { ETag }), ...(ChecksumSHA256 && { ChecksumSHA256 }) };
            },
          ),
        );
      }
    };
    try {
      let first: { error: unknown } | undefined;
      const senders = Array.from({ length: partsAtOnce }, () =>
        sendParts().catch((error) => {
          first ??= { error };
          failed.abort();
        }),
      );
      await Promise.all(senders);
      if (first !== undefined) throw first.error;
      await this.complete(key, body, UploadId, parts, onlyNew, signal);
    } catch (error) {
      const { code, retryable } = this.translate(`storing ${key}`, error, signal);
      if (!retryable || !worthKeeping.has(code) || error instanceof Unsupported) await this.abort(key, UploadId);
      throw error;
    }
  }

  private async complete(
    key: string,
    body: OpenBody,
    UploadId: string,
    parts: CompletedPart[],
    onlyNew: boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    try {
      const command = new CompleteMultipartUploadCommand({
        ...this.at(key),
        UploadId,
        MultipartUpload: { Parts: parts },
        ...(onlyNew && { IfNoneMatch: '*' }),
      });
      await this.client.send(command, { abortSignal: signal });
    } catch (error) {
      // The SDK may have repeated a request whose answer got lost: then the upload is gone because it is complete.
      if (errorName(error) === 'NoSuchUpload' && (await this.holds(key, body, signal))) return;
      await this.settleCondition(key, body, error, onlyNew, 1, signal);
    }
  }

  /** After a failed conditional write: returns if the object is there because an earlier attempt of ours put it there. */
  private async settleCondition(
    key: string,
    body: OpenBody,
    error: unknown,
    onlyNew: boolean,
    attempt: number,
    signal?: AbortSignal,
  ): Promise<void> {
    const unknown =
      errorName(error) === 'NotImplemented' ||
      statusOf(error) === 501 ||
      (error instanceof Error && /unsupported header.*if-none-match/i.test(error.message));
    if (onlyNew && unknown) throw new Unsupported('conditional');
    if (onlyNew && attempt > 1 && statusOf(error) === 412 && (await this.holds(key, body, signal))) return;
    throw error;
  }

  /** Whether the stored object has exactly these bytes; undefined when there is none. */
  private async holds(key: string, body: OpenBody, signal?: AbortSignal): Promise<boolean | undefined> {
    const hash = createHash('sha256');
    let size = 0;
    try {
      for await (const chunk of await this.get(key, { signal })) {
        size += chunk.length;
        if (size > body.size) return false;
        hash.update(chunk);
      }
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ObjectMissing') return undefined;
      throw error;
    }
    return hash.digest().equals(await sha256Of(body, 0, body.size, signal));
  }

  private async verify(key: string, body: OpenBody, { exclusive, signal }: PutOptions): Promise<void> {
    const failed = (size: number | 'no'): HoldfastError =>
      new HoldfastError('DestinationFailed', `${this.label}: ${key} has ${size} bytes after storing ${body.size}`);
    if (exclusive && (body.size <= readBackLimit || !this.conditional)) {
      // With a condition that the service may have ignored, another writer's object is in our place.
      const same = await this.holds(key, body, signal);
      if (same === undefined) throw failed('no');
      if (!same) throw this.objectExists(key);
      return;
    }
    const info = await this.stat(key, signal);
    if (info?.size === body.size) return;
    if (exclusive && info !== undefined) throw this.objectExists(key);
    throw failed(info?.size ?? 'no');
  }

  private async checkBucket(signal?: AbortSignal): Promise<void> {
    try {
      await this.client.send(new HeadBucketCommand({ Bucket: this.config.bucket }), { abortSignal: signal });
    } catch (error) {
      if (statusOf(error) === 404) {
        throw new HoldfastError('DestinationMissing', `${this.label}: the bucket does not exist`, {
          hint: 'Create the bucket, or correct its name.',
        });
      }
      throw await this.explained(error, signal);
    }
  }

  private objectExists(key: string): HoldfastError {
    return new HoldfastError('ObjectExists', `${this.label}: there is already a ${key}`);
  }

  private translate(action: string, error: unknown, signal?: AbortSignal): HoldfastError {
    return s3Error({ label: this.label, secrets: this.secrets, signal }, action, error);
  }

  private async run<T>(action: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await work();
    } catch (error) {
      throw this.translate(action, error, signal);
    }
  }

  /** Tries again what the SDK does not, bodies that are streams; `work` gets the attempt's number, from 1. */
  private async repeat<T>(
    action: string,
    signal: AbortSignal | undefined,
    work: (attempt: number) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work(attempt);
      } catch (raw) {
        if (raw instanceof Unsupported) throw raw;
        const error = this.translate(action, raw, signal);
        const wait = Math.max(200 * 2 ** attempt, error.code === 'Throttled' ? (error.retryAfterMs ?? 0) : 0);
        if (attempt >= attempts || !error.retryable || !repeatable.has(error.code) || wait > longestWaitMs) throw error;
        await sleep(wait, undefined, { signal });
      }
    }
  }
}

const lockModes = { governance: 'GOVERNANCE', compliance: 'COMPLIANCE' } as const;

/** The service does not know something that can be left out. */
class Unsupported extends Error {
  constructor(readonly feature: 'conditional' | 'checksums') {
    super(`${feature}: not supported`);
  }
}

type Handler<A, R> = (args: A) => Promise<R>;

/** Signs a streamed body's content as well, also where the connection is not encrypted: the service then checks all of it. */
function signContent(digest: Buffer): <A extends { request: unknown }, R>(next: Handler<A, R>) => Handler<A, R> {
  return (next) => (args) => {
    const { request } = args;
    if (hasHeaders(request)) request.headers['x-amz-content-sha256'] = digest.toString('hex');
    return next(args);
  };
}

function hasHeaders(value: unknown): value is { headers: Record<string, string> } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'headers' in value &&
    typeof value.headers === 'object' &&
    value.headers !== null
  );
}

function dateHeader(response: unknown): Date | undefined {
  const text = hasHeaders(response) ? response.headers.date : undefined;
  const date = text === undefined ? undefined : new Date(text);
  return date === undefined || Number.isNaN(date.getTime()) ? undefined : date;
}

/** Part size and the SHA-256 of every part and of the whole, in one pass. */
async function digestParts(
  body: OpenBody,
  signal?: AbortSignal,
): Promise<{ partSize: number; digests: Buffer[]; total: string }> {
  const partSize = Math.max(minPart, Math.ceil(body.size / maxParts / MiB) * MiB);
  const total = createHash('sha256');
  const digests: Buffer[] = [];
  for (let start = 0; start < body.size; start += partSize) {
    const part = createHash('sha256');
    const end = Math.min(start + partSize, body.size);
    for (let at = start; at < end; at += MiB) {
      signal?.throwIfAborted();
      const piece = await body.read(at, Math.min(MiB, end - at));
      part.update(piece);
      total.update(piece);
    }
    digests.push(part.digest());
  }
  return { partSize, digests, total: total.digest('hex') };
}
