import { HoldfastError } from '../../errors.js';
import { quoteName } from './sql.js';

/** The dump's database and the one it is restored into, where they differ. */
export interface Renamed {
  from: string;
  to: string;
}

const name = '(?:`(?:[^`]|``)*`|[\\w$\\x80-\\xff]+)';
const triggerHeader = new RegExp(
  `^([\\s\\S]{0,1000}?\\bTRIGGER\\s+(?:IF\\s+NOT\\s+EXISTS\\s+)?)(?:${name}\\s*\\.\\s*)?` +
    `(${name}\\s+(?:BEFORE|AFTER)\\s+(?:(?:INSERT|UPDATE|DELETE|OR|OF)\\s+)+?ON\\s+)(?:${name}\\s*\\.\\s*)?(?=${name})`,
  'i',
);

/** Whether a stored program of a dump is a trigger. */
export const isTrigger = (program: string): boolean =>
  /^(?:\s|\/\*!\d+|\*\/|CREATE|OR\s+REPLACE|DEFINER\s*=\s*\S+)*?\bTRIGGER\s/i.test(program);

/**
 * A trigger as its maker wrote it, `TRIGGER shop.t ... ON shop.orders`, would be made in the old database, whatever the
 * restore's is: names lose their database.
 * @throws HoldfastError RestoreFailed when its beginning can't be understood.
 */
export function inOwnDatabase(trigger: string): string {
  if (!triggerHeader.test(trigger)) {
    throw new HoldfastError(
      'RestoreFailed',
      `a trigger can’t be restored under another database’s name: ${trigger.slice(0, 200)}`,
      {
        hint: 'Restore under the old name, on another server if need be.',
      },
    );
  }
  return trigger.replace(triggerHeader, '$1$2');
}

/** Columns that take their default from a sequence name its database, too. `line` is in Latin 1, one character per byte. */
export function sequencesRenamed(line: string, { from, to }: Renamed): string {
  const call = /\b(nextval|lastval)\((`(?:[^`]|``)*`)\./gi;
  const bytes = (text: string): string => Buffer.from(quoteName(text)).toString('latin1');
  return line.replace(call, (all, function_: string, database: string) =>
    database === bytes(from) ? `${function_}(${bytes(to)}.` : all,
  );
}
