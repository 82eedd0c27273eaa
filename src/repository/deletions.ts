import { HoldfastError } from '../errors.js';
import { parseUntrusted } from './untrusted-json.js';

/** What one prune marked or removed; roots named here explain gaps in `seq`. */
export interface DeletionRecord {
  format: 1;
  id: string;
  /** By the destination's clock. */
  time: string;
  /** Roots removed by this prune. */
  snapshots: { id: string; seq: number; sha256: string }[];
  /** Packs and indexes marked: deleted 72 h later unless something refers to them then. */
  packs: string[];
  indexes: string[];
  /** Once the marked objects are deleted. */
  done?: string;
}

const maxDepth = 64;
export const deletionLimit = 64 * 1024 * 1024;

/** @throws HoldfastError IntegrityMismatch naming the object. */
export function parseDeletion(json: Buffer, name: string): DeletionRecord {
  const record = parseUntrusted(json, maxDepth) as Partial<DeletionRecord> | undefined | null;
  const fine =
    record?.format === 1 &&
    typeof record.id === 'string' &&
    typeof record.time === 'string' &&
    !Number.isNaN(Date.parse(record.time)) &&
    (record.done === undefined || typeof record.done === 'string') &&
    Array.isArray(record.snapshots) &&
    record.snapshots.every(
      (snapshot) =>
        typeof snapshot?.id === 'string' && Number.isSafeInteger(snapshot.seq) && typeof snapshot.sha256 === 'string',
    ) &&
    Array.isArray(record.packs) &&
    record.packs.every((pack) => typeof pack === 'string' && /^[0-9a-f]{64}$/.test(pack)) &&
    Array.isArray(record.indexes) &&
    record.indexes.every((index) => typeof index === 'string' && /^[0-9a-f]{16}$/.test(index));
  if (!fine) throw new HoldfastError('IntegrityMismatch', `${name} is not a deletion record`);
  return record as DeletionRecord;
}
