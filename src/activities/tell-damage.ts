import { createHash } from 'node:crypto';
import { damageNotification } from '../notifiers/message.js';
import type { CheckDocument } from '../workflows/care-types.js';
import type { Host } from './host.js';
import { isMessenger, redacted, tell, wants } from './tell.js';

/** Longest that telling of a check may take, ms. */
const timeoutMs = 30_000;
const unsentRetryMs = 15 * 60_000;

/**
 * Tells the job's notifiers of damage that a check found and that is not repaired. The same damage again is folded as the same
 * failure of a run is. Never fails the check.
 */
export async function tellDamage(host: Host, document: CheckDocument): Promise<void> {
  const { job, run, status } = document;
  const open = document.findings.filter(({ repaired }) => repaired === undefined);
  const kind = createHash('sha256')
    .update(open.map(({ destination, object }) => `${destination} ${object}\n`).join(''))
    .digest('hex');
  const subject = `check of ${job}`;
  const telling = (host.config.jobs[job]?.notify ?? []).map(async (name) => {
    const config = host.config.notify[name];
    if (config === undefined) return;
    if (status !== 'damaged') {
      // What nobody could read says nothing of the rest.
      if (status !== 'partial') host.outbox.recover(name, subject);
      return;
    }
    if (!wants(config, 'damage')) return;
    const now = Date.now();
    const trouble = host.outbox.fail(name, subject, kind, run, now);
    if (trouble.told > 0 && isMessenger(config)) {
      const { count, every } = config.repeat;
      if (trouble.same - trouble.told < count && now - trouble.toldAt < every) return;
    }
    const repeated = { count: trouble.same, since: new Date(trouble.since).toISOString() };
    const notification = damageNotification(host.config.host, document, open, repeated);
    await tell(host, name, notification, AbortSignal.timeout(timeoutMs)).catch((error: unknown) => {
      host.log.error({ err: error, run, notifier: name }, 'notification not delivered; it is tried again later');
      host.outbox.hold(name, redacted(notification), 'unsent', now + unsentRetryMs);
    });
    host.outbox.told(name, subject, now);
  });
  await Promise.all(telling);
}
