import { Outbox } from '../activities/outbox.js';
import { nearest } from '../config/nearest.js';
import type { Config, NotifyConfig } from '../config/schema.js';
import { resolveSecrets } from '../config/secrets.js';
import { HoldfastError } from '../errors.js';
import { testNotification } from '../notifiers/message.js';
import { openNotifier } from '../notifiers/open.js';

export interface NotifierInfo {
  name: string;
  type: NotifyConfig['type'];
  on: string[];
  /** Jobs that notify it. */
  jobs: string[];
  /** Notifications that wait: for the end of quiet hours, or because they did not get through. */
  waiting: number;
  /** Whether some of them did not get through. */
  undelivered: boolean;
}

export function listNotifiers(config: Config): NotifierInfo[] {
  const outbox = new Outbox(config.state);
  try {
    return Object.entries(config.notify).map(([name, notifier]) => {
      const held = outbox.held(name);
      return {
        name,
        type: notifier.type,
        on: [
          ...notifier.on,
          ...('digest' in notifier && notifier.digest !== undefined && !notifier.on.includes('digest')
            ? ['digest']
            : []),
        ],
        jobs: Object.entries(config.jobs)
          .filter(([, job]) => job.notify.includes(name))
          .map(([job]) => job),
        waiting: held.length,
        undelivered: held.some(({ reason }) => reason === 'unsent'),
      };
    });
  } finally {
    outbox.close();
  }
}

const timeoutMs = 30_000;

/**
 * Sends a test through one notifier, now and whatever its hours and events are.
 *
 * @throws HoldfastError `UsageInvalid` where there is none of this name; what the notifier throws.
 */
export async function testNotifier(config: Config, name: string, signal?: AbortSignal): Promise<{ ms: number }> {
  const notifier = Object.hasOwn(config.notify, name) ? config.notify[name] : undefined;
  if (notifier === undefined) {
    const names = Object.keys(config.notify);
    const near = nearest(name, names);
    throw new HoldfastError(
      'UsageInvalid',
      `there is no notifier '${name}'${near === undefined ? '' : `; did you mean '${near}'?`}`,
      {
        hint: names.length === 0 ? 'Describe one under `notify` in the config.' : `Notifiers: ${names.join(', ')}.`,
      },
    );
  }
  const resolved = await resolveSecrets(notifier, `notify.${name}`);
  const limit = AbortSignal.timeout(timeoutMs);
  const began = Date.now();
  try {
    await openNotifier(name, resolved).send(
      testNotification(config.host, name),
      signal === undefined ? limit : AbortSignal.any([limit, signal]),
    );
  } catch (error) {
    if (!limit.aborted || error instanceof HoldfastError) throw error;
    throw new HoldfastError('NotifyFailed', `notifier ${name} does not answer within ${timeoutMs / 1000} s`, {
      cause: error,
    });
  }
  return { ms: Date.now() - began };
}
