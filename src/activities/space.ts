import type { Store } from '../repository/store.js';
import type { Warning } from '../workflows/types.js';
import type { RunContext } from './run-context.js';

/** How many of a job's runs are looked at. */
const lookedAt = 7;
const GB = 1e9;

/** Warns when a destination has less space left than the next run of every job that stores there could need, by the last ones. */
export async function watchSpace(context: RunContext, store: Store, signal: AbortSignal): Promise<Warning[]> {
  const space = await store.destination.space(signal);
  const need = neededAt(context, store.name);
  if (space === undefined || space.free >= need) return [];
  const message = `${store.name}: ${(space.free / GB).toFixed(1)} GB are free; the last runs needed up to ${(need / GB).toFixed(1)} GB`;
  return [{ code: 'SpaceLow', message }];
}

/** The most that one of the last runs stored there, of all jobs together; full snapshots count only where there are no others. */
function neededAt({ host, config }: RunContext, destination: string): number {
  let need = 0;
  for (const [job, { destinations }] of Object.entries(config.jobs)) {
    if (!destinations.includes(destination)) continue;
    const runs = host.history.list({ job, limit: lookedAt }).filter(({ snapshot }) => snapshot !== null);
    const others = runs.filter(({ mode }) => mode !== 'full');
    const bytes = (others.length > 0 ? others : runs).map(
      (run) => run.destinations.find(({ name }) => name === destination)?.bytes ?? 0,
    );
    need += Math.max(0, ...bytes);
  }
  return need;
}
