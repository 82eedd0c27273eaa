import { spawn } from 'node:child_process';

const maxOutput = 1024 * 1024;

export type CommandResult = { output: string } | { problem: string };

/** Runs `command` in a shell and returns what it prints. Its stderr is dropped; on a time-out the whole process group is killed. */
export function runCommand(
  command: string,
  options: { timeoutMs: number; signal?: AbortSignal },
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const windows = process.platform === 'win32';
    const child = spawn(command, {
      shell: windows ? true : '/bin/sh',
      detached: !windows,
      stdio: ['ignore', 'pipe', 'ignore'],
      windowsHide: true,
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    const finish = (result: CommandResult) => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
      resolve(result);
    };
    const kill = (problem: string) => {
      finish({ problem });
      child.stdout.destroy();
      try {
        if (child.pid === undefined || windows) child.kill('SIGKILL');
        else process.kill(-child.pid, 'SIGKILL');
      } catch {
        // Gone already.
      }
    };
    const abort = () => kill('was cancelled');
    const timer = setTimeout(() => kill(`did not end within ${options.timeoutMs / 1000} s`), options.timeoutMs);
    options.signal?.addEventListener('abort', abort);
    child.on('error', () => finish({ problem: 'could not be started' }));
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxOutput) kill('printed more than 1 MiB');
      else chunks.push(chunk);
    });
    child.on('close', (code, signal) => {
      if (code === 0) finish({ output: Buffer.concat(chunks).toString('utf8') });
      else finish({ problem: signal === null ? `ended with exit code ${code}` : `was killed by ${signal}` });
    });
    if (options.signal?.aborted) abort();
  });
}
