import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expandHome } from '../config/paths.js';
import { secretRegistry } from '../config/redact.js';
import { errnoOf, HoldfastError } from '../errors.js';

const maxSecret = 1024 * 1024;

/** Whether somebody can be asked. */
export const canAsk = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true;

/**
 * Asks for a secret on the terminal; what is typed is not shown.
 * @throws HoldfastError UsageInvalid where there is no terminal, for nothing typed; Cancelled for Ctrl-C.
 */
export async function askSecret(question: string): Promise<string> {
  const typed = await ask(question, false);
  secretRegistry.add(typed);
  return typed;
}

/** The same for what is no secret. */
export const askLine = (question: string): Promise<string> => ask(question, true);

/** Asks twice, for a new passphrase. */
export async function askNewSecret(what: string): Promise<string> {
  const first = await askSecret(`${what}: `);
  if ((await askSecret(`${what}, again: `)) === first) return first;
  throw new HoldfastError('UsageInvalid', 'the two are not the same; nothing was changed');
}

/**
 * A secret from a file, or from stdin for `-`, without the line ends at its end.
 * @throws HoldfastError SecretMissing.
 */
export function readSecret(file: string): string {
  const path = file === '-' ? 0 : resolve(expandHome(file));
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new HoldfastError('SecretMissing', `${file} can't be read (${errnoOf(error) ?? 'unknown error'})`);
  }
  const secret = bytes.toString('utf8').replace(/(?:\r?\n)+$/, '');
  if (secret === '' || bytes.length > maxSecret) {
    throw new HoldfastError('SecretMissing', `${file} is ${secret === '' ? 'empty' : 'larger than 1 MiB'}`);
  }
  secretRegistry.add(secret);
  return secret;
}

function ask(question: string, shown: boolean): Promise<string> {
  if (!canAsk()) {
    throw new HoldfastError('UsageInvalid', `there is no terminal to ask on: ${question.trim()}`, {
      hint: 'Give a file with --passphrase-file or --new-passphrase-file; - is standard input.',
    });
  }
  const { stdin, stderr } = process;
  // First: what is typed as soon as the question is there must not be shown.
  stdin.setRawMode(true);
  stderr.write(question);
  stdin.setEncoding('utf8');
  stdin.resume();
  return new Promise((done, fail) => {
    let typed = '';
    const end = (error?: HoldfastError): void => {
      stdin.off('data', onData);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write('\n');
      if (error) fail(error);
      else if (typed === '') fail(new HoldfastError('UsageInvalid', 'nothing was typed; nothing was changed'));
      else done(typed);
    };
    const onData = (text: string): void => {
      for (const character of text) {
        if (character === '\r' || character === '\n') {
          end();
          return;
        }
        if (character === '\u0003' || character === '\u0004') {
          end(new HoldfastError('Cancelled', 'cancelled'));
          return;
        }
        if (character === '\u007f' || character === '\b') {
          if (shown && typed !== '') stderr.write('\b \b');
          typed = [...typed].slice(0, -1).join('');
        } else if (character >= ' ') {
          typed += character;
          if (shown) stderr.write(character);
        }
      }
    };
    stdin.on('data', onData);
  });
}
