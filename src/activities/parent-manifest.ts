import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { HoldfastError } from '../errors.js';
import { PackReader, readManifest } from '../repository/reader.js';
import type { RunContext } from './run-context.js';
import { LineWriter } from './threads/line-writer.js';

/** Reads a snapshot's manifest back from the destinations that hold it, for the walk to compare with. */
export async function restoreManifest(
  context: RunContext,
  snapshot: string,
  source: string,
  file: string,
  signal: AbortSignal,
): Promise<void> {
  const row = context.catalog.snapshot(snapshot);
  if (!row) throw new HoldfastError('SnapshotUnknown', `snapshot ${snapshot} is not in the catalog`);
  const stores = [];
  for (const name of context.catalog.holders(row.name)) {
    if (context.job.destinations.includes(name)) stores.push(await context.store(name));
  }
  const reader = new PackReader({ stores, key: await context.key(), signal });
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const writer = new LineWriter(file);
  try {
    for await (const line of readManifest(reader, context.catalog, row.root, source)) writer.add(line);
    writer.finish();
  } catch (error) {
    writer.abandon();
    throw error;
  }
}
