import { isAbsolute, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LoadedConfig } from '../../config/load.js';
import type { Config } from '../../config/schema.js';
import type { RestoreRequest, RestoreUpdate } from '../../control/restore.js';
import type { DatabasePlan } from '../../control/restore-database.js';
import { HoldfastError } from '../../errors.js';
import type { OverwriteMode, RestoreDocument } from '../../workflows/restore-types.js';
import type { Context } from '../context.js';
import { type Interrupt, onInterrupt } from '../interrupt.js';
import { makeRestoreDisplay, type RestoreDisplay, restoreText } from '../print/restore.js';
import { exitCodeOfRun } from '../print/run.js';
import { withSession } from '../session.js';

interface Options {
  to?: string;
  database?: string;
  source?: string;
  targetUrl?: string;
  into?: string;
  create?: boolean;
  clean?: boolean;
  globals?: boolean;
  jobs?: number;
  snapshot: string;
  overwrite: OverwriteMode;
  from?: string;
  host?: boolean;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .argument('[path...]', 'absolute source paths (default: everything)')
    .option('--to <dir>', 'restore below this folder: /srv/www goes to DIR/srv/www')
    .option('-s, --snapshot <snapshot>', 'an id, its beginning, `latest`, or a time', 'latest')
    .addOption(
      new Option('--overwrite <mode>', 'what to do with files that are there and differ')
        .choices(['never', 'changed', 'always'])
        .default('never'),
    )
    .option('--from <destination>', 'take it from this destination alone')
    .option('--host', "in the host's own worker, as backups are: it goes on without this command")
    .option('--database <name>', 'a database in place of paths (SQLite: its absolute path); with --to only its dump')
    .option('--source <source>', 'the source that has the database, where the job has several')
    .option(
      '--target-url <url>',
      `load the database into this server, not its own; may be \${env:NAME} or \${file:...}`,
    )
    .option('--into <name>', 'load the database under this name, not its own')
    .option('--create', 'make the database when it is not there')
    .option('--clean', 'replace a database that is not empty')
    .option('--globals', 'make roles or users that the server lacks, too')
    .addOption(new Option('--jobs <number>', 'load with so many connections').argParser(parseJobs))
    .action((job: string, paths: string[], options: Options) => run(context, job, paths, options));
}

function parseJobs(text: string): number {
  const jobs = Number(text);
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= 64) return jobs;
  throw new InvalidArgumentError('expected a number from 1 to 64');
}

const databaseOptions = ['source', 'targetUrl', 'into', 'create', 'clean', 'globals', 'jobs'] as const;

/** @throws HoldfastError UsageInvalid when files and a database are asked for at once, or neither. */
function checkUsage(job: string, paths: string[], options: Options): void {
  if (options.host === true && options.targetUrl !== undefined)
    throw new HoldfastError('UsageInvalid', 'expected either --host or --target-url, found both', {
      hint: 'A URL with its password stays in the process that was given it.',
    });
  const flag = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  const given = databaseOptions.filter((name) => options[name] !== undefined);
  if (options.database === undefined) {
    if (given[0] !== undefined) throw new HoldfastError('UsageInvalid', `${flag(given[0])} needs --database NAME`);
    if (options.to === undefined)
      throw new HoldfastError('UsageInvalid', 'expected --to DIR, or --database NAME', {
        hint: `'holdfast restore ${job} --to DIR' restores everything below DIR.`,
      });
    return;
  }
  if (paths.length > 0) throw new HoldfastError('UsageInvalid', 'expected either paths or --database NAME, found both');
  const load = given.find((name) => name !== 'source');
  if (options.to !== undefined && load !== undefined)
    throw new HoldfastError(
      'UsageInvalid',
      `${flag(load)} loads the database, --to restores only its dump: expected either`,
    );
}

async function askedDatabase(config: Config, job: string, options: Options): Promise<DatabasePlan | undefined> {
  if (options.database === undefined) return undefined;
  const { planDatabase } = await import('../../control/restore-database.js');
  return planDatabase(config, job, { ...options, database: options.database }, options.to !== undefined);
}

async function run(context: Context, job: string, paths: string[], options: Options): Promise<void> {
  const relative = paths.find((path) => !isAbsolute(path));
  if (relative !== undefined) {
    throw new HoldfastError('UsageInvalid', `expected absolute source paths, found '${relative}'`, {
      hint: `'holdfast ls ${job}' shows where they begin.`,
    });
  }
  checkUsage(job, paths, options);
  const loaded = await context.load();
  const { findJob } = await import('../../config/load.js');
  findJob(loaded.config, job);
  if (options.from !== undefined)
    (await import('../../control/destinations.js')).findDestination(loaded.config, options.from);
  const { expandHome } = await import('../../config/paths.js');
  const asked = await askedDatabase(loaded.config, job, options);
  const request: RestoreRequest = {
    job,
    snapshot: options.snapshot,
    paths: asked?.paths ?? paths,
    target: options.to === undefined ? '' : resolve(expandHome(options.to)),
    overwrite: options.to === undefined ? 'always' : options.overwrite,
    ...(asked === undefined ? {} : { database: asked.database }),
    ...(options.from === undefined ? {} : { destination: options.from }),
  };
  const interrupt = onInterrupt();
  const display = makeRestoreDisplay(context);
  const end = (document: RestoreDocument): void => {
    display.clear();
    context.result(document, () => restoreText(document));
    context.exit(exitCodeOfRun(document.status));
  };
  const tellResumed = (run: string): void => context.say(`going on with ${run}, which was left unfinished`);
  try {
    const upMay = options.host !== true && asked === undefined && context.options.verbose !== true;
    const done = upMay ? await byUp(loaded, request, interrupt, display, tellResumed) : undefined;
    if (done !== undefined) return end(done);
    const [{ openLog }, { restore, throughFolder }] = await Promise.all([
      import('../../control/log.js'),
      import('../../control/restore.js'),
    ]);
    const log = await openLog(loaded.config, { stderr: context.options.verbose ? 'info' : 'silent' });
    await withSession(context, loaded, { command: 'restore', worker: options.host === true }, async (session) => {
      const placed = asked?.database.load === undefined ? request : throughFolder(session, request);
      const document = await restore(session, placed, {
        log,
        targetServer: asked?.server,
        onHost: options.host === true,
        signal: interrupt.signal,
        intervalMs: display.intervalMs,
        onUpdate: (update) => display.update(update),
        onStart: (id, resumed) => {
          if (resumed && options.host !== true) tellResumed(id);
          else if (options.host === true) context.say(`${resumed ? 'joining' : 'started'} ${id}`);
        },
      });
      end(document);
    });
  } catch (error) {
    display.clear();
    if (!interrupt.signal.aborted) throw error;
    process.stderr.write(
      options.host === true
        ? '\ninterrupted; the restore goes on with `holdfast up` or the next command\n'
        : '\ninterrupted; the same command goes on where this one stopped\n',
    );
    if (context.options.json) context.result({ error: { code: 'Cancelled', message: 'interrupted' } }, () => '');
    context.exit(130);
  } finally {
    interrupt.dispose();
  }
}

/**
 * Lets the `holdfast up` of this state folder do it, whose worker is warm; it stops with this command. Undefined where there is none
 * that can, or it went away: the same request then goes on in this process.
 */
async function byUp(
  loaded: LoadedConfig,
  request: RestoreRequest,
  interrupt: Interrupt,
  display: RestoreDisplay,
  tellResumed: (run: string) => void,
): Promise<RestoreDocument | undefined> {
  const [{ askUp, UpGone }, { processRights }] = await Promise.all([
    import('../../control/ask-up.js'),
    import('../../platform/rights.js'),
  ]);
  const rights = processRights();
  if (rights === undefined) return undefined;
  const asked = await askUp<RestoreUpdate, RestoreDocument>(loaded, { restore: request, rights }, display.intervalMs);
  const started = asked?.started[0];
  if (asked === undefined || started === undefined) return undefined;
  if (started.joined) tellResumed(started.run);
  const left = new Promise<never>((_, reject) => {
    const leave = () => void asked.leave().then(() => reject(new HoldfastError('Cancelled', 'interrupted')));
    if (interrupt.signal.aborted) leave();
    else interrupt.signal.addEventListener('abort', leave, { once: true });
  });
  left.catch(() => undefined);
  try {
    const updates = asked.follow(started.run);
    for (;;) {
      const next = await Promise.race([updates.next(), left]);
      if (next.done) return next.value;
      display.update(next.value);
    }
  } catch (error) {
    if (interrupt.signal.aborted) await left;
    if (!(error instanceof UpGone)) throw error;
    return undefined;
  } finally {
    asked.close();
  }
}
