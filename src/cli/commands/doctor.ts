import type { Command } from 'commander';
import { secretRegistry } from '../../config/redact.js';
import type { Context } from '../context.js';
import { checksText } from '../print/checks.js';

export function register(command: Command, context: Context): void {
  command.addHelpText('after', '\nExit code 1 when a check fails; warnings leave it 0.').action(async () => {
    const loaded = await context.load();
    const { diagnose } = await import('../../control/doctor.js');
    const checks = (await diagnose(loaded)).map((check) => ({
      ...check,
      message: secretRegistry.redact(check.message),
    }));
    context.result({ checks }, () => checksText(checks));
    if (checks.some((check) => check.status === 'fail')) context.exit(1);
  });
}
