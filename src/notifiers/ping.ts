import { createHash } from 'node:crypto';
import type { NotifyConfig } from '../config/schema.js';
import { isOk } from './chat.js';
import { below, HttpNotifier } from './http.js';
import type { Notification } from './notifier.js';
import { cut, cutText } from './text.js';

type Config<Type extends NotifyConfig['type']> = Extract<NotifyConfig, { type: Type }>;

const isGood = ({ event }: Notification): boolean => event === 'success' || event === 'recovery';

/** https://healthchecks.io/docs/http_api/: `rid` ties the start of a run to its end, from which the service takes the duration. */
export function healthchecks(name: string, { url }: Config<'healthchecks'>): HttpNotifier {
  return new HttpNotifier({
    name,
    request(notification) {
      const { event, run } = notification;
      // A test is only logged: it says nothing of any backup.
      const path = event === 'test' ? 'log' : event === 'start' ? 'start' : isGood(notification) ? '' : 'fail';
      const target = new URL(path === '' ? url : below(url, path));
      if (run !== null) target.searchParams.set('rid', uuidOf(run.run));
      return {
        url: target.href,
        method: 'POST',
        headers: { 'content-type': 'text/plain; charset=utf-8' },
        body: cutText(notification.text, 10_000),
      };
    },
  });
}

/** https://github.com/louislam/uptime-kuma/wiki/Monitor-Types (Push): `ping` is the duration in milliseconds. */
export function uptimekuma(name: string, { url }: Config<'uptimekuma'>): HttpNotifier {
  return new HttpNotifier({
    name,
    request(notification) {
      const target = new URL(url);
      const up = isGood(notification) || notification.event === 'test';
      target.search = '';
      target.searchParams.set('status', up ? 'up' : 'down');
      target.searchParams.set('msg', cut(notification.subject, 200));
      const durationMs = notification.run?.durationMs ?? null;
      if (durationMs !== null) target.searchParams.set('ping', String(durationMs));
      return { url: target.href, method: 'GET' };
    },
    accepted: isOk('ok', true),
  });
}

/** A UUID (version 8, RFC 9562) that is always the same for this text. */
function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
