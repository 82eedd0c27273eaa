import { randomUUID } from 'node:crypto';
import { StringDecoder } from 'node:string_decoder';
import type { DatabaseContext } from '../database.js';
import type { MysqlAddress } from './address.js';
import { asToolError } from './errors.js';
import { plainMode, type Sql } from './sql.js';
import { type MysqlTool, runMysqlTool, toolName } from './tool.js';

/**
 * A session through the server's own client, for servers that only a `command` reaches. One client runs until a statement
 * fails, which ends it; the next statement starts another.
 */
export function connectThroughTool(
  tool: MysqlTool,
  address: MysqlAddress,
  prefix: readonly string[],
  where: string,
  context: DatabaseContext,
): Sql {
  let client: Client | undefined;
  return {
    async query(statement) {
      client ??= new Client(tool, address, prefix, where, context);
      try {
        return await client.ask(statement);
      } catch (error) {
        client = undefined;
        throw error;
      }
    },
    async close() {
      await client?.end();
    },
  };
}

class Client {
  private readonly input: string[] = [];
  private wake: (() => void) | undefined;
  private closed = false;
  private output = '';
  private readonly decoder = new StringDecoder('utf8');
  private waiting: { mark: string; resolve(rows: string[][]): void; reject(error: unknown): void } | undefined;
  private readonly ended: Promise<void>;

  constructor(
    tool: MysqlTool,
    address: MysqlAddress,
    prefix: readonly string[],
    where: string,
    context: DatabaseContext,
  ) {
    const call = {
      args: [
        '--batch',
        '--unbuffered',
        '--skip-column-names',
        '--default-character-set=utf8mb4',
        `--init-command=${plainMode}`,
      ],
      stdin: { stream: this.statements() },
      onOutput: (chunk: Buffer) => this.read(chunk),
    };
    this.ended = runMysqlTool(tool, address, prefix, call, context).then(
      (result) => this.waiting?.reject(asToolError(where, toolName(tool), result, 'SourceFailed')),
      (error: unknown) => this.waiting?.reject(error),
    );
  }

  ask(statement: string): Promise<string[][]> {
    const mark = randomUUID();
    return new Promise((resolve, reject) => {
      this.waiting = { mark: `${mark}\n`, resolve, reject };
      this.input.push(`${statement};\nSELECT '${mark}';\n`);
      this.wake?.();
    });
  }

  async end(): Promise<void> {
    this.closed = true;
    this.wake?.();
    await this.ended;
  }

  private async *statements(): AsyncGenerator<Buffer> {
    while (!this.closed) {
      const next = this.input.shift();
      if (next !== undefined) yield Buffer.from(next);
      else
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
    }
  }

  private read(chunk: Buffer): void {
    this.output += this.decoder.write(chunk);
    const { waiting } = this;
    if (waiting === undefined || !this.output.endsWith(waiting.mark)) return;
    const lines = this.output.slice(0, -waiting.mark.length).split('\n').slice(0, -1);
    this.output = '';
    this.waiting = undefined;
    waiting.resolve(lines.map((line) => line.split('\t').map(unescaped)));
  }
}

/** Undoes what `--batch` escapes. */
function unescaped(value: string): string {
  if (value === 'NULL') return '';
  const plain: Record<string, string> = { n: '\n', t: '\t', '0': '\0', '\\': '\\' };
  return value.replace(/\\(.)/g, (all, char: string) => plain[char] ?? all);
}
