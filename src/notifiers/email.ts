import { readFileSync } from 'node:fs';
import { secretRegistry } from '../config/redact.js';
import type { EmailConfig } from '../config/schema.js';
import { errnoOf, HoldfastError } from '../errors.js';
import type { Notification, Notifier, Severity } from './notifier.js';
import { escapeHtml } from './template.js';
import { cut } from './text.js';

const timeoutMs = 12_000;

/** E-mail over SMTP, as text and HTML. TLS is required, with a certificate that is valid for the host, unless the config says otherwise. */
export class Email implements Notifier {
  constructor(
    private readonly name: string,
    private readonly config: EmailConfig,
  ) {}

  async send(notification: Notification, signal: AbortSignal): Promise<void> {
    const { createTransport } = await import('nodemailer');
    const { from, to } = this.config;
    const transport = createTransport(this.options());
    let stop = (): void => undefined;
    // It has no way to be interrupted: what is left of it ends by its own time-outs.
    const stopped = new Promise<never>((_, reject) => {
      stop = () => reject(signal.reason);
    });
    signal.addEventListener('abort', stop, { once: true });
    try {
      signal.throwIfAborted();
      const sending = transport.sendMail({
        from,
        to,
        subject: `[holdfast] ${notification.subject}`,
        text: notification.text,
        html: htmlOf(notification),
        // The same for each attempt, so that mail programs can leave out what they know.
        messageId: `<${notification.id}@holdfast.invalid>`,
        headers: { 'auto-submitted': 'auto-generated', 'x-holdfast-event': notification.event },
        priority: notification.severity === 'error' ? 'high' : 'normal',
        disableFileAccess: true,
        disableUrlAccess: true,
      });
      sending.catch(() => undefined);
      const { accepted, rejected } = await Promise.race([sending, stopped]);
      if (rejected.length > 0) {
        throw new HoldfastError(
          'NotifyFailed',
          `the mail server of notifier ${this.name} refused ${rejected.length} of ${rejected.length + accepted.length} recipients`,
          { retryable: false, hint: `Check the addresses in notify.${this.name}.to.` },
        );
      }
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof HoldfastError ? error : this.failure(error);
    } finally {
      signal.removeEventListener('abort', stop);
      transport.close();
    }
  }

  private options() {
    const { smtp, startTls, caFile } = this.config;
    const url = new URL(smtp);
    const secure = url.protocol.toLowerCase() === 'smtps:';
    return {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
      secure,
      requireTLS: !secure && startTls === 'required',
      ignoreTLS: !secure && startTls === 'off',
      ...(url.username === ''
        ? {}
        : { auth: { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) } }),
      tls: { minVersion: 'TLSv1.2' as const, ...(caFile === undefined ? {} : { ca: this.authorities(caFile) }) },
      connectionTimeout: timeoutMs,
      greetingTimeout: timeoutMs,
      socketTimeout: timeoutMs,
      dnsTimeout: timeoutMs,
    };
  }

  private authorities(caFile: string): string {
    try {
      return readFileSync(caFile, 'utf8');
    } catch (error) {
      throw new HoldfastError('ConfigInvalid', `notify.${this.name}.caFile: ${caFile} cannot be read`, {
        cause: error,
      });
    }
  }

  private failure(error: unknown): HoldfastError {
    const { name } = this;
    const said = cut(secretRegistry.redact(error instanceof Error ? error.message : String(error)), 300);
    const reply = error instanceof Error && 'responseCode' in error ? Number(error.responseCode) : 0;
    const options = { cause: error, hint: `Check notify.${name}; \`holdfast notify test ${name}\` tries it.` };
    if (errnoOf(error) === 'EAUTH') {
      // 4xx is a server that is busy, not a wrong password.
      const retryable = reply >= 400 && reply < 500;
      return new HoldfastError(
        retryable ? 'NotifyFailed' : 'AuthDenied',
        `the mail server of notifier ${name} refused the login: ${said}`,
        {
          ...options,
          retryable,
        },
      );
    }
    if (/certificate|self[- ]signed|altnames|unable to verify/i.test(said)) {
      return new HoldfastError('NotifyFailed', `the mail server of notifier ${name} cannot prove who it is: ${said}`, {
        cause: error,
        retryable: false,
        hint: `If it has a certificate of your own authority, name that in notify.${name}.caFile.`,
      });
    }
    if (errnoOf(error) === 'ETLS') {
      return new HoldfastError('NotifyFailed', `the mail server of notifier ${name} offers no STARTTLS: ${said}`, {
        cause: error,
        retryable: false,
        hint: `Use smtps:// if it has that; \`startTls: optional\` in notify.${name} would send in the clear.`,
      });
    }
    // 5xx: the server will say the same again.
    return new HoldfastError('NotifyFailed', `the mail server of notifier ${name} does not take the message: ${said}`, {
      ...options,
      retryable: reply < 500,
    });
  }
}

const colours: Readonly<Record<Severity, string>> = { info: '#1a7f37', warning: '#9a6700', error: '#cf222e' };

/** What to do stands first; nothing is loaded from anywhere. */
export function htmlOf({ subject, next, facts, problems, severity }: Notification): string {
  const rows = facts
    .map(
      ({ name, value }) =>
        `<tr><td style="padding:2px 16px 2px 0;color:#57606a;vertical-align:top">${escapeHtml(name)}</td><td>${escapeHtml(value)}</td></tr>`,
    )
    .join('');
  const list = problems.map((problem) => `<li style="margin:4px 0">${escapeHtml(problem)}</li>`).join('');
  return [
    '<!doctype html><html><body style="font-family:sans-serif;font-size:14px;line-height:1.4">',
    next === null ? '' : `<p><strong>What to do:</strong> ${escapeHtml(next)}</p>`,
    `<h2 style="font-size:16px;color:${colours[severity]}">${escapeHtml(subject)}</h2>`,
    list === '' ? '' : `<ul style="font-family:monospace;padding-left:20px">${list}</ul>`,
    rows === '' ? '' : `<table style="border-collapse:collapse">${rows}</table>`,
    '</body></html>',
  ].join('\n');
}
