import { randomBytes } from 'node:crypto';

/** Where a job's repository lives below a destination. */
export const repositoryPrefix = (host: string, job: string): string => `${host}/${job}/`;

export const keyFileName = 'holdfast.json';
export const readmeName = 'README.txt';
export const ownerName = 'owner.json';

/** Object names below the repository's prefix. */
export const packName = (sha256: string): string => `packs/${sha256.slice(0, 2)}/${sha256}`;
/** An archive, by the name people know it by. */
export const archiveObject = (name: string): string => `archives/${name}`;
export const indexName = (id: string): string => `index/${id}.ndjson`;
export const deletionName = (id: string): string => `deletions/${id}.json`;
export const pinName = (snapshot: string): string => `pins/${snapshot}.json`;
export const snapshotName = (time: Date, id: string): string => `snapshots/${compactTime(time)}-${id}.json`;

/** `20261122T030000Z`: sorts by time, legal on every file system. */
export const compactTime = (time: Date): string => time.toISOString().replace(/[-:]/g, '').replace(/\.\d+/, '');

const snapshotPattern = /^snapshots\/(\d{8}T\d{6}Z)-([0-9a-f]{16})\.json$/;
const packPattern = /^packs\/([0-9a-f]{2})\/([0-9a-f]{64})$/;
const archivePattern = /^archives\/([A-Za-z0-9][A-Za-z0-9._-]{0,199})$/;
const indexPattern = /^index\/([0-9a-f]{16})\.ndjson$/;
const deletionPattern = /^deletions\/([0-9a-f]{16})\.json$/;
const pinPattern = /^pins\/([0-9a-f]{16})\.json$/;

/** The snapshot id in a root's object name, or undefined for any other name. */
export const snapshotIdOf = (name: string): string | undefined => snapshotPattern.exec(name)?.[2];
/** An archive's file name. */
export const archiveNameOf = (name: string): string | undefined => archivePattern.exec(name)?.[1];
export const indexIdOf = (name: string): string | undefined => indexPattern.exec(name)?.[1];
export const deletionIdOf = (name: string): string | undefined => deletionPattern.exec(name)?.[1];
/** The snapshot that a pin's name means. */
export const pinIdOf = (name: string): string | undefined => pinPattern.exec(name)?.[1];
export function packHashOf(name: string): string | undefined {
  const match = packPattern.exec(name);
  return match?.[2]?.startsWith(match[1] ?? '-') ? match[2] : undefined;
}

/** 16 hex digits, for snapshots, indexes and deletions. */
export const newObjectId = (): string => randomBytes(8).toString('hex');
