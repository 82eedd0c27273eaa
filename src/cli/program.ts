import { Command, CommanderError } from 'commander';
import { nearest } from '../config/nearest.js';
import { secretRegistry } from '../config/redact.js';
import { HoldfastError } from '../errors.js';
import { version } from '../version.js';
import { commands } from './commands.js';
import { type GlobalOptions, makeContext, type Output } from './context.js';
import { errorDocument, errorText, exitCodeOf, toHoldfastError } from './errors.js';
import { usageError } from './usage.js';

/**
 * Runs one command line and resolves to its exit code. Everything is written by then but perhaps not flushed.
 *
 * @param argv without the interpreter and the script.
 */
export async function runCommandLine(argv: readonly string[]): Promise<number> {
  const output: Output = { exitCode: 0 };
  try {
    await run([...argv], output);
    return output.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    if (process.env.HOLDFAST_DEBUG) console.error(error);
    const known = error instanceof CommanderError ? usageError(error) : toHoldfastError(error, output.logFile);
    const redact = (text: string) => secretRegistry.redact(text);
    process.stderr.write(errorText(known, redact));
    if (argv.includes('--json')) {
      process.stdout.write(`${JSON.stringify(errorDocument(known, redact), null, 2)}\n`);
    }
    return exitCodeOf(known);
  }
}

async function run(argv: string[], output: Output): Promise<void> {
  const program = makeProgram();
  const { operands } = program.parseOptions(argv);
  const context = makeContext(program.opts<Partial<GlobalOptions>>(), output);
  const wanted = operands[0] === 'help' ? operands[1] : operands[0];
  const entry = commands.find((command) => command.name === wanted);
  for (const each of commands) {
    const command = program.command(each.name).description(each.summary);
    // Only the named command's module is loaded, so that help and mistakes are answered at once.
    if (each === entry) (await each.load()).register(command, context);
  }
  if (wanted !== undefined && entry === undefined) {
    const near = nearest(wanted, [...commands.map((command) => command.name), 'help']);
    throw new HoldfastError('UsageInvalid', `unknown command '${wanted}'`, {
      hint: near === undefined ? '`holdfast --help` lists the commands.' : `Did you mean '${near}'?`,
    });
  }
  await program.parseAsync(argv, { from: 'user' });
}

export function makeProgram(): Command {
  return new Command('holdfast')
    .description('Durable, encrypted, deduplicated backups.')
    .version(version, '--version', 'print the version')
    .option('-c, --config <file>', 'the config file')
    .option('--json', 'print one JSON document on stdout, nothing else there')
    .option('-q, --quiet', 'no progress and no remarks')
    .option('-v, --verbose', 'more of both')
    .option('--identity <file>', 'the RSA private key, for repositories of hosts that can’t read them')
    .option('--identity-passphrase-file <file>', 'its passphrase (default: ask on the terminal); - is standard input')
    .helpOption('-h, --help', 'explain a command')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({ outputError: () => undefined });
}
