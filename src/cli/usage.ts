import type { CommanderError } from 'commander';
import { HoldfastError } from '../errors.js';

/** Commander's complaint about a command line, as one of ours; its suggestion becomes the hint. */
export function usageError(error: CommanderError): HoldfastError {
  if (error.code === 'commander.help') {
    return new HoldfastError('UsageInvalid', 'a command is missing', { hint: 'The help above lists them.' });
  }
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = /^\((Did you mean .*)\)$/.exec(rest.join(' ').trim())?.[1];
  return new HoldfastError('UsageInvalid', first, {
    hint: suggestion ?? '`holdfast help COMMAND` explains a command.',
  });
}
