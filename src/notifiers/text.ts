/** How messages write times and long errors. */

/** `2026-11-22 03:00:05 UTC`: the reader may be elsewhere. */
export const utcTime = (iso: string): string => `${iso.slice(0, 19).replace('T', ' ')} UTC`;

/** One line of at most `length` characters: an error's beginning says what, its end often why; the middle goes. */
export function cut(text: string, length: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those must not reach a terminal or a header
  const line = text.replace(/[\s\u0000-\u001f\u007f]+/g, ' ').trim();
  if (line.length <= length) return line;
  const tail = Math.floor(length / 3);
  return wellFormed(`${line.slice(0, length - tail - 5)} ... ${line.slice(-tail)}`);
}

/** At most `length` characters of a text of many lines. */
export function cutText(text: string, length: number): string {
  return text.length <= length ? text : wellFormed(`${text.slice(0, length - 4)}\n...`);
}

/** At most `length` bytes of UTF-8. */
export function cutBytes(text: string, length: number): string {
  if (Buffer.byteLength(text) <= length) return text;
  // Half a character at the end is read as a replacement mark.
  const whole = Buffer.from(text)
    .subarray(0, length - 4)
    .toString('utf8');
  return `${whole.replace(/\ufffd+$/, '')}\n...`;
}

/** Names of files mean nothing in Markdown; code between backticks stays. */
export const plainMarkdown = (text: string): string =>
  text
    .split(/(`[^`\n]*`)/)
    .map((part, at) => (at % 2 === 1 ? part : part.replace(/[\\*_~|[\]]/g, '\\$&')))
    .join('');

/** Cutting can leave half a character. */
const wellFormed = (text: string): string => Buffer.from(text).toString('utf8');
