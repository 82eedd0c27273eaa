import { statSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { ExportRequest } from '../../control/export.js';
import type { RestoreUpdate } from '../../control/restore.js';
import { HoldfastError } from '../../errors.js';
import { type ArchiveFormat, archiveFormats } from '../../repository/export/member.js';
import type { ExportDocument } from '../../workflows/export-types.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { exportText, makeExportDisplay } from '../print/export.js';
import { exitCodeOfRun } from '../print/run.js';
import { withSession } from '../session.js';

interface Options {
  output: string;
  format?: ArchiveFormat;
  snapshot: string;
  passwordFile?: string;
  overwrite?: boolean;
  from?: string;
  host?: boolean;
}

const passwordVariable = 'HOLDFAST_EXPORT_PASSWORD';

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .argument('[path...]', 'absolute source paths (default: everything)')
    .requiredOption('-o, --output <file>', 'the archive to write; - is stdout')
    .addOption(
      new Option('--format <format>', "the archive's kind (default: by the end of the file's name)").choices(
        archiveFormats,
      ),
    )
    .option('-s, --snapshot <snapshot>', 'an id, its beginning, `latest`, or a time', 'latest')
    .option(
      '--password-file <file>',
      `encrypt a zip with AES-256 under the password in this file; or \${file:...}, \${env:...} and the like`,
    )
    .option('--overwrite', 'replace the file when it is there')
    .option('--from <destination>', 'take it from this destination alone')
    .option('--host', "in the host's own worker, as backups are: it goes on without this command")
    .addHelpText('after', `\n${passwordVariable} may hold the password in place of --password-file.`)
    .action((job: string, paths: string[], options: Options) => run(context, job, paths, options));
}

function formatOf({ format, output }: Options): ArchiveFormat {
  const named = format ?? archiveFormats.find((one) => output.endsWith(`.${one}`));
  if (named !== undefined) return named;
  throw new HoldfastError('UsageInvalid', `expected --format ${archiveFormats.join('|')}`, {
    hint: 'Without it the name of the file has to end in one of them.',
  });
}

async function passwordOf({ passwordFile }: Options, format: ArchiveFormat): Promise<string | undefined> {
  if (passwordFile === undefined && process.env[passwordVariable] === undefined) return undefined;
  const name = passwordFile === undefined ? passwordVariable : '--password-file';
  if (format !== 'zip')
    throw new HoldfastError('UsageInvalid', `${name} encrypts zip files, found --format ${format}`, {
      hint: 'Use --format zip, or encrypt the tar file with a program of its own.',
    });
  const { resolveSecret } = await import('../../config/secrets.js');
  const { expandHome } = await import('../../config/paths.js');
  if (passwordFile === undefined) return resolveSecret(`\${env:${passwordVariable}}`, name);
  if (passwordFile.startsWith('${')) return resolveSecret(passwordFile, name);
  return resolveSecret(`\${file:${resolve(expandHome(passwordFile))}}`, name);
}

async function run(context: Context, job: string, paths: string[], options: Options): Promise<void> {
  const relative = paths.find((path) => !isAbsolute(path));
  if (relative !== undefined) {
    throw new HoldfastError('UsageInvalid', `expected absolute source paths, found '${relative}'`, {
      hint: `'holdfast ls ${job}' shows where they begin.`,
    });
  }
  const format = formatOf(options);
  const { expandHome } = await import('../../config/paths.js');
  const file = options.output === '-' ? '-' : resolve(expandHome(options.output));
  checkOutput(context, file, options);
  const password = await passwordOf(options, format);
  const onHost = options.host === true;
  if (onHost) checkHost(file, password);
  const loaded = await context.load();
  const [{ openLog }, { checkExport, exportOnHost, exportSnapshot }] = await Promise.all([
    import('../../control/log.js'),
    import('../../control/export.js'),
  ]);
  checkExport(loaded.config, job);
  if (options.from !== undefined)
    (await import('../../control/destinations.js')).findDestination(loaded.config, options.from);
  const request: ExportRequest = {
    job,
    snapshot: options.snapshot,
    paths,
    format,
    file,
    overwrite: options.overwrite === true,
    ...(options.from === undefined ? {} : { destination: options.from }),
  };
  const log = await openLog(loaded.config, { stderr: context.options.verbose ? 'info' : 'silent' });
  const interrupt = onInterrupt();
  const display = makeExportDisplay(context);
  // Should the reader of a pipe go away, what it got is not all.
  process.exitCode = 1;
  try {
    await withSession(context, loaded, { command: 'export', worker: onHost }, async (session) => {
      const following = {
        log,
        signal: interrupt.signal,
        intervalMs: display.intervalMs,
        onUpdate: (update: RestoreUpdate) => display.update(update),
        onStart: (id: string, joined: boolean) => context.say(`${joined ? 'joining' : 'started'} ${id}`),
      };
      const document = await (onHost
        ? exportOnHost(session, request, following)
        : exportSnapshot(session, request, { ...following, password }));
      display.clear();
      report(context, document);
      context.exit(exitCodeOfRun(document.status));
    });
  } catch (error) {
    display.clear();
    if (!interrupt.signal.aborted) throw error;
    process.stderr.write(
      onHost
        ? '\ninterrupted; the export goes on with `holdfast up` or the next command\n'
        : '\ninterrupted; nothing of the archive was kept\n',
    );
    if (context.options.json) context.result({ error: { code: 'Cancelled', message: 'interrupted' } }, () => '');
    context.exit(130);
  } finally {
    interrupt.dispose();
  }
}

/** @throws HoldfastError UsageInvalid for what only this process has. */
function checkHost(file: string, password: string | undefined): void {
  if (file === '-')
    throw new HoldfastError('UsageInvalid', 'expected -o FILE with --host, found -', {
      hint: "The host's worker writes the archive, and has no stdout to write to.",
    });
  if (password !== undefined)
    throw new HoldfastError('UsageInvalid', 'expected either --host or a password, found both', {
      hint: 'A password stays in the process that was given it.',
    });
}

function checkOutput(context: Context, file: string, { overwrite }: Options): void {
  if (file === '-') {
    if (context.options.json)
      throw new HoldfastError('UsageInvalid', 'expected either --json or -o -, found both', {
        hint: 'Both are for stdout.',
      });
    if (process.stdout.isTTY)
      throw new HoldfastError('UsageInvalid', 'expected a pipe or a file on stdout, found a terminal', {
        hint: 'Name a file with -o FILE.',
      });
    return;
  }
  const there = statSync(file, { throwIfNoEntry: false });
  if (there?.isDirectory()) throw new HoldfastError('UsageInvalid', `expected a file, ${file} is a folder`);
  if (there !== undefined && !overwrite)
    throw new HoldfastError('TargetConflict', `${file} is there already`, {
      hint: 'Name another file, or replace it with --overwrite.',
    });
}

/** On stdout, unless the archive went there. */
function report(context: Context, document: ExportDocument): void {
  if (document.file !== '-') context.result(document, () => exportText(document));
  else if (document.status === 'succeeded') context.say(exportText(document));
  else process.stderr.write(`${exportText(document)}\n`);
}
