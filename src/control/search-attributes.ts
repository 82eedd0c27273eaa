import type { Connection } from '@temporalio/client';
import { defineSearchAttributeKey, type SearchAttributePair } from '@temporalio/common';
import proto from '@temporalio/proto';

const { INDEXED_VALUE_TYPE_KEYWORD } = proto.temporal.api.enums.v1.IndexedValueType;
const deadlineMs = 10_000;

export const searchAttributeKeys = {
  HoldfastJob: defineSearchAttributeKey('HoldfastJob', 'KEYWORD'),
  HoldfastHost: defineSearchAttributeKey('HoldfastHost', 'KEYWORD'),
  HoldfastOutcome: defineSearchAttributeKey('HoldfastOutcome', 'KEYWORD'),
} as const;
export type SearchAttributeName = keyof typeof searchAttributeKeys;
export const searchAttributeNames = [
  'HoldfastJob',
  'HoldfastHost',
  'HoldfastOutcome',
] as const satisfies SearchAttributeName[];

/**
 * The search attributes a run may set, after an attempt to register those that lack. Setting another one would hang the run
 * for ever, so in doubt the answer is none; it never throws.
 */
export async function usableSearchAttributes(
  connection: Connection,
  namespace: string,
): Promise<Set<SearchAttributeName>> {
  try {
    const present = await registered(connection, namespace);
    const lacking = searchAttributeNames.filter((name) => !present.has(name));
    if (lacking.length === 0) return present;
    const searchAttributes = Object.fromEntries(lacking.map((name) => [name, INDEXED_VALUE_TYPE_KEYWORD]));
    await connection.withDeadline(Date.now() + deadlineMs, () =>
      connection.operatorService.addSearchAttributes({ namespace, searchAttributes }),
    );
    return await registered(connection, namespace);
  } catch {
    return registered(connection, namespace).catch(() => new Set<SearchAttributeName>());
  }
}

/** `values` without those that may not be set, as the client takes them. */
export function searchAttributePairs(
  usable: ReadonlySet<SearchAttributeName>,
  values: Partial<Record<SearchAttributeName, string>>,
): SearchAttributePair[] {
  return searchAttributeNames.flatMap((name) => {
    const value = values[name];
    return value !== undefined && usable.has(name) ? [{ key: searchAttributeKeys[name], value }] : [];
  });
}

async function registered(connection: Connection, namespace: string): Promise<Set<SearchAttributeName>> {
  const { customAttributes } = await connection.withDeadline(Date.now() + deadlineMs, () =>
    connection.operatorService.listSearchAttributes({ namespace }),
  );
  return new Set(searchAttributeNames.filter((name) => customAttributes?.[name] === INDEXED_VALUE_TYPE_KEYWORD));
}
