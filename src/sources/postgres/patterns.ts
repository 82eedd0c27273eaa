/** Names as pg_dump's --exclude-table and --exclude-schema take them, as regular expressions of the server. */
export interface NamePattern {
  /** None: a table's schema is any that the search path finds it in. */
  schema?: string;
  name: string;
}

/**
 * What psql makes of a pattern: `*` and `?` stand for any characters and any one, a dot divides schema and name, letters
 * outside double quotes are lower case, all else outside them is a regular expression's but `$`, which is itself.
 */
export function parsePattern(pattern: string): NamePattern {
  const parts = [''];
  const add = (text: string): void => {
    parts[parts.length - 1] += text;
  };
  let quoted = false;
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at] ?? '';
    if (char === '"') {
      if (quoted && pattern[at + 1] === '"') {
        add('"');
        at++;
      } else quoted = !quoted;
    } else if (quoted) add(/[|*+?()[\]{}.^$\\]/.test(char) ? `\\${char}` : char);
    else if (char === '.') parts.push('');
    else if (char === '*') add('.*');
    else if (char === '?') add('.');
    else if (char === '$') add('\\$');
    else add(char.toLowerCase());
  }
  const whole = (text: string): string => `^(${text})$`;
  const name = whole(parts.at(-1) ?? '');
  const schema = parts.at(-2);
  return schema === undefined ? { name } : { schema: whole(schema), name };
}
