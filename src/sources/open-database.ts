import type { DatabaseSourceConfig } from '../config/schema.js';
import type { DatabaseSource } from './database.js';

/** A source for the config's type; `config` has its secrets resolved. Connects to nothing yet. */
export async function openDatabaseSource(config: DatabaseSourceConfig): Promise<DatabaseSource> {
  switch (config.type) {
    case 'postgres':
      return new (await import('./postgres/source.js')).PostgresSource(config);
    case 'mysql':
      return new (await import('./mysql/source.js')).MysqlSource(config);
    case 'sqlite':
      return new (await import('./sqlite/source.js')).SqliteSource(config);
  }
}
