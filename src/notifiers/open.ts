import type { NotifyConfig } from '../config/schema.js';
import { discord, gotify, ntfy, pushover, slack, teams, telegram } from './chat.js';
import { Email } from './email.js';
import type { Notifier } from './notifier.js';
import { healthchecks, uptimekuma } from './ping.js';
import { webhook } from './webhook.js';

/** The notifier that a config with its secrets resolved describes. */
export function openNotifier(name: string, config: NotifyConfig): Notifier {
  switch (config.type) {
    case 'email':
      return new Email(name, config);
    case 'webhook':
      return webhook(name, config);
    case 'slack':
      return slack(name, config);
    case 'discord':
      return discord(name, config);
    case 'teams':
      return teams(name, config);
    case 'telegram':
      return telegram(name, config);
    case 'ntfy':
      return ntfy(name, config);
    case 'gotify':
      return gotify(name, config);
    case 'pushover':
      return pushover(name, config);
    case 'healthchecks':
      return healthchecks(name, config);
    case 'uptimekuma':
      return uptimekuma(name, config);
  }
}
