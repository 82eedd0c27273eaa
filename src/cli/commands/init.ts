import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { errnoOf, HoldfastError } from '../../errors.js';
import type { Context } from '../context.js';

interface Options {
  source?: string;
  destination?: string;
}

export function register(command: Command, context: Context): void {
  command
    .option('--source <dir>', 'what to back up (default: the home folder)')
    .option('--destination <dir>', 'the folder that keeps the backups')
    .addHelpText('after', '\nWrites ./holdfast.yaml, or the file named by --config, and a passphrase file beside it.')
    .action((options: Options) => init(context, options));
}

async function init(context: Context, options: Options): Promise<void> {
  const [{ expandHome }, { hostName }, { initConfig, passphrasePath, writePassphrase }] = await Promise.all([
    import('../../config/paths.js'),
    import('../../config/normalize.js'),
    import('../../config/template.js'),
  ]);
  const absolute = (path: string | undefined) => (path === undefined ? undefined : resolve(expandHome(path)));
  const file = resolve(expandHome(context.options.config ?? 'holdfast.yaml'));
  const passphrase = passphrasePath(dirname(file));
  for (const path of [file, passphrase]) if (existsSync(path)) throw exists(path);

  const sourcePath = absolute(options.source);
  const destinationPath = absolute(options.destination);
  const text = initConfig({
    host: hostName(hostname()),
    configFolder: dirname(file),
    ...(sourcePath === undefined ? {} : { sourcePath }),
    ...(destinationPath === undefined ? {} : { destinationPath }),
  });
  const { parseConfig } = await import('../../config/load.js');
  parseConfig(text, file);
  if (!writePassphrase(passphrase)) throw exists(passphrase);
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text, { flag: 'wx' });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw exists(file);
    throw new HoldfastError(
      'UsageInvalid',
      `the config ${file} can't be written (${errnoOf(error) ?? 'unknown error'})`,
      {
        file,
        cause: error,
      },
    );
  }
  const flag = context.options.config === undefined ? '' : ` --config ${file}`;
  context.warn(
    `keep a copy of ${passphrase} elsewhere, such as in a password manager or on paper: without it no backup can be restored`,
  );
  context.result({ config: file, passphrase }, () =>
    [
      `Wrote ${file}`,
      `Wrote ${passphrase} (0600)`,
      '',
      'Next:',
      `  edit ${file}: what to back up and where to`,
      `  holdfast${flag} config check`,
      `  holdfast${flag} doctor`,
      `  holdfast${flag} backup files`,
      `  holdfast${flag} up`,
    ].join('\n'),
  );
}

function exists(path: string): HoldfastError {
  return new HoldfastError('UsageInvalid', `${path} exists already; nothing was written`, {
    file: path,
    hint: 'Remove it if it is not needed, or name another place with --config FILE.',
  });
}
