import { randomBytes } from 'node:crypto';
import { compressReusing } from '../../repository/codec.js';
import { sealBytes } from '../../repository/seal.js';

/** Loads compression and encryption into this thread. Runs in a worker thread. */
export async function warmTask(): Promise<void> {
  const key = { repository: 'warm', key: new Uint8Array(randomBytes(32)) };
  await sealBytes(key, 'pack', '', compressReusing(Buffer.alloc(4096), { type: 'zstd', level: 3 }));
}
