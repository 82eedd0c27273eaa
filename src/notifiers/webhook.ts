import { createHmac } from 'node:crypto';
import type { WebhookConfig } from '../config/schema.js';
import { HttpNotifier } from './http.js';
import type { Notification } from './notifier.js';
import { fillTemplate } from './template.js';

/** The document that a webhook sends. */
export const webhookDocument = (notification: Notification) => ({ version: 1, ...notification });

/**
 * Sends the notification as JSON, or as the template says. With a secret, `X-Holdfast-Signature: sha256=<hex>` is the
 * HMAC-SHA-256 of `<X-Holdfast-Timestamp>.<body>`.
 */
export function webhook(name: string, config: WebhookConfig): HttpNotifier {
  return new HttpNotifier({
    name,
    request(notification) {
      const document = webhookDocument(notification);
      const { contentType } = config;
      const body =
        config.body === undefined ? JSON.stringify(document) : fillTemplate(config.body, document, contentType);
      const timestamp = String(Math.floor(Date.now() / 1000));
      const headers: Record<string, string> = {
        'content-type': contentType,
        'x-holdfast-event': notification.event,
        'x-holdfast-id': notification.id,
        'x-holdfast-timestamp': timestamp,
        ...config.headers,
      };
      if (config.secret !== undefined) {
        const signature = createHmac('sha256', config.secret).update(`${timestamp}.${body}`).digest('hex');
        headers['x-holdfast-signature'] = `sha256=${signature}`;
      }
      return { url: config.url, method: config.method, headers, body };
    },
  });
}
