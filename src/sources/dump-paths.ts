import { createHash } from 'node:crypto';

/** Paths under which dumps are stored, as manifests name them. */

/** What file systems take as one name, bytes. */
const longest = 255;
const headOfLong = 200;

/** Database names may hold anything; a folder's name may not. What would mislead a file system is percent-encoded. */
export function folderName(database: string): string {
  const encoded = Array.from(Buffer.from(database, 'utf8'), (byte) => {
    const char = String.fromCharCode(byte);
    return byte < 0x20 || byte >= 0x7f || /[%/\\:*?"<>|]/.test(char) ? escaped(byte) : char;
  }).join('');
  // Not hidden, not `..`, and no trailing dot or space, which Windows drops.
  const name = encoded.replace(/^\./, '%2E').replace(/[. ]$/, (char) => escaped(char.charCodeAt(0)));
  if (name.length <= longest) return name;
  // No encoded name holds `%~`.
  const hash = createHash('sha256').update(database).digest('hex').slice(0, 32);
  return `${name.slice(0, headOfLong).replace(/%[0-9A-F]?$/, '')}%~${hash}`;
}

const escaped = (byte: number): string => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;

/** The folder of one database's dump: `/.holdfast/SOURCE/DATABASE`. */
export function dumpPath(source: string, database: string): string {
  return `/.holdfast/${source}/${folderName(database)}`;
}

/** Whether a stored path is that of a dump of this source. */
export const isDumpPath = (source: string, path: string): boolean => path.startsWith(`/.holdfast/${source}/`);

/**
 * The database whose dump a stored path is; undefined for other paths, and where the name was too long for it. The reverse
 * of `dumpPath`.
 */
export function databaseAt(source: string, path: string): string | undefined {
  const prefix = `/.holdfast/${source}/`;
  if (!path.startsWith(prefix) || path.includes('%~')) return undefined;
  const bytes = path
    .slice(prefix.length)
    .replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** Within a dump's folder: what is known of it. */
export const reportName = 'report.json';
