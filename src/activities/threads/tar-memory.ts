import { collectYoung } from '../../platform/collect.js';
import { tarLimit } from '../../repository/reader.js';

// One for a thread's lifetime: fresh memory for every pack would cost more than reading it.
let spare: Buffer | undefined;

/** Calls `work` with memory that holds any pack's tar, and is another's once `work` has ended. */
export async function withTarMemory<T>(work: (memory: Buffer) => Promise<T>): Promise<T> {
  const memory = spare ?? Buffer.allocUnsafeSlow(tarLimit);
  spare = undefined;
  try {
    return await work(memory);
  } finally {
    spare = memory;
    collectYoung();
  }
}
