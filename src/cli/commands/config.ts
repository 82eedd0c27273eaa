import type { Command } from 'commander';
import type { Context } from '../context.js';
import { printable } from '../print/table.js';

export function register(command: Command, context: Context): void {
  command
    .command('check')
    .description('read the config and name everything wrong with it')
    .action(async () => {
      const { path, config, warnings, hash } = await context.load();
      const jobs = Object.keys(config.jobs);
      const destinations = Object.keys(config.destinations);
      context.result({ ok: true, file: path, host: config.host, hash, jobs, destinations, warnings }, () =>
        printable(
          `${path}: good (host ${config.host}; jobs ${jobs.join(', ')}; destinations ${destinations.join(', ')})`,
        ),
      );
    });
  command
    .command('show')
    .description('print the config with every default filled in and secrets masked')
    .action(async () => {
      const { config } = await context.load();
      const { configForShow, showConfig } = await import('../../config/show.js');
      context.result(configForShow(config), () => showConfig(config));
    });
  command
    .command('schema')
    .description("print the config's JSON Schema")
    .action(async () => {
      const { configJsonSchema } = await import('../../config/json-schema.js');
      const schema = configJsonSchema();
      context.result(schema, () => JSON.stringify(schema, null, 2));
    });
}
