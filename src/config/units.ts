/** Durations ('1h30m'), sizes ('20GB') and rates ('10MB/s') as people write them. */

const durationUnits: readonly (readonly [string, number])[] = [
  ['y', 365 * 86_400_000],
  ['w', 7 * 86_400_000],
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];
const durationMs = new Map(durationUnits);

const sizeUnits: readonly (readonly [string, number])[] = [
  ['PiB', 2 ** 50],
  ['PB', 1e15],
  ['TiB', 2 ** 40],
  ['TB', 1e12],
  ['GiB', 2 ** 30],
  ['GB', 1e9],
  ['MiB', 2 ** 20],
  ['MB', 1e6],
  ['KiB', 1024],
  ['KB', 1000],
  ['B', 1],
];
// 'Mb' is left out on purpose: it means megabit to many.
const sizeBytes = new Map(
  sizeUnits.flatMap(([unit, bytes]) => [[unit, bytes] as const, [unit.toLowerCase(), bytes] as const]),
);
sizeBytes.set('kB', 1000);

/** Milliseconds of '5m', '1h30m', '1.5h', '500ms' (units y w d h m s ms, each at most once, largest first); undefined if it is none. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed.length > 64 || !/^(?:\d+(?:\.\d+)?(?:ms|[ywdhms])\s*)+$/.test(trimmed)) return undefined;
  let total = 0;
  let last = Number.POSITIVE_INFINITY;
  for (const [, amount, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|[ywdhms])/g)) {
    const each = durationMs.get(unit ?? '');
    if (each === undefined || each >= last) return undefined;
    last = each;
    total += Number(amount) * each;
  }
  const rounded = Math.round(total);
  return Number.isSafeInteger(rounded) ? rounded : undefined;
}

/** The shortest text that `parseDuration` reads as `ms`, a non-negative integer. */
export function formatDuration(ms: number): string {
  let left = ms;
  let text = '';
  for (const [unit, each] of durationUnits) {
    const count = Math.floor(left / each);
    if (count === 0) continue;
    text += `${count}${unit}`;
    left -= count * each;
  }
  return text === '' ? '0s' : text;
}

/** Bytes of '20GB' (10^9), '512MiB' (2^20), '100B' or a plain whole number; undefined if it is none. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,20}(?:\.\d{1,10})?)\s*([A-Za-z]{1,3})?$/.exec(text.trim());
  if (match === null) return undefined;
  const each = match[2] === undefined ? 1 : sizeBytes.get(match[2]);
  if (each === undefined) return undefined;
  const bytes = Math.round(Number(match[1]) * each);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The largest unit that divides `bytes` evenly: text that `parseSize` reads as the same number. */
export function formatSize(bytes: number): string {
  for (const [unit, each] of sizeUnits) if (bytes >= each && bytes % each === 0) return `${bytes / each}${unit}`;
  return `${bytes}B`;
}

/** Bytes per second of '10MB/s'; undefined if it is none. */
export function parseRate(text: string): number | undefined {
  const match = /^(.*[A-Za-z])\s*\/\s*s$/.exec(text.trim());
  return match?.[1] === undefined ? undefined : parseSize(match[1]);
}

/** Text that `parseRate` reads as the same bytes per second. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatSize(bytesPerSecond)}/s`;
}
