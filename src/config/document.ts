import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from 'yaml';
import { type ConfigProblem, keyOf } from './problems.js';

/** Aliases are resolved by searching the whole document: a config with thousands of them is an attack or an accident. */
const maxAliases = 100;
/** The parser recurses and slows down out of proportion, so both are checked on the tokens before it sees them. */
const maxDepth = 64;
const maxTokens = 400_000;

/** A parsed YAML (or JSON, which is YAML) document that knows where everything is. */
export interface ConfigDocument {
  value: unknown;
  /** The line and column (from 1) of the value at `path`, or of the nearest thing around it that exists. */
  locate(path: readonly PropertyKey[]): { line: number; column: number } | undefined;
}

/** Parses `source`; every syntax error, duplicate key, unknown tag and suspicious alias is a problem. Never throws. */
export function parseConfigDocument(source: string): ConfigDocument | { problems: ConfigProblem[] } {
  try {
    const suspicious = suspicion(source);
    return suspicious === undefined ? parse(source) : { problems: [suspicious] };
  } catch (error) {
    const reason =
      error instanceof RangeError
        ? 'nested too deeply'
        : `cannot be parsed (${error instanceof Error ? firstLine(error.message) : 'unknown reason'})`;
    return { problems: [{ message: reason }] };
  }
}

function parse(source: string): ConfigDocument | { problems: ConfigProblem[] } {
  const lines = new LineCounter();
  const document = parseDocument(source, {
    lineCounter: lines,
    version: '1.2',
    schema: 'core',
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'error',
  });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(Math.min(offset, source.length));
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const problems: ConfigProblem[] = [...document.errors, ...document.warnings].map((error) => ({
    message: syntaxMessage(error.code, error.message),
    ...at(error.pos[0]),
  }));
  if (problems.length === 0) problems.push(...structureProblems(document, at));
  if (problems.length > 0) return { problems };
  return { value: document.toJS({ maxAliasCount: maxAliases }), locate: (path) => locate(document, path, at) };
}

function suspicion(source: string): ConfigProblem | undefined {
  let tokens = 0;
  let line = 1;
  let brackets = 0;
  let dashes = 0;
  let colons = 0;
  for (const token of new Lexer().lex(source)) {
    if (token === '[' || token === '{') brackets++;
    else if (token === ']' || token === '}') brackets--;
    else if (token === '-' || token === '?') dashes++;
    else if (token === ':') colons++;
    else if (token === ',') colons = 0;
    else if (token === '\n' || token === '\r\n') dashes = colons = 0;
    if (brackets + dashes + colons > maxDepth) return { message: `nested deeper than ${maxDepth} levels`, line };
    if (++tokens > maxTokens) return { message: 'far larger than any config' };
    for (let at = token.indexOf('\n'); at >= 0; at = token.indexOf('\n', at + 1)) line++;
  }
  return undefined;
}

function syntaxMessage(code: string, message: string): string {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'a tab is used for indentation; YAML wants spaces';
    case 'MULTIPLE_DOCS':
      return 'more than one YAML document (`---`) in the file';
    case 'BAD_INDENT':
      return `wrong indentation: ${firstLine(message)}`;
    case 'TAG_RESOLVE_FAILED':
      return `unknown tag: ${firstLine(message)}`;
    default:
      return `not valid YAML: ${firstLine(message)}`;
  }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]?.slice(0, 200) ?? '';
}

type At = (offset: number) => { line: number; column: number };

function structureProblems(document: Document.Parsed, at: At): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const aliases: { alias: Alias; ancestors: readonly unknown[] }[] = [];
  visit(document, {
    Map(_, map, ancestors) {
      const seen = new Map<string, number>();
      for (const pair of map.items) {
        const position = startOf(pair.key, at);
        if (!isScalar(pair.key) || pair.key.value === null) {
          problems.push({ message: 'a key must be plain text', ...position });
          continue;
        }
        const key = String(pair.key.value);
        const path = () => keyOf([...pathOf(ancestors, map), key]);
        const first = seen.get(key);
        if (first !== undefined)
          problems.push({ message: `duplicate key '${key}', already on line ${first}`, key: path(), ...position });
        else if (key in {}) problems.push({ message: `the key '${key}' is not possible`, key: path(), ...position });
        seen.set(key, position?.line ?? 0);
      }
    },
    Alias(_, alias, ancestors) {
      aliases.push({ alias, ancestors });
      return aliases.length > maxAliases ? visit.BREAK : undefined;
    },
  });
  if (aliases.length > maxAliases) {
    return [...problems, { message: `more than ${maxAliases} aliases`, ...startOf(aliases.at(-1)?.alias, at) }];
  }
  for (const { alias, ancestors } of aliases) {
    const target = alias.resolve(document);
    if (target === undefined) {
      problems.push({ message: `the alias *${alias.source} has no anchor before it`, ...startOf(alias, at) });
    } else if (ancestors.includes(target)) {
      problems.push({ message: `the alias *${alias.source} holds itself`, ...startOf(alias, at) });
    }
  }
  return problems;
}

function pathOf(ancestors: readonly (Document | Node | Pair)[], last: Node): PropertyKey[] {
  const path: PropertyKey[] = [];
  for (const [index, ancestor] of ancestors.entries()) {
    const child = ancestors[index + 1] ?? last;
    if ('key' in ancestor && isScalar(ancestor.key)) path.push(String(ancestor.key.value));
    else if (isSeq(ancestor)) path.push(ancestor.items.indexOf(child));
  }
  return path;
}

function startOf(node: unknown, at: At): { line: number; column: number } | undefined {
  if (typeof node !== 'object' || node === null || !('range' in node) || !Array.isArray(node.range)) return undefined;
  const start: unknown = node.range[0];
  return typeof start === 'number' ? at(start) : undefined;
}

function locate(
  document: Document.Parsed,
  path: readonly PropertyKey[],
  at: At,
): { line: number; column: number } | undefined {
  let node: unknown = document.contents;
  let position = startOf(node, at) ?? { line: 1, column: 1 };
  for (const part of path) {
    const collection = isAlias(node) ? node.resolve(document) : node;
    if (isMap(collection)) {
      const pair = collection.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
      if (pair === undefined) return position;
      position = startOf(pair.key, at) ?? position;
      node = pair.value;
      // A scalar's own line; a collection's is the line of its key.
      if (isScalar(node) && node.value !== null) position = startOf(node, at) ?? position;
    } else if (isSeq(collection)) {
      node = collection.items[Number(part)];
      if (node === undefined) return position;
      position = startOf(node, at) ?? position;
    } else {
      return position;
    }
  }
  return position;
}
