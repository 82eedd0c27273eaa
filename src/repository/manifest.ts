import { chunkId } from './pack-writer.js';

const minBytes = 4 * 1024;
const maxBytes = 32 * 1024;

/** A piece of a manifest: whole lines, each with its line end. */
export interface ManifestChunk {
  id: string;
  content: Buffer;
  /** The first line's path member as it stands in the line: a JSON string, and whether it is `path64`. */
  firstLine: string;
}

/**
 * Cuts a stream of manifest lines into chunks at line ends: 4 KiB at least, about 8 KiB, 32 KiB at most
 * (one line longer than that is a chunk of its own). Cuts depend on each line's content alone, so
 * a change moves only the chunk it lies in.
 */
export class ManifestChunker {
  private lines: string[] = [];
  private size = 0;

  constructor(private readonly emit: (chunk: ManifestChunk) => void) {}

  /** Adds one line, without its line end. */
  add(line: string): void {
    const bytes = Buffer.byteLength(line) + 1;
    if (this.size > 0 && this.size + bytes > maxBytes) this.flush();
    this.lines.push(line);
    this.size += bytes;
    if (this.size >= maxBytes || (this.size >= minBytes && lineHash(line) % 12 === 0)) this.flush();
  }

  /** Emits what is left. */
  end(): void {
    if (this.size > 0) this.flush();
  }

  private flush(): void {
    const content = Buffer.from(`${this.lines.join('\n')}\n`, 'utf8');
    this.emit({ id: chunkId(content), content, firstLine: this.lines[0] ?? '' });
    this.lines = [];
    this.size = 0;
  }
}

/** FNV-1a over the start and the end of a line: its path and its chunks. */
function lineHash(line: string): number {
  let hash = 0x811c9dc5;
  const head = Math.min(line.length, 192);
  for (let i = 0; i < head; i++) hash = Math.imul(hash ^ line.charCodeAt(i), 0x01000193);
  for (let i = Math.max(head, line.length - 64); i < line.length; i++)
    hash = Math.imul(hash ^ line.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}
