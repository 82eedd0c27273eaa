import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { hasParentSegment, tidyPath } from './paths.js';
import { parseReferences } from './references.js';
import { formatDuration, formatRate, formatSize, parseDuration, parseRate, parseSize } from './units.js';

/** The kinds of value the schema is made of. All of them can be encoded again, so that a config can be shown as it would be written. */

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** The message for a name that is not one. */
export const nameExpected =
  'expected a name: letters, digits, `.`, `_` and `-`, at most 64, the first a letter or digit';

/** A host's, job's, destination's or notifier's name. */
export const name = () =>
  z.string({ error: (issue) => expectedText(nameExpected, issue.input) }).regex(namePattern, { error: nameExpected });

/** A source's name: it is part of paths inside the repository, so never only dots. */
export const sourceName = () =>
  z
    .string()
    .max(64, { error: 'expected at most 64 characters' })
    .regex(/^(?!\.+$)[A-Za-z0-9._-]+$/, { error: 'expected letters, digits, `.`, `_` and `-`' });

/** Text as it stands; no references. */
export const plainText = () =>
  z.string().superRefine((value, context) => {
    if (value === '') context.addIssue('must not be empty');
    else if (value.includes('\0')) context.addIssue('must not hold a NUL');
  });

/** Text that may hold references such as `${env:NAME}`. */
export const text = () =>
  z.string().superRefine((value, context) => {
    const parsed = parseReferences(value);
    if (value.trim() === '') context.addIssue('must not be empty');
    else if ('problem' in parsed) context.addIssue(parsed.problem);
  });

/** Text that is secret: masked wherever a config is shown, hashed or recorded. `writeOnly` says so in the JSON Schema. */
export const secret = (description: string) => text().meta({ description, writeOnly: true });

/** An absolute path of this machine, `~` allowed. */
export const path = () =>
  z
    .string()
    .overwrite(tidyPath)
    .superRefine((value, context) => {
      const problem = pathProblem(value);
      if (problem !== undefined) context.addIssue(problem);
    });

function pathProblem(value: string): string | undefined {
  if (value.trim() === '') return 'expected an absolute path, found empty text';
  if (value.includes('\0')) return 'a path must not hold a NUL';
  if (/\$\{[a-z]+:/.test(value))
    return `references such as \${env:...} are not possible in paths; write the path itself`;
  if (hasParentSegment(value)) return `expected a path without \`..\`, found ${JSON.stringify(value)}`;
  if (!isAbsolute(value))
    return `expected an absolute path (/srv/www, ~/documents), found the relative ${JSON.stringify(value)}`;
  return undefined;
}

/** '1h30m', as milliseconds. `least` is the shortest allowed. */
export const duration = (least = 0) =>
  z
    .codec(
      z.string({ error: (issue) => expectedText('expected a duration such as 90s, 5m, 1h30m or 30d', issue.input) }),
      z.number(),
      {
        decode: (value, context) => {
          const ms = parseDuration(value);
          if (ms !== undefined) return ms;
          context.issues.push({
            code: 'custom',
            input: value,
            message: `expected a duration such as 90s, 5m, 1h30m or 30d, found ${JSON.stringify(value)}`,
          });
          return z.NEVER;
        },
        encode: formatDuration,
      },
    )
    .refine((ms) => ms >= least, { error: `expected at least ${formatDuration(least)}` });

/** '20GB', '512MiB' or a number of bytes, as bytes. */
export const size = () =>
  z.codec(z.union([z.string(), z.int().min(0)], { error: 'expected a size such as 20GB or 512MiB' }), z.number(), {
    decode: (value, context) => {
      const bytes = typeof value === 'number' ? value : parseSize(value);
      if (bytes !== undefined) return bytes;
      context.issues.push({
        code: 'custom',
        input: value,
        message: `expected a size such as 20GB or 512MiB, found ${JSON.stringify(value)}`,
      });
      return z.NEVER;
    },
    encode: formatSize,
  });

/** '10MB/s', as bytes per second. */
export const rate = () =>
  z
    .codec(z.string({ error: (issue) => expectedText('expected a rate such as 10MB/s', issue.input) }), z.number(), {
      decode: (value, context) => {
        const bytes = parseRate(value);
        if (bytes !== undefined) return bytes;
        context.issues.push({
          code: 'custom',
          input: value,
          message: `expected a rate such as 10MB/s, found ${JSON.stringify(value)}`,
        });
        return z.NEVER;
      },
      encode: formatRate,
    })
    .refine((bytes) => bytes >= 1, { error: 'expected more than 0B/s; leave `bandwidth` out for no limit' });

function expectedText(expected: string, input: unknown): string {
  const found = typeof input === 'number' || typeof input === 'boolean' ? String(input) : undefined;
  return found === undefined ? expected : `${expected}, found ${found}`;
}
