import type { Check } from '../../control/doctor.js';
import { printable } from './table.js';

const marks: Readonly<Record<Check['status'], string>> = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' };

export function checksText(checks: readonly Check[]): string {
  const width = Math.max(0, ...checks.map((check) => check.name.length));
  return checks
    .flatMap(({ name, status, message, hint }) => [
      `${marks[status]}  ${name.padEnd(width)}  ${printable(message)}`,
      ...(hint === undefined || status === 'ok' ? [] : [`${' '.repeat(width + 8)}hint: ${printable(hint)}`]),
    ])
    .join('\n');
}
