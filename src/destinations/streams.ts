import { Readable, Transform, type TransformCallback } from 'node:stream';
import { HoldfastError } from '../errors.js';

export interface GuardOptions {
  /** Bytes that have to come, no fewer, no more. */
  expected: number;
  /** What to call the object in errors. */
  label: string;
  /** Turns an error of the source into the one the reader sees. */
  translate: (error: unknown) => HoldfastError;
  signal?: AbortSignal;
}

class Counted extends Transform {
  private seen = 0;

  constructor(private readonly options: GuardOptions) {
    super();
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.seen += chunk.length;
    if (this.seen > this.options.expected) done(this.wrongLength('more'));
    else done(null, chunk);
  }

  override _flush(done: TransformCallback): void {
    done(this.seen === this.options.expected ? null : this.wrongLength(String(this.seen)));
  }

  wrongLength(seen: string): HoldfastError {
    const { label, expected } = this.options;
    return new HoldfastError('DestinationFailed', `${label} was cut short: ${seen} of ${expected} bytes came`, {
      hint: 'Try again; if it happens again, run `holdfast check`.',
      retryable: true,
    });
  }
}

/** A stream of exactly the expected bytes, or one that errors with a HoldfastError. Destroying it destroys the source. */
export function guarded(source: Readable, options: GuardOptions): Readable {
  const { signal, translate } = options;
  const guard = new Counted(options);
  const onAbort = (): void => {
    guard.destroy(translate(signal?.reason));
  };
  source.on('error', (error) => guard.destroy(translate(error)));
  source.once('close', () => {
    if (!source.readableEnded) guard.destroy(translate(guard.wrongLength('only some')));
  });
  guard.once('close', () => {
    signal?.removeEventListener('abort', onAbort);
    source.destroy();
  });
  signal?.addEventListener('abort', onAbort, { once: true });
  source.pipe(guard);
  if (signal?.aborted) onAbort();
  return guard;
}

/** A stream without any bytes. */
export function emptyStream(): Readable {
  return Readable.from([], { objectMode: false });
}

/** An object that is larger than its reader allows. */
export function tooLarge(label: string, maxBytes: number): HoldfastError {
  return new HoldfastError('IntegrityMismatch', `${label} is larger than the ${maxBytes} bytes it may have`);
}

/** Everything a stream holds, at most `maxBytes`; more is `IntegrityMismatch`. */
export async function collect(stream: Readable, label: string, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('expected bytes');
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(label, maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
