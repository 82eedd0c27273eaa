import { signInput } from '../activities/auth.js';
import { controlQueue } from '../workflows/types.js';
import { lookSignal, watchId } from '../workflows/watch-types.js';
import { scheduledInput } from './backup.js';
import { scheduledCheck, scheduledDrill } from './care.js';
import { applySchedules, type ScheduleChange } from './schedules.js';
import { usableSearchAttributes } from './search-attributes.js';
import type { Session } from './session.js';

/** Makes this host's schedules match the config, see `applySchedules`, and has somebody watch that their runs succeed. */
export async function applyConfig(
  session: Pick<Session, 'loaded' | 'temporal'>,
  options: { dryRun?: boolean; prune?: boolean } = {},
): Promise<ScheduleChange[]> {
  const { config } = session.loaded;
  const { client, connection, namespace } = session.temporal;
  const changes = await applySchedules(client, {
    host: config.host,
    jobs: Object.entries(config.jobs).map(([name, { schedule, check, drill }]) => ({ name, schedule, check, drill })),
    makeAction: (job) => scheduledInput(session, job),
    makeCheck: (job) => scheduledCheck(session.loaded, job),
    makeDrill: (job) => scheduledDrill(session.loaded, job),
    searchAttributes: await usableSearchAttributes(connection, namespace),
    ...options,
  });
  if (!options.dryRun) await startWatch(session);
  return changes;
}

/** Starts this host's watch, or has the one that runs look at what the config says now. */
async function startWatch({ loaded, temporal }: Pick<Session, 'loaded' | 'temporal'>): Promise<void> {
  const { host, state } = loaded.config;
  const sig = signInput(state, 'watch', { host });
  await temporal.client.workflow.signalWithStart('watch', {
    workflowId: watchId(host),
    taskQueue: controlQueue,
    args: [{ host, sig }],
    signal: lookSignal,
    signalArgs: [sig],
    memo: { host },
    staticSummary: `watching that the jobs of ${host} succeed in time`,
  });
}
