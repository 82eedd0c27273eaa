import { rm } from 'node:fs/promises';
import type { Config, DestinationConfig } from '../config/schema.js';
import { resolveSecrets } from '../config/secrets.js';
import { accountOf } from '../destinations/account.js';
import { type LoginConfig, type LoginDialogue, type LoginWay, logIn, rememberAccount } from '../destinations/login.js';
import { TokenFile } from '../destinations/tokens.js';
import { HoldfastError } from '../errors.js';
import { findDestination } from './destinations.js';

export interface LoginResult {
  destination: string;
  type: LoginConfig['type'];
  /** Who is logged in now. */
  account: string;
}

/**
 * Logs in to a destination, named by its name or, where it is the only one, by its type.
 *
 * @throws HoldfastError `UsageInvalid`, `AuthDenied`, and what reaching the service may throw.
 */
export async function login(
  config: Pick<Config, 'destinations' | 'state'>,
  wanted: string,
  way: LoginWay,
  dialogue: LoginDialogue,
): Promise<LoginResult> {
  const name = nameOf(config, wanted);
  const destination = findDestination(config, name);
  if (!isLoginConfig(destination)) {
    throw new HoldfastError('UsageInvalid', `${name} is of the type ${destination.type}, which needs no login`);
  }
  const resolved = await resolveSecrets(destination, `destinations.${name}`);
  await logIn(name, resolved, config.state, way, dialogue);
  const account = (await accountOf(name, resolved, config.state)) ?? 'an unknown account';
  await rememberAccount(name, config.state, account);
  return { destination: name, type: destination.type, account };
}

/** Gives a login to another destination of the same place, unless that one has its own. */
export async function moveLogin(state: string, from: string, to: string): Promise<void> {
  const [old, own] = [new TokenFile(state, from), new TokenFile(state, to)];
  const stored = await old.read();
  if (stored === undefined || from === to || (await own.read()) !== undefined) return;
  await own.locked(() => own.write(stored));
  await rm(old.path, { force: true });
}

/** Whether it is a destination that people log in to. */
export function isLoginConfig(config: DestinationConfig): config is Extract<DestinationConfig, LoginConfig> {
  return config.type === 'gdrive' || config.type === 'dropbox';
}

function nameOf(config: Pick<Config, 'destinations'>, wanted: string): string {
  if (Object.hasOwn(config.destinations, wanted)) return wanted;
  const ofType = Object.entries(config.destinations).filter(([, { type }]) => type === wanted);
  const [only, ...others] = ofType.map(([name]) => name);
  if (only === undefined || others.length === 0) return only ?? wanted;
  throw new HoldfastError('UsageInvalid', `there are several destinations of the type ${wanted}`, {
    hint: `Name one of them: ${[only, ...others].join(', ')}.`,
  });
}
