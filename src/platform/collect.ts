import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options?: { type: 'minor' }) => void;
let collect: Collect | undefined;

const pieceBytes = 8 * 1024 * 1024;

/** Calls `collectYoung` each time so many bytes have gone by in buffers that are dropped at once. */
export class YoungGarbage {
  private dropped = 0;

  add(bytes: number): void {
    this.dropped += bytes;
    if (this.dropped < pieceBytes) return;
    this.dropped = 0;
    collectYoung();
  }
}

/**
 * Frees what died young in this thread, in about a millisecond. Buffers outside V8's heap, such as a cipher's output, hardly count
 * for its collector: by itself it lets some 64 MB of them wait in each thread.
 */
export function collectYoung(): void {
  collector()({ type: 'minor' });
}

/** Frees all that is dead in this thread, in some fifty milliseconds. */
export function collectAll(): void {
  collector()();
}

function collector(): Collect {
  if (!collect) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as Collect;
  }
  return collect;
}

/**
 * Lets V8 collect young garbage in the thread whose it is. Its helpers, four however few cores there are, take them from the
 * threads that compress and encrypt. Those that mark old garbage stay: without them a worker's memory grows by a sixth.
 */
export function collectAlone(): void {
  setFlagsFromString('--no-parallel-scavenge');
}
