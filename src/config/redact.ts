import { leaves, mask } from './sensitive.js';

const shortest = 4;

/** `text` with every occurrence of a secret, and the user and password of every URL, replaced by `***`. */
export function redact(text: string, secrets: Iterable<string>): string {
  // Overlapping secrets are covered as one, so that no end of one is left standing.
  const covered: [from: number, to: number][] = [];
  for (const secret of secrets) {
    if (secret === '') continue;
    for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + 1))
      covered.push([at, at + secret.length]);
  }
  return withoutUserinfo(cover(text, covered));
}

function cover(text: string, covered: [from: number, to: number][]): string {
  let result = '';
  let done = 0;
  for (const [from, to] of covered.sort((a, b) => a[0] - b[0])) {
    if (from >= done) result += text.slice(done, from) + mask;
    done = Math.max(done, to);
  }
  return result + text.slice(done);
}

function withoutUserinfo(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]{0,31}:\/\/)[^\s/?#"'<>]{1,4096}@/gi, `$1${mask}@`);
}

/** Remembers every secret this process has resolved, so that errors and logs can be redacted by value. */
export class SecretRegistry {
  private readonly known = new Set<string>();
  /** Names that stand in the config: of the host, of jobs, destinations and notifiers. */
  openNames: readonly string[] = [];

  /** Remembers a secret in the forms it may turn up in. Shorter than four characters is no secret worth the damage. */
  add(secret: string): void {
    for (const form of forms(secret)) if (form.length >= shortest && !/^\*+$/.test(form)) this.known.add(form);
  }

  values(): Iterable<string> {
    return this.known.values();
  }

  redact(text: string): string {
    return redact(text, this.known);
  }

  clear(): void {
    this.known.clear();
  }
}

function* forms(secret: string): Generator<string> {
  yield* partsOf(secret);
  yield secret;
  yield JSON.stringify(secret).slice(1, -1);
  yield encodeURIComponent(Buffer.from(secret).toString('utf8'));
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(secret) || !URL.canParse(secret)) return;
  const url = new URL(secret);
  yield url.href;
  yield url.password;
  try {
    yield decodeURIComponent(url.password);
  } catch {
    // Not percent-encoded after all.
  }
  // Request errors name the path alone; a short one is no secret.
  const path = url.pathname + url.search;
  if (path.length < 12) return;
  yield path;
  // Nor does everybody begin it with its slash.
  yield path.slice(1);
}

/** What is secret of a secret of several parts: the tokens in JSON credentials, the lines of a key. */
function* partsOf(secret: string): Generator<string> {
  if (secret.includes('\n')) {
    for (const line of secret.split(/\r?\n/)) if (line.length >= 16 && !line.startsWith('-----')) yield line;
  }
  if (!secret.trimStart().startsWith('{')) return;
  try {
    for (const { path, value } of leaves(JSON.parse(secret)))
      if (/secret|token|key|pass/i.test(String(path.at(-1))) && !URL.canParse(value)) yield* forms(value);
  } catch {
    // It only looks like JSON.
  }
}

/** The process's own registry. */
export const secretRegistry = new SecretRegistry();
