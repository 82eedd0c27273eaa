import { createHash } from 'node:crypto';

/** A schedule by what matters of it, each as people read it: `{ schedule: 'every 6h', overlap: 'SKIP' }`. */
export interface ScheduleFacts {
  id: string;
  facts: Readonly<Record<string, string>>;
}

export interface FieldChange {
  field: string;
  from: string;
  to: string;
}

export interface PlannedChange {
  /** `keep` with `orphan`: not in the config any more, and removed only when pruning. */
  action: 'create' | 'update' | 'delete' | 'keep';
  id: string;
  changes: FieldChange[];
  orphan?: true;
}

/** What turns the existing schedules into the desired ones, sorted by id. */
export function planSchedules(
  desired: readonly ScheduleFacts[],
  existing: readonly ScheduleFacts[],
  prune = false,
): PlannedChange[] {
  const before = new Map(existing.map((schedule) => [schedule.id, schedule.facts]));
  const wanted = new Set(desired.map((schedule) => schedule.id));
  const plan: PlannedChange[] = desired.map(({ id, facts }) => {
    const old = before.get(id);
    const changes = differences(old ?? {}, facts);
    return { action: old === undefined ? 'create' : changes.length > 0 ? 'update' : 'keep', id, changes };
  });
  for (const { id, facts } of existing) {
    if (wanted.has(id)) continue;
    plan.push(
      prune
        ? { action: 'delete', id, changes: differences(facts, {}) }
        : { action: 'keep', id, changes: [], orphan: true },
    );
  }
  return plan.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

/** Names a JSON value, whatever the order of its keys: 16 hex digits. */
export function fingerprint(value: unknown): string {
  return createHash('sha256').update(canonical(value)).digest('hex').slice(0, 16);
}

function differences(from: Readonly<Record<string, string>>, to: Readonly<Record<string, string>>): FieldChange[] {
  const fields = [...new Set([...Object.keys(from), ...Object.keys(to)])];
  return fields
    .map((field) => ({ field, from: from[field] ?? '', to: to[field] ?? '' }))
    .filter((change) => change.from !== change.to);
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    members.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
