import type { z } from 'zod';
import { knownKeys, valueAt } from './json-schema.js';
import { nearest } from './nearest.js';
import { type ConfigProblem, keyOf } from './problems.js';

/** A problem and where in the data it is. */
export type Found = { path: readonly PropertyKey[]; message: string; hint?: string };
type Issue = z.core.$ZodIssue;

/** What zod found, in words for people: one problem per key. `root` is the data that was parsed. */
export function problemsOf(issues: readonly Issue[], root: unknown): Found[] {
  return issues.flatMap((issue) => explain(issue, issue.path, root));
}

function explain(issue: Issue, path: readonly PropertyKey[], root: unknown): Found[] {
  const value = path.reduce(valueAt, root);
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, path, root));
    case 'invalid_key':
      return [{ path, message: issue.issues[0]?.message ?? 'this name is not possible' }];
    case 'invalid_union':
      return issue.discriminator === undefined
        ? explainUnion(issue.errors, path, value, root)
        : [unknownType(issue, path, value)];
    case 'invalid_value':
      return [{ path, message: `expected ${listed(issue.values)}${foundWord(value)}${meant(value, issue.values)}` }];
    case 'invalid_type':
      if (!issue.message.startsWith('Invalid input')) return [{ path, message: issue.message + missing(value) }];
      return [
        { path, message: `expected ${typeName(issue.expected)}${found(value)}${quoteHint(issue.expected, value)}` },
      ];
    case 'too_small':
    case 'too_big':
      if (!/^Too (small|big)/.test(issue.message)) return [{ path, message: issue.message }];
      return [
        {
          path,
          message: `expected at ${issue.code === 'too_small' ? `least ${issue.minimum}` : `most ${issue.maximum}`}${found(value)}`,
        },
      ];
    default:
      return [{ path, message: issue.message }];
  }
}

function unknownKey(key: string, at: readonly PropertyKey[], root: unknown): Found {
  if (at.at(-1) === 'schedule' && (key === 'cron' || key === 'every')) {
    return { path: at, message: 'expected either `cron` or `every`, found both' };
  }
  const known = knownKeys(at, root);
  if (known.includes(key)) return { path: [...at, key], message: `'${key}' does not go with the other keys here` };
  const near = nearest(key, known);
  return {
    path: [...at, key],
    message: `unknown key '${key}'${near === undefined ? '' : `; did you mean '${near}'?`}`,
    hint: `Known here: ${known.join(', ')}.`,
  };
}

function unknownType(
  issue: Extract<Issue, { code: 'invalid_union' }>,
  path: readonly PropertyKey[],
  value: unknown,
): Found {
  const available = ('options' in issue && Array.isArray(issue.options) ? issue.options : []).map(String);
  const list = available.join(', ');
  if (typeof value !== 'string') return { path, message: `expected a type (${list})${found(value)}` };
  const near = nearest(value, available);
  return {
    path,
    message: `unknown type '${value}'; available: ${list}${near === undefined ? '' : `; did you mean '${near}'?`}`,
  };
}

function explainUnion(
  branches: readonly Issue[][],
  path: readonly PropertyKey[],
  value: unknown,
  root: unknown,
): Found[] {
  if (path.at(-1) === 'schedule') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return [{ path, message: `expected { cron: "0 3 * * *" } or { every: 6h }${found(value)}` }];
    }
    const cron = Object.hasOwn(value, 'cron');
    const every = Object.hasOwn(value, 'every');
    if (cron && every) return [{ path, message: 'expected either `cron` or `every`, found both' }];
    if (!cron && !every) {
      const unknown = Object.keys(value).filter((key) => !knownKeys(path, root).includes(key));
      return [...unknown.map((key) => unknownKey(key, path, root)), { path, message: 'expected `cron` or `every`' }];
    }
  }
  // The branch that fits best: only unrelated types fail with one issue at the top.
  const best =
    branches.findLast((issues) => !issues.some((issue) => issue.code === 'invalid_type' && issue.path.length === 0)) ??
    [];
  const chosen = path.at(-1) === 'schedule' ? (branches[valueAt(value, 'every') === undefined ? 0 : 1] ?? []) : best;
  if (chosen.length === 0) return [{ path, message: `expected true, false or a set of keys${found(value)}` }];
  return chosen.flatMap((issue) => explain(issue, [...path, ...issue.path], root));
}

function typeName(expected: string): string {
  switch (expected) {
    case 'string':
      return 'text';
    case 'boolean':
      return 'true or false';
    case 'array':
      return 'a list';
    case 'object':
    case 'record':
      return 'a set of keys';
    case 'int':
      return 'a whole number';
    default:
      return `a ${expected}`;
  }
}

function missing(value: unknown): string {
  return value === undefined ? ', found nothing' : '';
}

// Never the value of text: it could be a secret in the wrong place.
function found(value: unknown): string {
  if (value === undefined || value === null) return ', found nothing';
  if (Array.isArray(value)) return ', found a list';
  if (typeof value === 'object') return ', found a set of keys';
  return typeof value === 'string' ? ', found text' : `, found ${String(value)}`;
}

// Where one of a few words is expected, no secret strays.
function foundWord(value: unknown): string {
  return typeof value === 'string' ? `, found ${JSON.stringify(value.slice(0, 40))}` : found(value);
}

function meant(value: unknown, values: readonly unknown[]): string {
  const near = typeof value === 'string' ? nearest(value, values.map(String)) : undefined;
  return near === undefined ? '' : `; did you mean '${near}'?`;
}

function quoteHint(expected: string, value: unknown): string {
  return expected === 'string' && (typeof value === 'number' || typeof value === 'boolean') ? '; put it in quotes' : '';
}

function listed(values: readonly unknown[]): string {
  return values
    .map((value) => `'${String(value)}'`)
    .join(', ')
    .replace(/, ([^,]*)$/, ' or $1');
}

/** The same with a line, where `locate` knows it. */
export function withPosition(
  { path, message, hint }: Found,
  locate: (path: readonly PropertyKey[]) => { line: number; column: number } | undefined,
): ConfigProblem {
  const key = keyOf(path);
  return { message, ...(key === '' ? {} : { key }), ...locate(path), ...(hint === undefined ? {} : { hint }) };
}
