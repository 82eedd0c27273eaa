import type { KeyFile } from './keys.js';

/** README.txt of a repository: how to restore without Holdfast. */
export function repositoryReadme(file: KeyFile): string {
  const encrypted = file.objects !== 'none';
  const unlock =
    file.objects === 'aes'
      ? `1. Key. Take it from a recovery sheet (docs/format.md tells how), or unlock it: In holdfast.json take a slot of type scrypt. K = scrypt(passphrase as UTF-8, base64(salt), N, r, p, 32 bytes).
   The repository key is AES-256-GCM-decrypt(K, nonce, wrapped) with the additional data
   "holdfast-1 <repository> <slot id>"; the last 16 bytes of wrapped are the tag.
   Every object below is a message of the AWS Encryption SDK. Decrypt it with a raw AES keyring: key namespace
   "holdfast", key name <repository>, the repository key, AES-256-GCM, IV 12 bytes, tag 16. Its encryption context
   must be exactly format=holdfast-1, repository=<repository>, kind=pack|index|snapshot|deletion and, for all
   but packs, path=<the object's name below this folder>.`
      : file.objects === 'rsa'
        ? `1. Every object below is a message of the AWS Encryption SDK. Decrypt it with a raw RSA keyring and the private key:
   key namespace "holdfast", key name <repository>, OAEP with SHA-512 and MGF1. Its encryption context must be exactly
   format=holdfast-1, repository=<repository>, kind=pack|index|snapshot|deletion and, for all but packs, path=<the
   object's name below this folder>.`
        : `1. This repository is NOT encrypted: objects are stored as described below, without a key.`;
  return `Holdfast backup of job "${file.job}" on host "${file.host}"
Repository ${file.repository}, format 1, made ${file.created}

With Holdfast: install it, then holdfast recover URL --to DIR, where URL is this destination (file:///..., s3://...)${encrypted ? '.\n   You need the passphrase, a recovery sheet or the private key' : ''}.

Without Holdfast:
${unlock}
2. Decompress what step 1 gave: zstd (starts 28 B5 2F FD), gzip (1F 8B), else as it is.
3. snapshots/<time>-<id>.json is a JSON document: one snapshot, called a root. Take the one with the highest "seq".
   Its "indexes" name the files index/<id>.ndjson that hold what it needs.
4. Each line of an index is a pack: {"pack": SHA-256 of the stored object, "chunks": [[id, offset, length], ...]}.
   The object is packs/<first two digits>/<pack>; once decrypted and decompressed it is a tar file, and each chunk lies
   at its offset in it, as the member named by its id. A chunk's id is the SHA-256 of its content: check it.
5. A root's sources[].manifest lists chunks; put together they are the manifest: one JSON document a line for every
   file, folder and link, in order. "path64", "target64" are base64 of raw bytes. Times are nanoseconds since 1970.
6. A file's content is its "chunks" one after the other. If it has "holes" [[offset, length], ...], those ranges are
   zeros and the chunks fill what lies between them.
`;
}
