import { keyOf } from './problems.js';
import { parseReferences } from './references.js';

/** What stands in place of a secret. */
export const mask = '***';

/** Every key the schema marks `writeOnly`; a test holds the two together. */
const sensitiveNames: ReadonlySet<string> = new Set([
  'passphrase',
  'password',
  'privateKey',
  'secretAccessKey',
  'accessKeyId',
  'sessionToken',
  'apiKey',
  'secret',
  'url',
  'privateKey',
  'password',
  'credentials',
  'appSecret',
  'refreshToken',
  'smtp',
  'token',
  'topic',
  'userKey',
]);

/** Whether the value at this path of a config (`['encryption', 'passphrase']`) is a secret. */
export function isSensitive(path: readonly PropertyKey[]): boolean {
  return sensitiveNames.has(String(path.at(-1))) || path.at(-2) === 'headers';
}

/** A string of a config, where it is, and how to replace it. */
export interface Leaf {
  path: readonly PropertyKey[];
  key: string;
  value: string;
  set(value: string): void;
}

/** Every string below `root`, which is plain data without cycles. */
export function* leaves(root: unknown, base: readonly PropertyKey[] = []): Generator<Leaf> {
  if (typeof root !== 'object' || root === null) return;
  for (const [name, value] of Object.entries(root)) {
    const path = [...base, Array.isArray(root) ? Number(name) : name];
    if (typeof value !== 'string') {
      yield* leaves(value, path);
      continue;
    }
    const leaf: Leaf = {
      path,
      key: keyOf(path),
      value,
      set(next) {
        leaf.value = next;
        Reflect.set(root, name, next);
      },
    };
    yield leaf;
  }
}

/** Whether `value` holds a mask in place of a secret. */
export function isMasked(value: string): boolean {
  const parsed = parseReferences(value);
  return 'pieces' in parsed ? parsed.pieces.includes(mask) : value === mask;
}

/** `value` with its literal pieces masked; references stay. */
export function maskLiterals(value: string): string {
  const parsed = parseReferences(value);
  if (!('pieces' in parsed)) return mask;
  return parsed.pieces.map((piece) => (typeof piece === 'string' ? mask : piece.text)).join('');
}

/** A copy with the literal values of secret keys masked; references stay as they are. */
export function secretless<T>(config: T): T {
  const copy = structuredClone(config);
  for (const leaf of leaves(copy)) if (isSensitive(leaf.path)) leaf.set(maskLiterals(leaf.value));
  return copy;
}

/** A copy of a secretless config with its masks replaced by what `live` says at the same keys, where it says something. */
export function unmask<T>(masked: T, live: unknown): T {
  const copy = structuredClone(masked);
  const values = new Map([...leaves(live)].map((leaf) => [leaf.key, leaf.value]));
  for (const leaf of leaves(copy)) {
    if (isSensitive(leaf.path) && isMasked(leaf.value)) leaf.set(values.get(leaf.key) ?? leaf.value);
  }
  return copy;
}
