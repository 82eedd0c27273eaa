/** A search expression of the Drive API, as far as it is understood here: anything else is refused. */
export type Query =
  | { op: 'and' | 'or'; parts: Query[] }
  | { op: 'in'; value: string }
  | { op: 'name' | 'mimeType'; value: string }
  | { op: 'trashed'; value: boolean };

export interface Searched {
  name: string;
  mimeType: string;
  parents: string[];
  trashed: boolean;
}

const token = /\s*('(?:[^'\\]|\\['\\])*'|[()=]|\w+)/y;

/** undefined for what is no query. */
export function parseQuery(text: string): Query | undefined {
  const tokens: string[] = [];
  token.lastIndex = 0;
  while (token.lastIndex < text.length) {
    const found = token.exec(text);
    if (found?.[1] === undefined) return undefined;
    tokens.push(found[1]);
  }
  let at = 0;
  const take = (): string => tokens[at++] ?? '';
  const literal = (quoted: string): string => {
    if (!quoted.startsWith("'")) throw new SyntaxError(quoted);
    return quoted.slice(1, -1).replace(/\\(['\\])/g, '$1');
  };
  const expect = (...words: string[]): void => {
    for (const word of words) if (take() !== word) throw new SyntaxError(word);
  };
  const term = (): Query => {
    const first = take();
    if (first === '(') {
      const inner = expression();
      expect(')');
      return inner;
    }
    if (first.startsWith("'")) {
      expect('in', 'parents');
      return { op: 'in', value: literal(first) };
    }
    expect('=');
    if (first === 'name' || first === 'mimeType') return { op: first, value: literal(take()) };
    if (first !== 'trashed') throw new SyntaxError(first);
    const value = take();
    if (value !== 'true' && value !== 'false') throw new SyntaxError(value);
    return { op: 'trashed', value: value === 'true' };
  };
  const expression = (): Query => {
    const parts = [term()];
    const op = tokens[at];
    if (op !== 'and' && op !== 'or') return parts[0] ?? { op: 'and', parts };
    while (tokens[at] === op) {
      at += 1;
      parts.push(term());
    }
    return { op, parts };
  };
  try {
    const query = expression();
    return at === tokens.length ? query : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Names compare without regard to case, as the service does it. */
export function matches(query: Query, file: Searched, idOf: (id: string) => string): boolean {
  switch (query.op) {
    case 'and':
      return query.parts.every((part) => matches(part, file, idOf));
    case 'or':
      return query.parts.some((part) => matches(part, file, idOf));
    case 'in':
      return file.parents.includes(idOf(query.value));
    case 'name':
      return file.name.toLowerCase() === query.value.toLowerCase();
    case 'mimeType':
      return file.mimeType === query.value;
    case 'trashed':
      return file.trashed === query.value;
  }
}
