import { type ErrorDetails, HoldfastError } from '../errors.js';

/** One thing wrong with a config. `line` and `column` count from 1; `key` looks like `jobs.site.sources[0].path`. */
export interface ConfigProblem {
  message: string;
  key?: string;
  line?: number;
  column?: number;
  hint?: string;
}

/** Something allowed but likely not meant, or dangerous. `path` is the key it is about. */
export interface ConfigWarning {
  code: string;
  message: string;
  path?: string;
}

/** Every problem of one config file; `file`, `line`, `key` and `hint` are the first one's. */
export class ConfigErrors extends HoldfastError {
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[], details: ErrorDetails = {}) {
    const first = problems[0];
    super('ConfigInvalid', problems.map((problem) => lineOf(file, problem)).join('\n'), {
      hint: first?.hint ?? '`holdfast config schema` prints every key with its description.',
      file,
      line: first?.line,
      key: first?.key,
      ...details,
    });
    this.name = 'ConfigErrors';
    this.problems = problems;
  }
}

function lineOf(file: string, { line, key, message }: ConfigProblem): string {
  return `${file}${line === undefined ? '' : `:${line}`}: ${key === undefined || key === '' ? '' : `${key}: `}${message}`;
}

/** `['jobs', 'site', 'sources', 0]` as `jobs.site.sources[0]`. */
export function keyOf(path: readonly PropertyKey[]): string {
  let key = '';
  for (const part of path) {
    if (typeof part === 'number') key += `[${part}]`;
    else if (/^[\w$-]+$/.test(String(part))) key += key === '' ? String(part) : `.${String(part)}`;
    else key += `[${JSON.stringify(String(part))}]`;
  }
  return key;
}
