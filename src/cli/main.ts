import { secretRegistry } from '../config/redact.js';
import { errorText, toHoldfastError } from './errors.js';
import { runCommandLine } from './program.js';

for (const stream of [process.stdout, process.stderr]) {
  // Whoever read our output has enough of it, as with `| head`.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
    throw error;
  });
}

process.on('uncaughtException', (error) => {
  // The gRPC library retries calls from timers, also those of a connection that was closed since.
  if (error.message === 'Channel has been shut down') return;
  if (process.env.HOLDFAST_DEBUG) console.error(error);
  process.stderr.write(errorText(toHoldfastError(error), (text) => secretRegistry.redact(text)));
  process.exit(1);
});

const code = await runCommandLine(process.argv.slice(2));
process.exitCode = code;
// Open handles, such as a connection that is being retried, must not hold up the shell; unflushed output must.
await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((done) => stream.write('', done))));
process.exit(code);
