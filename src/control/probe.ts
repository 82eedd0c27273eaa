import { randomBytes } from 'node:crypto';
import { access, constants } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import type { DestinationConfig } from '../config/schema.js';
import { resolveSecrets } from '../config/secrets.js';
import { accountOf } from '../destinations/account.js';
import type { Destination } from '../destinations/destination.js';
import { openDestination } from '../destinations/open.js';
import { HoldfastError } from '../errors.js';

export interface Probe {
  /** Milliseconds that writing, reading back and, unless it was kept, deleting an object took. */
  tookMs: number;
  /** The destination's clock minus this machine's, milliseconds. */
  skewMs: number;
  space?: { free: number; total: number };
  /** Who is logged in there, where somebody is. */
  account?: string;
  /** Its name, where it stays: nothing is deleted there. Each probe from this machine replaces the last one. */
  kept?: string;
}

const probeBytes = 64 * 1024;
const timeoutMs = 60_000;

/**
 * Writes an object to a destination, reads it back, compares and deletes it, unless objects are to stay there. It makes no folder here; on an SSH or FTP
 * server it makes the destination's own, as the first backup would: nothing else tells whether that is possible.
 *
 * @returns undefined for a folder that does not exist yet and that the first backup will make.
 * @throws HoldfastError: whatever is wrong with the destination; `IntegrityMismatch` when it gives back something else.
 */
export async function probeDestination(
  name: string,
  config: DestinationConfig,
  state: string,
): Promise<Probe | undefined> {
  const signal = AbortSignal.timeout(timeoutMs);
  const resolved = await resolveSecrets(config, `destinations.${name}`);
  const destination = await openDestination(name, resolved, { state });
  const keeps = config.deletes === false || (config.type === 's3' && config.objectLock !== undefined);
  const key = `.holdfast-probe-${keeps ? hostname().replace(/[^A-Za-z0-9.-]+/g, '_') : randomBytes(8).toString('hex')}`;
  const bytes = randomBytes(probeBytes);
  try {
    if (config.type === 'sftp' || config.type === 'ftp') await destination.ensureRoot(signal);
    const began = performance.now();
    const putAt = Date.now();
    try {
      await destination.put(key, { bytes }, { signal });
    } catch (error) {
      if (await isYetToCome(error, config)) return undefined;
      throw error;
    }
    const putBy = Date.now();
    try {
      const back = await destination.read(key, { maxBytes: probeBytes * 2, signal });
      if (!back.equals(bytes)) {
        throw new HoldfastError('IntegrityMismatch', `${name} gives back something else than was written to it`, {
          hint: 'Do not trust this destination before that is explained.',
        });
      }
    } finally {
      if (!keeps) await destination.delete(key, signal);
    }
    const tookMs = performance.now() - began;
    const skewMs = keeps ? await skewOf(destination, key, putAt, putBy, signal) : await clockSkew(destination, signal);
    const space = await destination.space(signal);
    const account = await accountOf(name, resolved, state, signal);
    return {
      tookMs,
      skewMs,
      ...(space === undefined ? {} : { space }),
      ...(account === undefined ? {} : { account }),
      ...(keeps ? { kept: key } : {}),
    };
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new HoldfastError('DestinationUnreachable', `${name} did not answer within ${timeoutMs / 1000} s`, {
      hint: 'Check the network and the service.',
      cause: error,
    });
  } finally {
    await destination.close();
  }
}

async function clockSkew(destination: Destination, signal: AbortSignal): Promise<number> {
  const asked = Date.now();
  const there = await destination.now(signal);
  return there.getTime() - (asked + Date.now()) / 2;
}

/** By when it says that the probe was stored: some have a clock only for who may make a file and delete it again. */
async function skewOf(
  destination: Destination,
  key: string,
  from: number,
  to: number,
  signal: AbortSignal,
): Promise<number> {
  const stored = await destination.stat(key, signal);
  return stored === undefined ? 0 : stored.modified.getTime() - (from + to) / 2;
}

async function isYetToCome(error: unknown, config: DestinationConfig): Promise<boolean> {
  if (!(error instanceof HoldfastError) || error.code !== 'DestinationMissing') return false;
  // Their own folders are made by the first backup.
  if (config.type === 'gdrive') return config.folderId === undefined && config.driveId === undefined;
  if (config.type === 'dropbox') return /^\/[^/]+$/.test(config.path);
  if (config.type !== 'local' || config.mountPoint !== undefined) return false;
  return access(dirname(config.path), constants.W_OK).then(
    () => true,
    () => false,
  );
}
