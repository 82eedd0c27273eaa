import type { NotifyConfig } from '../config/schema.js';
import { below, HttpNotifier, jsonPost } from './http.js';
import type { Notification, Severity } from './notifier.js';
import { cutBytes, cutText, plainMarkdown } from './text.js';

type Config<Type extends NotifyConfig['type']> = Extract<NotifyConfig, { type: Type }>;

const marks: Readonly<Record<Severity, string>> = { info: '✅', warning: '⚠️', error: '❌' };
const colours: Readonly<Record<Severity, number>> = { info: 0x2da44e, warning: 0xd29922, error: 0xcf222e };

/** The text without its subject, which these services show as a title. */
const bodyOf = ({ text, subject }: Notification): string =>
  text
    .replace(`${subject}\n`, '')
    .replace(/\n{3,}/g, '\n\n')
    .trim();

const titleOf = ({ severity, subject }: Notification): string => `${marks[severity]} ${subject}`;

/** https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks */
export function slack(name: string, { url }: Config<'slack'>): HttpNotifier {
  const plain = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return new HttpNotifier({
    name,
    request: (notification) =>
      jsonPost(url, {
        text: plain(titleOf(notification)),
        blocks: [
          { type: 'section', text: { type: 'mrkdwn', text: `*${cutText(plain(titleOf(notification)), 2900)}*` } },
          {
            type: 'section',
            text: { type: 'plain_text', text: cutText(bodyOf(notification) || notification.host, 2900) },
          },
        ],
      }),
  });
}

/** https://discord.com/developers/docs/resources/webhook#execute-webhook */
export function discord(name: string, { url }: Config<'discord'>): HttpNotifier {
  return new HttpNotifier({
    name,
    request: (notification) =>
      jsonPost(url, {
        username: 'Holdfast',
        embeds: [
          {
            title: cutText(plainMarkdown(notification.subject), 250),
            description: cutText(plainMarkdown(bodyOf(notification)), 4000),
            color: colours[notification.severity],
            timestamp: notification.time,
          },
        ],
        // A file may be called @everyone.
        allowed_mentions: { parse: [] },
      }),
  });
}

/** https://learn.microsoft.com/power-automate/teams/overview: an Adaptive Card. */
export function teams(name: string, { url }: Config<'teams'>): HttpNotifier {
  const colour: Readonly<Record<Severity, string>> = { info: 'good', warning: 'warning', error: 'attention' };
  return new HttpNotifier({
    name,
    request: (notification) =>
      jsonPost(url, {
        type: 'message',
        attachments: [
          {
            contentType: 'application/vnd.microsoft.card.adaptive',
            content: {
              $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
              type: 'AdaptiveCard',
              version: '1.4',
              body: [
                {
                  type: 'TextBlock',
                  text: notification.subject,
                  weight: 'bolder',
                  size: 'medium',
                  color: colour[notification.severity],
                  wrap: true,
                },
                ...(notification.next === null
                  ? []
                  : [{ type: 'TextBlock', text: `What to do: ${notification.next}`, wrap: true }]),
                ...notification.problems.map((text) => ({ type: 'TextBlock', text: `- ${text}`, wrap: true })),
                { type: 'FactSet', facts: factsFor(notification) },
              ],
            },
          },
        ],
      }),
  });
}

/** A message may have 28 kB; problems take a few of them. */
const mostFactBytes = 12_000;

function factsFor({ facts }: Notification): { title: string; value: string }[] {
  let left = mostFactBytes;
  const shown = facts.filter(({ name, value }) => {
    left -= Buffer.byteLength(JSON.stringify({ name, value }));
    return left > 0;
  });
  const more = facts.length - shown.length;
  return [
    ...shown.map(({ name: title, value }) => ({ title, value })),
    ...(more > 0 ? [{ title: '...', value: `and ${more} more` }] : []),
  ];
}

/** https://core.telegram.org/bots/api#sendmessage */
export function telegram(name: string, { server, token, chat }: Config<'telegram'>): HttpNotifier {
  return new HttpNotifier({
    name,
    request: (notification) =>
      jsonPost(below(server, `bot${token}/sendMessage`), {
        chat_id: chat,
        text: cutText(`${titleOf(notification)}\n\n${bodyOf(notification)}`, 4000),
        link_preview_options: { is_disabled: true },
      }),
    accepted: isOk('ok', true),
  });
}

/** https://docs.ntfy.sh/publish/#publish-as-json */
export function ntfy(name: string, { server, topic, token }: Config<'ntfy'>): HttpNotifier {
  const priority: Readonly<Record<Severity, number>> = { info: 3, warning: 4, error: 5 };
  const tag: Readonly<Record<Severity, string>> = { info: 'white_check_mark', warning: 'warning', error: 'x' };
  return new HttpNotifier({
    name,
    request: (notification) =>
      jsonPost(
        server,
        {
          topic,
          title: notification.subject,
          // Longer ones become an attachment, and it counts bytes.
          message: cutBytes(bodyOf(notification) || notification.host, 3500),
          priority: priority[notification.severity],
          tags: [tag[notification.severity]],
        },
        token === undefined ? {} : { authorization: `Bearer ${token}` },
      ),
  });
}

/** https://gotify.net/docs/pushmsg */
export function gotify(name: string, { server, token }: Config<'gotify'>): HttpNotifier {
  const priority: Readonly<Record<Severity, number>> = { info: 2, warning: 5, error: 8 };
  return new HttpNotifier({
    name,
    request: (notification) =>
      jsonPost(
        below(server, 'message'),
        {
          title: notification.subject,
          message: cutText(bodyOf(notification) || notification.host, 10_000),
          priority: priority[notification.severity],
        },
        { 'x-gotify-key': token },
      ),
  });
}

/** https://pushover.net/api */
export function pushover(name: string, { server, token, userKey }: Config<'pushover'>): HttpNotifier {
  const priority: Readonly<Record<Severity, number>> = { info: -1, warning: 0, error: 1 };
  return new HttpNotifier({
    name,
    request: (notification) =>
      jsonPost(below(server, '1/messages.json'), {
        token,
        user: userKey,
        title: cutText(notification.subject, 240),
        message: cutText(bodyOf(notification) || notification.host, 1000),
        priority: priority[notification.severity],
        timestamp: Math.floor(Date.parse(notification.time) / 1000),
      }),
    accepted: isOk('status', 1),
  });
}

/** Whether an answer is a JSON object whose `member` is `value`. */
export function isOk(member: string, value: unknown): (body: string) => boolean {
  return (body) => {
    try {
      const answer: unknown = JSON.parse(body);
      return typeof answer === 'object' && answer !== null && Reflect.get(answer, member) === value;
    } catch {
      return false;
    }
  };
}
