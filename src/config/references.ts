import { isAbsolute } from 'node:path';
import { nearest } from './nearest.js';
import { expandHome } from './paths.js';

/** Where a secret can come from: `${env:NAME}`, `${file:/path}`, `${command:pass show x}`, `${credential:x}`. */
export const referenceKinds = ['env', 'file', 'command', 'credential'] as const;
export type ReferenceKind = (typeof referenceKinds)[number];

export interface Reference {
  kind: ReferenceKind;
  target: string;
  /** As written, with `${` and `}`. */
  text: string;
}

/** A literal piece (`$${env:` unescaped to `${env:`) or a reference. */
export type Piece = string | Reference;

const opening = /\$?\$\{([a-z]+):/g;

/** Splits a value into literal pieces and references. A problem is a text for people; it never quotes the value. */
export function parseReferences(value: string): { pieces: Piece[] } | { problem: string } {
  const pieces: Piece[] = [];
  let literal = '';
  let done = 0;
  opening.lastIndex = 0;
  for (let match = opening.exec(value); match !== null; match = opening.exec(value)) {
    literal += value.slice(done, match.index);
    done = opening.lastIndex;
    if (match[0].startsWith('$$')) {
      literal += match[0].slice(1);
      continue;
    }
    const word = match[1] ?? '';
    const kind = referenceKinds.find((known) => known === word);
    if (kind === undefined) {
      const near = nearest(word, referenceKinds);
      const list = referenceKinds.map((known) => `\${${known}:...}`).join(', ');
      return {
        problem: `unknown reference \${${word}:...}${near === undefined ? '' : `; did you mean \${${near}:...}?`} (known: ${list}; write $\${ for a literal \${)`,
      };
    }
    const end = closingBrace(value, done);
    if (end === undefined) return { problem: `the reference \${${kind}:... has no closing }` };
    const target = value.slice(done, end);
    const problem = targetProblem(kind, target);
    if (problem !== undefined) return { problem };
    if (literal !== '') pieces.push(literal);
    literal = '';
    pieces.push({ kind, target, text: value.slice(match.index, end + 1) });
    done = end + 1;
    opening.lastIndex = done;
  }
  literal += value.slice(done);
  if (literal !== '' || pieces.length === 0) pieces.push(literal);
  return { pieces };
}

/** Whether `value` holds at least one well-formed reference. */
export function hasReference(value: string): boolean {
  const parsed = parseReferences(value);
  return 'pieces' in parsed && parsed.pieces.some((piece) => typeof piece !== 'string');
}

function closingBrace(value: string, from: number): number | undefined {
  // Braces nest, so that a command can say ${HOME}.
  let depth = 1;
  for (let at = from; at < value.length; at++) {
    if (value[at] === '{') depth++;
    else if (value[at] === '}' && --depth === 0) return at;
  }
  return undefined;
}

function targetProblem(kind: ReferenceKind, target: string): string | undefined {
  if (kind === 'env') {
    return /^[A-Za-z_][A-Za-z0-9_]*$/.test(target)
      ? undefined
      : `\${env:...} needs the name of an environment variable`;
  }
  if (kind === 'credential') {
    const good = /^[A-Za-z0-9._-]+$/.test(target) && target !== '.' && target !== '..';
    return good ? undefined : `\${credential:...} needs the name of a systemd credential`;
  }
  if (target.trim() === '' || target.includes('\0')) return `\${${kind}:...} is empty`;
  if (kind === 'file' && !isAbsolute(expandHome(target))) return `\${file:...} needs an absolute path`;
  return undefined;
}
