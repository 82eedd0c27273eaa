import { createHash } from 'node:crypto';
import {
  type CompletedPart,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  type MultipartUpload,
  type Part,
  type S3Client,
} from '@aws-sdk/client-s3';
import { type OpenBody, piecesOf } from './body.js';

/** How an object is cut into parts; the SHA-256 (raw) of each. */
export interface Cut {
  partSize: number;
  digests: readonly Buffer[];
}

/** An unfinished multipart upload of the same content, and those of its parts that need not be sent again, by index. */
export interface Unfinished {
  uploadId: string;
  parts: Map<number, CompletedPart>;
}

/** Uploads of one key that are looked into, newest first: more than a few mean that something else is wrong. */
const maxLookedAt = 5;

/**
 * Finds an upload of this very content that a crash left behind: every part it has must be one of ours, by SHA-256 or, where
 * the service keeps none, by MD5. Whoever uploads something else under the same key is left alone.
 */
export async function findUnfinished(
  client: S3Client,
  at: { Bucket: string; Key: string },
  body: OpenBody,
  cut: Cut,
  signal?: AbortSignal,
): Promise<Unfinished | undefined> {
  const uploads = (await uploadsOf(client, at, signal))
    .sort((a, b) => (b.Initiated?.getTime() ?? 0) - (a.Initiated?.getTime() ?? 0))
    .slice(0, maxLookedAt);
  for (const { UploadId } of uploads) {
    if (UploadId === undefined) continue;
    const parts = await ourParts(await partsOf(client, { ...at, UploadId }, signal), body, cut);
    if (parts !== undefined && parts.size > 0) return { uploadId: UploadId, parts };
  }
  return undefined;
}

async function uploadsOf(
  client: S3Client,
  { Bucket, Key }: { Bucket: string; Key: string },
  signal?: AbortSignal,
): Promise<MultipartUpload[]> {
  const command = new ListMultipartUploadsCommand({ Bucket, Prefix: Key });
  const { Uploads = [] } = await client.send(command, { abortSignal: signal });
  return Uploads.filter((upload) => upload.Key === Key);
}

async function partsOf(
  client: S3Client,
  upload: { Bucket: string; Key: string; UploadId: string },
  signal?: AbortSignal,
): Promise<Part[]> {
  const parts: Part[] = [];
  let marker: string | undefined;
  do {
    const command = new ListPartsCommand({ ...upload, ...(marker !== undefined && { PartNumberMarker: marker }) });
    const page = await client.send(command, { abortSignal: signal });
    parts.push(...(page.Parts ?? []));
    const next = page.IsTruncated ? page.NextPartNumberMarker : undefined;
    marker = next === marker ? undefined : next;
  } while (marker !== undefined);
  return parts;
}

/** The parts to go on with; undefined when one of them is not ours. */
async function ourParts(
  parts: readonly Part[],
  body: OpenBody,
  { partSize, digests }: Cut,
): Promise<Map<number, CompletedPart> | undefined> {
  const ours = new Map<number, CompletedPart>();
  for (const { PartNumber = 0, Size, ETag, ChecksumSHA256 } of parts) {
    const index = PartNumber - 1;
    const digest = digests[index];
    const start = index * partSize;
    const end = Math.min(start + partSize, body.size);
    if (digest === undefined || Size !== end - start || ETag === undefined) return undefined;
    const same =
      ChecksumSHA256 === undefined
        ? ETag.replaceAll('"', '') === (await md5Of(body, start, end))
        : ChecksumSHA256 === digest.toString('base64');
    if (!same) return undefined;
    ours.set(index, { PartNumber, ETag, ...(ChecksumSHA256 !== undefined && { ChecksumSHA256 }) });
  }
  return ours;
}

async function md5Of(body: OpenBody, start: number, end: number): Promise<string> {
  const hash = createHash('md5');
  for await (const piece of piecesOf(body, start, end, 1 << 20)) hash.update(piece);
  return hash.digest('hex');
}
