import { scheduledInput } from './backup.js';
import { scheduledCheck, scheduledDrill } from './care.js';
import { applySchedules, type ScheduleChange } from './schedules.js';
import { usableSearchAttributes } from './search-attributes.js';
import type { Session } from './session.js';

/** Makes this host's schedules match the config; see `applySchedules`. */
export async function applyConfig(
  session: Pick<Session, 'loaded' | 'temporal'>,
  options: { dryRun?: boolean; prune?: boolean } = {},
): Promise<ScheduleChange[]> {
  const { config } = session.loaded;
  const { client, connection, namespace } = session.temporal;
  return applySchedules(client, {
    host: config.host,
    jobs: Object.entries(config.jobs).map(([name, { schedule, check, drill }]) => ({ name, schedule, check, drill })),
    makeAction: (job) => scheduledInput(session, job),
    makeCheck: (job) => scheduledCheck(session.loaded, job),
    makeDrill: (job) => scheduledDrill(session.loaded, job),
    searchAttributes: await usableSearchAttributes(connection, namespace),
    ...options,
  });
}
