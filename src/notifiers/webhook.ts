import { createHmac } from 'node:crypto';
import { HoldfastError } from '../errors.js';
import type { Notification, Notifier } from './notifier.js';

export interface WebhookOptions {
  url: string;
  secret?: string;
  headers?: Record<string, string>;
}

const timeoutMs = 15_000;

/**
 * POSTs the notification as JSON. With a secret, `X-Holdfast-Signature: sha256=<hex>` is the HMAC-SHA-256 of
 * `<X-Holdfast-Timestamp>.<body>`. Redirects are not followed: they could carry the document elsewhere.
 */
export class Webhook implements Notifier {
  constructor(
    private readonly name: string,
    private readonly options: WebhookOptions,
  ) {}

  async send(notification: Notification, signal: AbortSignal): Promise<void> {
    const body = JSON.stringify({ version: 1, ...notification });
    const timestamp = String(Math.floor(Date.now() / 1000));
    const headers: Record<string, string> = {
      'content-type': 'application/json',
      'user-agent': 'holdfast',
      'x-holdfast-event': notification.event,
      'x-holdfast-timestamp': timestamp,
      ...this.options.headers,
    };
    if (this.options.secret !== undefined) {
      headers['x-holdfast-signature'] =
        `sha256=${createHmac('sha256', this.options.secret).update(`${timestamp}.${body}`).digest('hex')}`;
    }
    let response: Response;
    try {
      const limit = AbortSignal.timeout(timeoutMs);
      response = await fetch(this.options.url, {
        method: 'POST',
        headers,
        body,
        redirect: 'manual',
        signal: AbortSignal.any([limit, signal]),
      });
      await response.body?.cancel();
    } catch (error) {
      signal.throwIfAborted();
      throw new HoldfastError('Throttled', `notifier ${this.name}: the webhook cannot be reached`, {
        cause: error,
        hint: `Check the url of notify.${this.name}.`,
      });
    }
    if (response.status >= 200 && response.status < 300) return;
    throw new HoldfastError('Throttled', `notifier ${this.name}: the webhook answered ${response.status}`, {
      retryable: response.status >= 500 || response.status === 429,
      hint: `Check the url and secret of notify.${this.name}.`,
    });
  }
}
