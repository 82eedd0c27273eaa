import { collectYoung } from '../../platform/collect.js';
import { PackBuilder } from '../../repository/pack-writer.js';
import { tarLimit } from '../../repository/reader.js';

// One for a thread's lifetime, to fill or to read: fresh memory for every pack would cost more than either.
let memory: Buffer | undefined;
let lent = false;
let shared: { generation: string; builder: PackBuilder } | undefined;

function own(): Buffer {
  memory ??= Buffer.allocUnsafeSlow(tarLimit);
  return memory;
}

/** Gives it back, unless it is lent: the next task takes fresh memory. */
export function dropPackMemory(): void {
  if (lent) return;
  memory = undefined;
  shared = undefined;
}

/** This thread's one pack buffer, empty; tasks of a thread follow one another. A task that fills it reads no pack by `withTarMemory`. */
export function sharedPack(generation: string): PackBuilder {
  if (shared?.generation !== generation) shared = { generation, builder: new PackBuilder(generation, own()) };
  shared.builder.reset();
  return shared.builder;
}

/** Calls `work` with memory that holds any pack's tar, and is another's once `work` has ended. */
export async function withTarMemory<T>(work: (memory: Buffer) => Promise<T>): Promise<T> {
  const first = !lent;
  lent = true;
  try {
    return await work(first ? own() : Buffer.allocUnsafeSlow(tarLimit));
  } finally {
    if (first) lent = false;
    collectYoung();
  }
}
