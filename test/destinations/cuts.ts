import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/destinations/destination.js';
import { HoldfastError } from '../../src/errors.js';
import type { TcpProxy } from '../support/tcp-proxy.js';
import { drain, failure, sha256 } from './conformance.js';

/** A destination behind a proxy that cuts. */
export interface CutSubject {
  proxy: TcpProxy;
  /** Opens it with connections of its own, through the proxy. */
  open(): Promise<Destination>;
  /** The same place without the proxy. */
  direct: Destination;
  stop(): Promise<void>;
}

export interface CutOptions {
  /** A size that goes in several parts, where there is one. */
  inParts?: number;
}

const size = 2 * 1024 * 1024;
/** Parts of what goes over the line, in each direction: from the first greeting to the last answer. */
const stages = [0, 0.001, 0.03, 0.5, 0.98, 1];

/** Whatever is cut where: an object is there whole or not at all, nothing false is reported, and trying again works. */
export function cutting(title: string, setUp: () => Promise<CutSubject>, { inParts }: CutOptions = {}): void {
  describe(`${title}, its connections cut`, () => {
    let subject: CutSubject;
    const body = randomBytes(size);
    const digest = sha256(body);

    beforeAll(async () => {
      subject = await setUp();
      await subject.direct.ensureRoot();
    });

    afterAll(async () => {
      await subject.direct.close();
      await subject.stop();
    });

    /** What an undisturbed piece of work moves over the line. */
    async function measured(
      work: (destination: Destination) => Promise<unknown>,
    ): Promise<{ sent: number; received: number }> {
      const destination = await subject.open();
      subject.proxy.reset();
      await work(destination);
      await destination.close();
      const { sent, received } = subject.proxy;
      return { sent, received };
    }

    async function eachCut(
      whole: { sent: number; received: number },
      work: (destination: Destination, stage: string) => Promise<void>,
    ): Promise<void> {
      for (const direction of ['sent', 'received'] as const) {
        for (const part of stages) {
          const at = Math.max(1, Math.round(whole[direction] * part));
          const destination = await subject.open();
          subject.proxy.reset();
          subject.proxy.cut = direction === 'sent' ? { sent: at } : { received: at };
          try {
            await work(destination, `${direction}-${part}`);
          } finally {
            subject.proxy.cut = undefined;
            await destination.close();
          }
        }
      }
    }

    async function attempt<T>(work: Promise<T>, stage: string): Promise<{ value: T } | undefined> {
      try {
        return { value: await work };
      } catch (error) {
        expect(error, stage).toBeInstanceOf(HoldfastError);
        expect(error, `${stage}: ${String(error)}`).toMatchObject({ retryable: true });
        return undefined;
      }
    }

    it('puts whole objects or none', async () => {
      const whole = await measured((destination) =>
        destination.put('cut/measured', { bytes: body }, { sha256: digest }),
      );
      let failures = 0;
      await eachCut(whole, async (destination, stage) => {
        const key = `cut/put/${stage}`;
        const put = await attempt(destination.put(key, { bytes: body }, { sha256: digest }), stage);
        subject.proxy.cut = undefined;
        const there = await subject.direct.stat(key);
        if (put !== undefined) expect(there?.size, stage).toBe(size);
        else failures += 1;
        if (there !== undefined) expect(sha256(await drain(await subject.direct.get(key))), stage).toBe(digest);
        await destination.put(key, { bytes: body }, { sha256: digest });
        expect(sha256(await drain(await subject.direct.get(key))), stage).toBe(digest);
      });
      expect(failures).toBeGreaterThan(stages.length);
      await subject.direct.sweep('', -60_000);
    });

    it.each(inParts === undefined ? [] : [inParts])('puts %d bytes in parts, whole or not at all', async (length) => {
      const parts = Buffer.alloc(length, body);
      const put = (destination: Destination, key: string) =>
        destination.put(key, { bytes: parts }, { sha256: sha256(parts) });
      for (const at of [length * 0.3, length + 4000]) {
        const key = `cut/parts/${at}`;
        const destination = await subject.open();
        subject.proxy.reset();
        subject.proxy.cut = { sent: Math.round(at) };
        const done = await attempt(put(destination, key), key);
        subject.proxy.cut = undefined;
        const there = await subject.direct.stat(key);
        if (done !== undefined || there !== undefined) expect(there?.size, key).toBe(length);
        await put(destination, key);
        expect(sha256(await drain(await subject.direct.get(key))), key).toBe(sha256(parts));
        await destination.close();
      }
      await subject.direct.sweep('', -60_000);
    });

    it('looks at objects and deletes them, or says that it could not', async () => {
      const work = async (destination: Destination, key: string): Promise<number | undefined> => {
        const info = await destination.stat(key);
        await destination.delete(key);
        return info?.size;
      };
      await subject.direct.put('cut/measured-deleted', { bytes: body.subarray(0, 1000) });
      const whole = await measured((destination) => work(destination, 'cut/measured-deleted'));
      await eachCut(whole, async (destination, stage) => {
        const key = `cut/deleted/${stage}`;
        await subject.direct.put(key, { bytes: body.subarray(0, 1000) });
        const done = await attempt(work(destination, key), stage);
        subject.proxy.cut = undefined;
        if (done !== undefined) {
          expect(done.value, stage).toBe(1000);
          expect(await subject.direct.stat(key), stage).toBeUndefined();
        }
        await destination.delete(key);
        expect(await subject.direct.stat(key), stage).toBeUndefined();
      });
    });

    it('creates exclusively, or says that somebody did', async () => {
      const record = randomBytes(2000);
      const put = (destination: Destination, key: string) =>
        destination.put(key, { bytes: record }, { exclusive: true });
      const whole = await measured((destination) => put(destination, 'cut/measured-new'));
      await eachCut(whole, async (destination, stage) => {
        const key = `cut/new/${stage}`;
        const first = await attempt(put(destination, key), stage);
        subject.proxy.cut = undefined;
        const there = await subject.direct.stat(key);
        if (there === undefined) {
          expect(first, stage).toBeUndefined();
          await put(destination, key);
        } else {
          expect((await failure(put(destination, key))).code, stage).toBe('ObjectExists');
        }
        expect((await subject.direct.read(key, { maxBytes: 4000 })).equals(record), stage).toBe(true);
      });
    });

    it('reads all bytes or fails', async () => {
      await subject.direct.put('cut/read', { bytes: body });
      const get = async (destination: Destination) => sha256(await drain(await destination.get('cut/read')));
      await eachCut(await measured(get), async (destination, stage) => {
        const got = await attempt(get(destination), stage);
        if (got !== undefined) expect(got.value, stage).toBe(digest);
        subject.proxy.cut = undefined;
        expect(await get(destination), stage).toBe(digest);
      });
    });

    it('lists everything or fails', async () => {
      const keys = Array.from({ length: 40 }, (_, n) => `cut/listed/${n % 4}/${n}`).sort();
      await Promise.all(keys.map((key) => subject.direct.put(key, { bytes: Buffer.from('x') })));
      const list = async (destination: Destination): Promise<string[]> => {
        const found: string[] = [];
        for await (const { key } of destination.list('cut/listed/')) found.push(key);
        return found.sort();
      };
      await eachCut(await measured(list), async (destination, stage) => {
        const found = await attempt(list(destination), stage);
        if (found !== undefined) expect(found.value, stage).toEqual(keys);
        subject.proxy.cut = undefined;
        // A connection that was cut behind its last answer may be found dead only now.
        const again = await list(destination).catch(() => list(destination));
        expect(again, stage).toEqual(keys);
      });
    });
  });
}
