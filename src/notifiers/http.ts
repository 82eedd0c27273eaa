import { secretRegistry } from '../config/redact.js';
import { HoldfastError } from '../errors.js';
import type { Notification, Notifier } from './notifier.js';
import { cut } from './text.js';

export interface HttpRequest {
  url: string;
  method: 'GET' | 'POST' | 'PUT';
  headers?: Record<string, string>;
  body?: string;
}

export interface HttpNotifierOptions {
  /** The notifier's name in the config, for messages. */
  name: string;
  /** The request that tells it; undefined: this kind has no word for this event, which is fine. */
  request(notification: Notification): HttpRequest | undefined;
  /** Whether a 2xx answer means what it says; some services answer 200 to everybody. Default: yes. */
  accepted?(body: string): boolean;
}

const timeoutMs = 15_000;
const maxAnswer = 4096;
const longestSecret = 512;
/** A run waits for its notifications; what takes longer is sent later. */
const longestWaitMs = 30_000;

/** Tells by one HTTP request. Redirects are not followed: they could carry the document elsewhere. */
export class HttpNotifier implements Notifier {
  constructor(private readonly options: HttpNotifierOptions) {}

  async send(notification: Notification, signal: AbortSignal): Promise<void> {
    const request = this.options.request(notification);
    if (request === undefined) return;
    const { url, method, headers, body } = request;
    const { name } = this.options;
    const limit = AbortSignal.timeout(timeoutMs);
    let response: Response;
    let answer: string;
    try {
      response = await fetch(url, {
        method,
        headers: { 'user-agent': 'holdfast', ...headers },
        ...(body === undefined ? {} : { body }),
        redirect: 'manual',
        signal: AbortSignal.any([limit, signal]),
      });
      // Where the status says all there is to say, an answer that breaks off after it changes nothing.
      const settled = response.ok && this.options.accepted === undefined;
      answer = settled ? '' : await beginningOf(response);
      if (settled) await response.body?.cancel().catch(() => undefined);
    } catch (error) {
      signal.throwIfAborted();
      const why = limit.aborted ? `does not answer within ${timeoutMs / 1000} s` : `cannot be reached${reason(error)}`;
      throw new HoldfastError('NotifyFailed', `the server of notifier ${name} ${why}`, {
        cause: error,
        hint: `Check the url of notify.${name}, and whether this machine reaches it.`,
      });
    }
    const { status } = response;
    const said = answer.trim() === '' ? '' : `: ${cut(secretRegistry.redact(answer), 200)}`;
    const hint = `Check notify.${name}; \`holdfast notify test ${name}\` tries it.`;
    if (status >= 200 && status < 300) {
      if (this.options.accepted?.(answer) ?? true) return;
      throw new HoldfastError(
        'NotifyFailed',
        `the server of notifier ${name} answered something else than expected${said}`,
        {
          hint,
        },
      );
    }
    if (status >= 300 && status < 400) {
      throw new HoldfastError(
        'NotifyFailed',
        `the server of notifier ${name} redirects (${status}), which is not followed`,
        {
          retryable: false,
          hint: `Set notify.${name}.url to where it leads.`,
        },
      );
    }
    const refused = status === 401 || status === 403;
    throw new HoldfastError(
      refused ? 'AuthDenied' : 'NotifyFailed',
      `the server of notifier ${name} answered ${status}${said}`,
      { retryable: status >= 500 || status === 429 || status === 408, retryAfterMs: waitOf(response), hint },
    );
  }
}

/** As much of the body as a message can hold; the rest is not read. */
async function beginningOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return '';
  const parts: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    if (size >= maxAnswer) {
      await reader.cancel().catch(() => undefined);
      break;
    }
  }
  const answer = Buffer.concat(parts).subarray(0, maxAnswer).toString('utf8');
  // What may be half a secret could not be taken out.
  return size < maxAnswer ? answer : answer.slice(0, -longestSecret);
}

function waitOf(response: Response): number | undefined {
  const given = response.headers.get('retry-after') ?? '';
  // Seconds, or a date.
  const seconds = /^\d+$/.test(given) ? Number(given) : (Date.parse(given) - Date.now()) / 1000;
  return seconds > 0 ? Math.min(seconds * 1000, longestWaitMs) : undefined;
}

/** fetch says why only in its cause. */
function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : undefined;
  if (cause === undefined) return '';
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
  return code === '' ? '' : `: ${cut(code, 100)}`;
}

/** A JSON body and its header. */
export function jsonPost(url: string, document: unknown, headers: Record<string, string> = {}): HttpRequest {
  return {
    url,
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(document),
  };
}

/** `base` with `path` appended to its path, whatever slashes and query it has. */
export function below(base: string, path: string): string {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${path}`;
  return url.href;
}
