import { maxChunk } from './chunker.js';
import { sha256Hex } from './hash.js';
import { tarEndSize, tarHeaderSize, tarMemberSize, writeTarHeader } from './tar.js';

/** About this much content goes into one pack. */
export const packTarget = 32 * 1024 * 1024;
/** No pack's tar is larger; readers refuse more. */
export const packLimit = packTarget + packTarget / 4 + maxChunk + 65536;

/** A chunk's place in a pack: id, offset of its content in the tar, length, bytes. */
export type ChunkPlace = [id: string, offset: number, length: number];

/** The tar of a pack being filled, in one reused buffer. */
export class PackBuilder {
  private used = 0;
  places: ChunkPlace[] = [];
  contentBytes = 0;

  /** `generation` becomes the first member, so that packs of two generations never are the same object. */
  constructor(
    private readonly generation: string,
    /** `packLimit` + `tarEndSize` bytes that nothing else uses meanwhile. */
    private readonly memory: Buffer = Buffer.allocUnsafeSlow(packLimit + tarEndSize),
  ) {
    this.reset();
  }

  reset(): void {
    const content = Buffer.from(this.generation, 'latin1');
    this.used = 0;
    this.places = [];
    this.contentBytes = 0;
    this.space(content.length).set(content);
    this.end('generation', content.length);
  }

  get isEmpty(): boolean {
    return this.places.length === 0;
  }

  /** Whether a chunk of `length` bytes still fits. */
  fits(length: number): boolean {
    return this.used + tarMemberSize(length) <= packLimit;
  }

  add(id: string, content: Uint8Array): void {
    this.space(content.length).set(content);
    this.addSpace(id, content.length);
  }

  /** Where the next chunk's content goes: it may be read to there before it is known whether it is to be added. It has to fit. */
  space(length: number): Buffer {
    return this.memory.subarray(this.used + tarHeaderSize, this.used + tarHeaderSize + length);
  }

  /** Adds the chunk whose content lies in `space`. */
  addSpace(id: string, length: number): void {
    this.places.push([id, this.end(id, length), length]);
    this.contentBytes += length;
  }

  /** The finished tar; valid until `reset`. */
  finish(): Buffer {
    this.memory.fill(0, this.used, this.used + tarEndSize);
    return this.memory.subarray(0, this.used + tarEndSize);
  }

  /** Makes what lies in `space` a member; returns where its content begins. */
  private end(name: string, length: number): number {
    writeTarHeader(this.memory, this.used, name, length);
    const offset = this.used + tarHeaderSize;
    const end = this.used + tarMemberSize(length);
    this.memory.fill(0, offset + length, end);
    this.used = end;
    return offset;
  }
}

/** The id of a chunk: SHA-256 of its content, hex. */
export const chunkId = (content: Uint8Array): string => sha256Hex(content);
