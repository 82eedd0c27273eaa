/** Paths under which dumps are stored, as manifests name them. */

/** Database names may hold anything; a folder's name may not. What would mislead a file system is percent-encoded. */
export function folderName(database: string): string {
  const encoded = Array.from(Buffer.from(database, 'utf8'), (byte) => {
    const char = String.fromCharCode(byte);
    return byte < 0x20 || byte >= 0x7f || /[%/\\:*?"<>|]/.test(char) ? escaped(byte) : char;
  }).join('');
  // Not hidden, not `..`, and no trailing dot or space, which Windows drops.
  return encoded.replace(/^\./, '%2E').replace(/[. ]$/, (char) => escaped(char.charCodeAt(0)));
}

const escaped = (byte: number): string => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;

/** The folder of one database's dump: `/.holdfast/SOURCE/DATABASE`. */
export function dumpPath(source: string, database: string): string {
  return `/.holdfast/${source}/${folderName(database)}`;
}

/** Within a dump's folder: what is known of it. */
export const reportName = 'report.json';
