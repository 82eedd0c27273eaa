import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, readFileSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf, HoldfastError } from '../../errors.js';
import { bootId } from '../../platform/boot.js';
import { childEnvironment } from './environment.js';
import { markerVariable, recordFile, recordingScript } from './process-record.js';
import { StderrTail } from './stderr-tail.js';

const textAtMost = 64 * 1024 * 1024;
const progressEveryMs = 500;

export interface ToolOptions {
  /** Program and arguments. Every user of the machine can see them: never a secret. */
  argv: readonly string[];
  /** Variables beside the few that are passed on. Never a secret. */
  env?: Readonly<Record<string, string>>;
  /** Where it runs. Default: where this process does. */
  cwd?: string;
  /** Private folder where the process group is recorded while it lives. */
  processes: string;
  /** Fires: the whole group gets SIGTERM, after `graceMs` SIGKILL; then the call rejects with the signal's reason. */
  signal: AbortSignal;
  /** Default 5 s. */
  graceMs?: number;
  /** What the tool reads: `text`, then `file` or `stream`. Default: nothing. */
  stdin?: { text?: string; file?: string; stream?: AsyncIterable<Buffer> };
  /** A file to make for what the tool prints, 0600, fsynced at the end. Default: it is returned as text. */
  stdout?: { file: string };
  /** Told of what the tool prints as it comes, in place of returning it. */
  onOutput?: (chunk: Buffer) => void;
  /** Told of bytes printed to a file, or read from one, since the last call. */
  onProgress?: (bytes: number) => void;
}

export interface ToolResult {
  /** null: a signal ended it. */
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  /** Empty where it went to a file or to `onOutput`. */
  stdout: string;
  /** The last lines, redacted. */
  stderr: string;
}

/**
 * Runs a program to its end, in a process group of its own, and resolves however it ended (see `toolFailure`).
 * Nothing of the group is left when this settles. Rejects with the signal's reason when that fires.
 */
export async function runTool(options: ToolOptions): Promise<ToolResult> {
  options.signal.throwIfAborted();
  const mark = randomUUID();
  const record = recordFile(options.processes, mark);
  const { text, file, stream } = options.stdin ?? {};
  const piped = text !== undefined || stream !== undefined;
  let source: FileHandle | undefined;
  let target: FileHandle | undefined;
  try {
    if (!piped && file !== undefined) source = await open(file, 'r');
    if (options.stdout !== undefined) target = await open(options.stdout.file, 'wx', 0o600);
    const child = start(options, mark, record, [
      piped ? 'pipe' : (source?.fd ?? 'ignore'),
      target?.fd ?? 'pipe',
      'pipe',
    ]);
    const stop = reportProgress(child, options, source !== undefined, target);
    try {
      const [result, fed] = await Promise.allSettled([
        follow(child, options),
        feed(child, options.stdin ?? {}, options.onProgress),
      ]);
      if (fed.status === 'rejected') throw fed.reason;
      if (result.status === 'rejected') throw result.reason;
      await target?.sync();
      return result.value;
    } finally {
      await stop();
    }
  } finally {
    await source?.close();
    await target?.close();
    rmSync(record, { force: true });
  }
}

function start(options: ToolOptions, mark: string, record: string, stdio: ('pipe' | 'ignore' | number)[]) {
  options.signal.throwIfAborted();
  const [program = '', ...args] = options.argv;
  const env = childEnvironment({ ...options.env, [markerVariable]: mark });
  const place = options.cwd === undefined ? {} : { cwd: options.cwd };
  if (process.platform === 'win32') return spawn(program, args, { env, stdio, windowsHide: true, ...place });
  return spawn('/bin/sh', ['-c', recordingScript, 'sh', record, bootId(), program, ...args], {
    env,
    stdio,
    detached: true,
    ...place,
  });
}

/** Waits for the end of the whole group. */
async function follow(child: ChildProcess, options: ToolOptions): Promise<ToolResult> {
  const tail = new StderrTail();
  const printed: Buffer[] = [];
  let bytes = 0;
  let tooMuch = false;
  child.stderr?.on('data', (chunk: Buffer) => tail.add(chunk));
  child.stdout?.on('data', (chunk: Buffer) => {
    if (options.onOutput !== undefined) {
      options.onOutput(chunk);
      return;
    }
    bytes += chunk.length;
    if (bytes <= textAtMost) printed.push(chunk);
    else if (!tooMuch) {
      tooMuch = true;
      signalGroup(child, 'SIGKILL');
    }
  });
  // Workers that outlive their leader would hold the pipes open.
  child.once('exit', () => signalGroup(child, 'SIGKILL'));
  let kill: NodeJS.Timeout | undefined;
  const cancel = (): void => {
    signalGroup(child, 'SIGTERM');
    kill = setTimeout(() => signalGroup(child, 'SIGKILL'), options.graceMs ?? 5000);
  };
  options.signal.addEventListener('abort', cancel, { once: true });
  try {
    const [exitCode, signal] = await once(child, 'close');
    options.signal.throwIfAborted();
    if (tooMuch) throw new HoldfastError('SourceFailed', `${options.argv[0]} printed more than 64 MiB`);
    return { exitCode, signal, stdout: Buffer.concat(printed).toString('utf8'), stderr: tail.lines };
  } finally {
    clearTimeout(kill);
    options.signal.removeEventListener('abort', cancel);
  }
}

/** Gives the tool what it reads through a pipe. A tool that ends before it has read all says why by its exit code. */
async function feed(
  child: ChildProcess,
  { text, file, stream }: NonNullable<ToolOptions['stdin']>,
  onProgress: ToolOptions['onProgress'],
): Promise<void> {
  if (child.stdin === null) return;
  async function* parts(): AsyncGenerator<Buffer> {
    if (text !== undefined) yield Buffer.from(text);
    if (stream !== undefined) yield* stream;
    if (file === undefined) return;
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 18 })) {
      yield chunk;
      onProgress?.(chunk.length);
    }
  }
  const { stdin } = child;
  // A tool that closes its input is waited for: its exit code says what it means.
  stdin.on('error', () => undefined);
  const source = parts();
  const orGone = untilExit(child);
  try {
    for (;;) {
      const next = await orGone(source.next());
      if (next === undefined || next.done) break;
      if (!stdin.write(next.value)) await orGone(new Promise((resolve) => stdin.once('drain', resolve)));
    }
    stdin.end();
  } catch (error) {
    signalGroup(child, 'SIGKILL');
    throw error;
  } finally {
    // Not awaited: it may be waiting for what never comes.
    void source.return(undefined).catch(() => undefined);
  }
}

/** Waits for a promise, or until the child has ended: then undefined. Unlike a race with one promise, holds on to nothing. */
function untilExit(child: ChildProcess): <T>(promise: Promise<T>) => Promise<T | undefined> {
  let gone = false;
  let wake: (() => void) | undefined;
  child.once('exit', () => {
    gone = true;
    wake?.();
  });
  return (promise) =>
    gone
      ? Promise.resolve(undefined)
      : new Promise((resolve, reject) => {
          wake = () => resolve(undefined);
          promise.then(resolve, reject);
        });
}

/** Looks now and then how far the file that is written, or read, has got. */
function reportProgress(
  child: ChildProcess,
  options: ToolOptions,
  reads: boolean,
  target: FileHandle | undefined,
): () => Promise<void> {
  const { onProgress } = options;
  if (onProgress === undefined || (target === undefined && !reads)) return async () => {};
  let told = 0;
  const look = async (): Promise<void> => {
    const now = target === undefined ? readOffset(child.pid) : (await target.stat()).size;
    if (now <= told) return;
    onProgress(now - told);
    told = now;
  };
  const timer = setInterval(() => void look().catch(() => undefined), progressEveryMs);
  return async () => {
    clearInterval(timer);
    if (target !== undefined) await look();
  };
}

/** How far a process has read its stdin, bytes; 0 where the system does not tell. */
function readOffset(pid: number | undefined): number {
  try {
    return Number(/^pos:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/0`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid === undefined) return;
    if (process.platform === 'win32') spawn('taskkill', ['/pid', String(child.pid), '/T', '/F'], { stdio: 'ignore' });
    else process.kill(-child.pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
