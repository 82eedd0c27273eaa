import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination, ObjectInfo } from '../../src/destinations/destination.js';
import { type ErrorCode, HoldfastError } from '../../src/errors.js';

const MiB = 1024 * 1024;

/** One kind of destination, and how to get it into each kind of trouble. */
export interface Subject {
  open(): Promise<Destination>;
  /** Puts objects there without the code under test; returns when they are in place. */
  seed(keys: string[], bytes: Uint8Array): Promise<void>;
  /** Unfinished uploads and temporary objects there. */
  leftovers(): Promise<number>;
  /** The place cannot be reached until `back`. */
  away(): Promise<void>;
  back(): Promise<void>;
  awayCode: ErrorCode;
  /** Opens it without the right to anything; `done` afterwards. */
  denied(): Promise<{ destination: Destination; done(): Promise<void>; secrets: string[] }>;
  /** Opens one where nothing can be written. */
  readOnly(): Promise<{ destination: Destination; codes: ErrorCode[]; done(): Promise<void> }>;
  /** Opens one with less than 8 MiB of space. */
  nearlyFull(): Promise<{ destination: Destination; codes: ErrorCode[]; done(): Promise<void> }>;
  /** Starts to read `key` (at least 20 MiB) and makes it end early after the first bytes arrived. */
  readCutShort(key: string): Promise<Readable>;
  stop(): Promise<void>;
}

export async function failure(work: Promise<unknown>): Promise<HoldfastError> {
  const error = await work.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HoldfastError);
  if (!(error instanceof HoldfastError)) throw error;
  return error;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export async function drain(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function listed(destination: Destination, prefix: string): Promise<ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for await (const info of destination.list(prefix)) found.push(info);
  return found.sort((a, b) => (a.key < b.key ? -1 : 1));
}

const oddNames = [
  'a space',
  'plus+plus',
  '100%',
  '%41%2f',
  'naïve-ü-日本-🙂',
  'hash#mark',
  'what?now=1&x',
  'quote\'"',
  'semi;colon,comma',
  '~tilde@at=eq!',
  '(round)[square]{curly}',
  '.hidden',
  'a..b',
];

/** What every destination has to do, whatever it is. */
export function conformance(title: string, setUp: () => Promise<Subject>): void {
  describe(`${title} as a destination`, () => {
    let subject: Subject;
    let destination: Destination;
    let spool: string;

    beforeAll(async () => {
      subject = await setUp();
      destination = await subject.open();
      await destination.ensureRoot();
      spool = await mkdtemp(join(tmpdir(), 'holdfast-spool-'));
    });

    afterAll(async () => {
      await destination?.close();
      await subject?.stop();
      if (spool !== undefined) await rm(spool, { recursive: true, force: true });
    });

    async function spooled(bytes: Uint8Array): Promise<string> {
      const file = join(spool, randomBytes(8).toString('hex'));
      await writeFile(file, bytes, { mode: 0o600 });
      return file;
    }

    async function content(key: string): Promise<Buffer> {
      return await drain(await destination.get(key));
    }

    it('gives back what was put, from memory and from a file', async () => {
      const bytes = randomBytes(3 * MiB + 17);
      await destination.put('basic/memory', { bytes }, { sha256: sha256(bytes) });
      let progress = 0;
      const file = await spooled(bytes);
      await destination.put('basic/file', { file }, { sha256: sha256(bytes), onProgress: (n) => (progress += n) });
      await rm(file);
      expect((await content('basic/memory')).equals(bytes)).toBe(true);
      expect((await content('basic/file')).equals(bytes)).toBe(true);
      expect(progress).toBe(bytes.length);
      const info = await destination.stat('basic/file');
      expect(info?.key).toBe('basic/file');
      expect(info?.size).toBe(bytes.length);
      expect(Math.abs((info?.modified.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
    });

    it('reads ranges', async () => {
      const bytes = randomBytes(2 * MiB);
      await destination.put('range/object', { bytes });
      const ranges: [number | undefined, number | undefined][] = [
        [0, 1],
        [5, 5],
        [1000, 70_000],
        [bytes.length - 1, bytes.length],
        [1_500_000, undefined],
        [undefined, 4096],
        [0, bytes.length],
      ];
      for (const [start, end] of ranges) {
        const part = await drain(await destination.get('range/object', { start, end }));
        expect(part.equals(bytes.subarray(start ?? 0, end)), `${start}-${end}`).toBe(true);
      }
    });

    it('says so when an object ends before the asked range', async () => {
      await destination.put('range/short', { bytes: randomBytes(100) });
      const past = async (start: number, end: number): Promise<Buffer> =>
        drain(await destination.get('range/short', { start, end }));
      expect((await failure(past(50, 101))).code).toBe('IntegrityMismatch');
      expect((await failure(past(200, 300))).code).toBe('IntegrityMismatch');
    });

    it('reads small objects whole and refuses those that are too large', async () => {
      const bytes = randomBytes(5000);
      await destination.put('read/object', { bytes });
      expect((await destination.read('read/object', { maxBytes: 5000 })).equals(bytes)).toBe(true);
      expect((await failure(destination.read('read/object', { maxBytes: 4999 }))).code).toBe('IntegrityMismatch');
      expect((await failure(destination.read('read/absent', { maxBytes: 10 }))).code).toBe('ObjectMissing');
    });

    it('keeps objects without any bytes', async () => {
      await destination.put('empty/memory', { bytes: new Uint8Array() });
      await destination.put('empty/file', { file: await spooled(new Uint8Array()) });
      expect(await content('empty/memory')).toHaveLength(0);
      expect((await destination.read('empty/file', { maxBytes: 0 })).length).toBe(0);
      expect((await listed(destination, 'empty/')).map(({ size }) => size)).toEqual([0, 0]);
    });

    it('replaces an object by the same and by other content', async () => {
      const file = await spooled(Buffer.from('first'));
      await destination.put('replace/object', { file });
      await destination.put('replace/object', { file });
      expect((await content('replace/object')).toString()).toBe('first');
      await destination.put('replace/object', { bytes: Buffer.from('the second') });
      expect((await content('replace/object')).toString()).toBe('the second');
      expect(await listed(destination, 'replace/')).toHaveLength(1);
      expect(await subject.leftovers()).toBe(0);
    });

    it('creates exclusively once', async () => {
      const first = await spooled(Buffer.from('mine'));
      await destination.put('exclusive/object', { file: first }, { exclusive: true });
      for (const body of [{ file: first }, { bytes: Buffer.from('theirs') }]) {
        const error = await failure(destination.put('exclusive/object', body, { exclusive: true }));
        expect(error.code).toBe('ObjectExists');
        expect(error.retryable).toBe(false);
      }
      expect((await content('exclusive/object')).toString()).toBe('mine');
      expect(await subject.leftovers()).toBe(0);
    });

    it('lets exactly one of several exclusive writers win', async () => {
      for (let round = 0; round < 5; round++) {
        const key = `exclusive/race-${round}`;
        const results = await Promise.allSettled(
          Array.from({ length: 8 }, (_, n) =>
            destination.put(key, { bytes: Buffer.from(`writer ${n}`) }, { exclusive: true }),
          ),
        );
        const winners = results.flatMap(({ status }, n) => (status === 'fulfilled' ? [n] : []));
        expect(winners).toHaveLength(1);
        for (const result of results)
          if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ObjectExists' });
        expect((await content(key)).toString()).toBe(`writer ${winners[0]}`);
      }
    });

    it('shows one whole object while several writers replace it', async () => {
      const versions = Array.from({ length: 4 }, (_, n) => Buffer.alloc(MiB, n + 1));
      await destination.put('race/object', { bytes: versions[0] ?? Buffer.alloc(0) });
      let writing = true;
      const writers = Promise.all(
        versions.map(async (bytes) => {
          for (let n = 0; n < 5; n++) await destination.put('race/object', { bytes });
        }),
      ).finally(() => {
        writing = false;
      });
      let reads = 0;
      do {
        const seen = await content('race/object');
        expect(versions.some((bytes) => bytes.equals(seen))).toBe(true);
        reads += 1;
      } while (writing);
      await writers;
      expect(reads).toBeGreaterThan(0);
    });

    it.each(oddNames)('takes the name %j', async (name) => {
      const key = `odd/${name}/${name}`;
      const bytes = Buffer.from(`content of ${name}`);
      await destination.put(key, { bytes });
      expect((await content(key)).equals(bytes)).toBe(true);
      expect((await destination.stat(key))?.size).toBe(bytes.length);
      expect((await listed(destination, `odd/${name}/`)).map((info) => info.key)).toEqual([key]);
      await destination.delete(key);
      expect(await destination.stat(key)).toBeUndefined();
    });

    it.each([
      '',
      '/etc/passwd',
      '../up',
      'a/../../b',
      'a//b',
      'a/',
      './a',
      'a\\b',
      'a\0b',
      'a/.tmp-1',
      '\ud800',
      'x'.repeat(1025),
    ])('refuses the key %j', async (key) => {
      const bytes = Buffer.from('x');
      for (const work of [
        () => destination.put(key, { bytes }),
        () => destination.get(key),
        () => destination.stat(key),
        () => destination.delete(key),
      ]) {
        const error = await failure(work());
        expect(error.code).toBe('DestinationFailed');
        expect(error.retryable).toBe(false);
      }
    });

    it('keeps a large object, from memory and from a file', async () => {
      const bytes = randomBytes(70 * MiB);
      let progress = 0;
      await destination.put('large/memory', { bytes }, { onProgress: (n) => (progress += n) });
      expect(progress).toBe(bytes.length);
      await destination.put('large/file', { file: await spooled(bytes) }, { sha256: sha256(bytes), exclusive: true });
      for (const key of ['large/memory', 'large/file']) expect((await content(key)).equals(bytes)).toBe(true);
      const start = 16 * MiB - 5;
      expect(
        (await drain(await destination.get('large/file', { start, end: start + 10 }))).equals(
          bytes.subarray(start, start + 10),
        ),
      ).toBe(true);
      expect((await failure(destination.put('large/file', { bytes }, { exclusive: true }))).code).toBe('ObjectExists');
      expect(await subject.leftovers()).toBe(0);
    });

    it('lists more than 10,000 objects', async () => {
      const keys = Array.from(
        { length: 10_500 },
        (_, n) => `many/${(n % 256).toString(16).padStart(2, '0')}/object-${n}`,
      ).sort();
      await subject.seed(keys, Buffer.from('seeded'));
      const found = await listed(destination, 'many/');
      expect(found.map(({ key }) => key)).toEqual(keys);
      expect(found.every(({ size }) => size === 6)).toBe(true);
      expect((await listed(destination, 'many/0a/')).map(({ key }) => key)).toEqual(
        keys.filter((key) => key.startsWith('many/0a/')),
      );
      expect((await listed(destination, 'many/1')).map(({ key }) => key)).toEqual(
        keys.filter((key) => key.startsWith('many/1')),
      );
      for await (const info of destination.list('many/')) {
        expect(info.size).toBe(6);
        break;
      }
      expect(await listed(destination, 'nothing/here/')).toEqual([]);
      expect(await listed(destination, 'many/object')).toEqual([]);
    });

    it('deletes, also what is not there', async () => {
      await destination.put('delete/object', { bytes: Buffer.from('x') });
      await destination.delete('delete/object');
      await destination.delete('delete/object');
      await destination.delete('delete/never/was');
      expect(await destination.stat('delete/object')).toBeUndefined();
      expect(await listed(destination, 'delete/')).toEqual([]);
    });

    it('knows what is missing', async () => {
      expect(await destination.stat('absent/object')).toBeUndefined();
      await destination.put('absent/file', { bytes: Buffer.from('x') });
      expect(await destination.stat('absent/other')).toBeUndefined();
      const error = await failure(destination.get('absent/object'));
      expect(error.code).toBe('ObjectMissing');
      expect(error.retryable).toBe(false);
      expect(error.message).toContain('absent/object');
      expect(error.message).toContain(destination.name);
    });

    it('leaves nothing behind when a put is stopped halfway', async () => {
      const bytes = randomBytes(70 * MiB);
      for (const size of [bytes.length, 40 * MiB]) {
        const stop = new AbortController();
        let sent = 0;
        const put = destination.put(
          'stopped/object',
          { bytes: bytes.subarray(0, size) },
          {
            signal: stop.signal,
            onProgress(n) {
              sent += n;
              if (sent >= 8 * MiB) stop.abort();
            },
          },
        );
        expect((await failure(put)).code).toBe('Cancelled');
        expect(sent).toBeLessThan(size);
        expect(await destination.stat('stopped/object')).toBeUndefined();
        expect(await listed(destination, 'stopped/')).toEqual([]);
        expect(await subject.leftovers()).toBe(0);
      }
    });

    it('stops every method by its signal', async () => {
      await destination.put('signal/object', { bytes: randomBytes(20 * MiB) });
      const signal = AbortSignal.abort();
      const all = async (): Promise<void> => {
        for await (const _ of destination.list('signal/', signal));
      };
      const works = [
        () => destination.put('signal/other', { bytes: Buffer.from('x') }, { signal }),
        () => destination.get('signal/object', { signal }),
        () => destination.read('signal/object', { maxBytes: 1, signal }),
        () => destination.stat('signal/object', signal),
        () => destination.delete('signal/object', signal),
        () => destination.now(signal),
        () => destination.sweep('signal/', 0, signal),
        () => destination.ensureRoot(signal),
        () => all(),
      ];
      for (const work of works) expect((await failure(work())).code).toBe('Cancelled');

      const stop = new AbortController();
      const stream = await destination.get('signal/object', { signal: stop.signal });
      stream.once('data', () => stop.abort());
      expect((await failure(drain(stream))).code).toBe('Cancelled');
      expect((await destination.stat('signal/object'))?.size).toBe(20 * MiB);
    });

    it('refuses bytes that have another checksum than they should', async () => {
      const right = Buffer.alloc(2 * MiB, 'right');
      for (const body of [right, Buffer.alloc(70 * MiB, 'x'), new Uint8Array()]) {
        const error = await failure(
          destination.put('checksum/object', { bytes: body }, { sha256: sha256(Buffer.from('other')) }),
        );
        expect(error.code).toBe('IntegrityMismatch');
        expect(await destination.stat('checksum/object')).toBeUndefined();
      }
      expect(await subject.leftovers()).toBe(0);
    });

    it('shows an object only after what has to be there first, and not without it', async () => {
      const order: string[] = [];
      let bring: () => void = () => {};
      const first = new Promise<void>((resolve) => {
        bring = resolve;
      });
      const puts = ['after/new', 'after/only-new'].map((key) =>
        destination
          .put(key, { bytes: Buffer.from(key) }, { after: first, exclusive: key.endsWith('only-new') })
          .then(() => order.push(key)),
      );
      for (const key of ['after/new', 'after/only-new']) expect(await destination.stat(key)).toBeUndefined();
      order.push('first');
      bring();
      await Promise.all(puts);
      expect(order[0]).toBe('first');
      for (const key of ['after/new', 'after/only-new']) expect((await destination.stat(key))?.size).toBe(key.length);
      const error = new HoldfastError('SpoolLost', 'what should have come first');
      const never = destination.put('after/never', { bytes: randomBytes(MiB) }, { after: Promise.reject(error) });
      expect(await failure(never)).toBe(error);
      expect(await destination.stat('after/never')).toBeUndefined();
      expect(await subject.leftovers()).toBe(0);
    });

    it('tells a lost file from a failing destination', async () => {
      expect((await failure(destination.put('lost/object', { file: join(spool, 'not-there') }))).code).toBe(
        'SpoolLost',
      );
      expect(await destination.stat('lost/object')).toBeUndefined();
    });

    it('notices when an answer is cut short', async () => {
      await destination.put('cut/object', { bytes: randomBytes(40 * MiB) });
      const error = await failure(drain(await subject.readCutShort('cut/object')));
      expect(['DestinationFailed', 'DestinationUnreachable']).toContain(error.code);
      expect(error.retryable).toBe(true);
    });

    it('removes what unfinished uploads left, and only that', async () => {
      await destination.put('sweep/object', { bytes: Buffer.from('x') });
      expect(await destination.sweep('', 3_600_000)).toBe(0);
      expect(await destination.sweep('', 0)).toBe(0);
      expect((await destination.stat('sweep/object'))?.size).toBe(1);
    });

    it('tells the time and the space', async () => {
      expect(Math.abs((await destination.now()).getTime() - Date.now())).toBeLessThan(5000);
      const space = await destination.space();
      if (space !== undefined) {
        expect(space.free).toBeGreaterThan(0);
        expect(space.total).toBeGreaterThanOrEqual(space.free);
      }
    });

    it('fails in a way worth repeating while away, and works again when back', async () => {
      await destination.put('away/object', { bytes: Buffer.from('kept') });
      await subject.away();
      try {
        const all = async (): Promise<ObjectInfo[]> => listed(destination, 'away/');
        const works: (() => Promise<unknown>)[] = [
          () => destination.put('away/new', { bytes: Buffer.from('new') }),
          () => destination.put('away/new', { bytes: Buffer.from('new') }, { exclusive: true }),
          () => destination.get('away/object'),
          () => destination.stat('away/object'),
          () => destination.delete('away/object'),
          all,
        ];
        for (const work of works) {
          const error = await failure(work());
          expect(error.code).toBe(subject.awayCode);
          expect(error.retryable).toBe(true);
          expect(error.message).toContain(destination.name);
          expect(error.hint).toBeTruthy();
        }
      } finally {
        await subject.back();
      }
      expect((await content('away/object')).toString()).toBe('kept');
      await destination.put('away/new', { bytes: Buffer.from('new') });
      expect((await content('away/new')).toString()).toBe('new');
    });

    it('says when access is denied, without telling secrets', async () => {
      await destination.put('denied/object', { bytes: Buffer.from('x') });
      const { destination: denied, done, secrets } = await subject.denied();
      try {
        const all = async (): Promise<ObjectInfo[]> => listed(denied, 'denied/');
        for (const work of [
          () => denied.put('denied/new', { bytes: Buffer.from('x') }),
          () => denied.get('denied/object'),
          () => denied.stat('denied/object'),
          all,
        ]) {
          const error = await failure(work());
          expect(error.code).toBe('AuthDenied');
          expect(error.retryable).toBe(false);
          expect(error.hint).toBeTruthy();
          const everything = `${error.stack} ${JSON.stringify(error)} ${error.cause instanceof Error ? error.cause.stack + JSON.stringify(error.cause) : ''}`;
          for (const secret of secrets) expect(everything).not.toContain(secret);
        }
      } finally {
        await done();
      }
    });

    it('says when it may only be read', async () => {
      const { destination: sealed, codes, done } = await subject.readOnly();
      try {
        const error = await failure(sealed.put('sealed/object', { bytes: Buffer.from('x') }));
        expect(codes).toContain(error.code);
        expect(await listed(sealed, 'sealed/')).toEqual([]);
      } finally {
        await done();
      }
    });

    it('says when it is full, and shows nothing of what did not fit', async () => {
      const { destination: small, codes, done } = await subject.nearlyFull();
      try {
        await small.put('small/fits', { bytes: randomBytes(1000) });
        const error = await failure(small.put('small/too-big', { bytes: randomBytes(20 * MiB) }));
        expect(codes).toContain(error.code);
        expect(error.retryable).toBe(true);
        expect((await listed(small, '')).map(({ key }) => key)).toEqual(['small/fits']);
        await small.put('small/fits-too', { bytes: randomBytes(1000) });
        expect(await small.read('small/fits', { maxBytes: 1000 })).toHaveLength(1000);
      } finally {
        await done();
      }
    });
  });
}
