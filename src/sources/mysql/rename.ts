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

const inLatin1 = (text: string): string => Buffer.from(quoteName(text)).toString('latin1');

/**
 * A view that names its own database would go on reading the old one. Its text is the server's own: all names stand in
 * backquotes. `line` is in Latin 1, one character per byte.
 */
export function viewRenamed(line: string, { from, to }: Renamed): string {
  const [old, its] = [inLatin1(from), inLatin1(to)];
  const tokens = line.match(/'(?:[^'\\]|\\.|'')*'|`(?:[^`]|``)*`|[^'`]+|['`]/gs) ?? [];
  const isName = (token: string | undefined): boolean => token?.startsWith('`') === true;
  // Where a table or an alias is called like the database, two parts may be a table and its column.
  const isAmbiguous = tokens.some(
    (token, at) => token === old && (tokens[at + 1] !== '.' || tokens[at - 1]?.endsWith('.')),
  );
  return tokens
    .map((token, at) => {
      const isFirst = token === old && tokens[at + 1] === '.' && tokens[at - 1]?.endsWith('.') !== true;
      const hasThree = isName(tokens[at + 2]) && tokens[at + 3] === '.' && isName(tokens[at + 4]);
      return isFirst && (hasThree || !isAmbiguous) ? its : token;
    })
    .join('');
}

/** Columns that take their default from a sequence name its database, too. `line` is in Latin 1, one character per byte. */
export function sequencesRenamed(line: string, { from, to }: Renamed): string {
  const call = /\b(nextval|lastval)\((`(?:[^`]|``)*`)\./gi;
  return line.replace(call, (all, function_: string, database: string) =>
    database === inLatin1(from) ? `${function_}(${inLatin1(to)}.` : all,
  );
}
