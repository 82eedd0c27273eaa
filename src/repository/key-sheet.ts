import { createHash } from 'node:crypto';
import { HoldfastError } from '../errors.js';
import type { AesKey } from './seal.js';

// Crockford's base 32: no letters that look like digits.
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const lines = 4;
const bytesPerLine = 8;
const keyDigits = 13;
const checkDigits = 3;

/**
 * A repository's key as four lines for people to write down and type again. Each line is 8 bytes of the key (13 digits, base 32)
 * and 15 bits of checksum over the repository's id, the line's number and those bytes: a slip is found in its own line, and a
 * line of another repository's sheet is not taken.
 */
export function keyLines(key: AesKey): string[] {
  return Array.from({ length: lines }, (_, at) => {
    const part = Buffer.from(key.key).subarray(at * bytesPerLine, (at + 1) * bytesPerLine);
    const digits =
      encode(part.readBigUInt64BE(), keyDigits) + encode(checkOf(key.repository, at + 1, part), checkDigits);
    return digits.match(/.{4}/g)?.join('-') ?? '';
  });
}

/**
 * The key out of what somebody typed, or out of a whole recovery sheet.
 * @throws HoldfastError UsageInvalid naming the line that is wrong.
 */
export function parseKeyLines(text: string, repository: string): AesKey {
  const found = [...text.toUpperCase().matchAll(linePattern)].map(([, digits = '']) => digits.replace(/[-\s]/g, ''));
  if (found.length !== lines) {
    throw new HoldfastError(
      'UsageInvalid',
      `expected the ${lines} lines of a recovery sheet's key, found ${found.length}`,
      {
        hint: 'Each has four groups of four digits and letters.',
      },
    );
  }
  const key = Buffer.alloc(lines * bytesPerLine);
  for (const [at, digits] of found.entries()) {
    const value = decode(digits.slice(0, keyDigits));
    const part = key.subarray(at * bytesPerLine, (at + 1) * bytesPerLine);
    if (value < 1n << 64n) part.writeBigUInt64BE(value);
    if (value >= 1n << 64n || decode(digits.slice(keyDigits)) !== checkOf(repository, at + 1, part)) {
      throw new HoldfastError(
        'UsageInvalid',
        `line ${at + 1} of the key is not right: a slip, or another repository's sheet`,
        {
          hint: `It has to be the sheet of repository ${repository}.`,
        },
      );
    }
  }
  return { repository, key: new Uint8Array(key) };
}

const group = '[0-9A-HJKMNP-TV-ZOIL]{4}';
const linePattern = new RegExp(`^[ \\t]*(?:[1-4][.:)][ \\t]+)?(${group}(?:[- ]?${group}){3})[ \\t]*\\r?$`, 'gm');

function checkOf(repository: string, line: number, part: Uint8Array): bigint {
  const hash = createHash('sha256').update(`holdfast-1 ${repository} ${line} `, 'utf8').update(part).digest();
  return BigInt(hash.readUInt16BE() >> 1);
}

function encode(value: bigint, digits: number): string {
  let text = '';
  for (let at = 0; at < digits; at++) {
    text = `${alphabet[Number(value & 31n)]}${text}`;
    value >>= 5n;
  }
  return text;
}

function decode(digits: string): bigint {
  let value = 0n;
  for (const digit of digits.replaceAll('O', '0').replace(/[IL]/g, '1')) {
    value = (value << 5n) | BigInt(alphabet.indexOf(digit));
  }
  return value;
}

/** The recovery sheet of a repository, to be printed. */
export function recoverySheet(
  file: { repository: string; host: string; job: string; created: string },
  key: AesKey,
  places: readonly string[],
): string {
  const rows = keyLines(key).map((line, at) => `    ${at + 1}.  ${line}`);
  return `HOLDFAST RECOVERY SHEET

  job         ${file.job}
  host        ${file.host}
  repository  ${file.repository}
  made        ${file.created}
  kept at     ${places.join('\n              ')}

The key of the repository. WHO HAS THIS SHEET CAN READ THE BACKUPS, without any passphrase:
keep it where you keep a passport, away from the machine and from the backups.

${rows.join('\n')}

0 and O are the same, so are 1, I and L; small letters will do. The last three digits of a line are its check.

To restore on a new machine: install Holdfast, put these four lines into a file, and

    holdfast recover URL --sheet FILE --to DIR

where URL says where the backups are: file:///mnt/disk/backups or s3://bucket/prefix?region=eu-central-1.
To give the repository a new passphrase instead: holdfast key import ${file.job} --sheet FILE

Without Holdfast: README.txt beside the backups and docs/recovery.md tell how. The key is the 32 bytes that
the first 13 digits of each line give (Crockford's base 32, most significant digit first, 8 bytes a line).
`;
}
