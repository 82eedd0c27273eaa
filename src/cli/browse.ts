import type { OpenBrowser } from '../control/browse.js';
import type { Context } from './context.js';

/** Opens a job's repository for a command that looks into it; what could not be read is a warning on stderr. */
export async function browse<T>(
  context: Context,
  job: string,
  options: { offline?: boolean },
  action: (browser: OpenBrowser) => Promise<T>,
): Promise<T> {
  const loaded = await context.load();
  const { findJob } = await import('../config/load.js');
  findJob(loaded.config, job);
  const [{ withBrowser }, { openLog }] = await Promise.all([
    import('../control/browse.js'),
    import('../control/log.js'),
  ]);
  const log = await openLog(loaded.config, { stderr: 'silent' });
  return withBrowser(loaded, job, { sync: !options.offline, log }, async (browser) => {
    for (const { message } of browser.warnings) context.warn(message);
    return action(browser);
  });
}

export const offlineOption = [
  '--offline',
  'from the catalog alone, without looking at the destinations first',
] as const;
