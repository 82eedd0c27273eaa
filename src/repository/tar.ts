const blockSize = 512;

// Everything but name, size and checksum is the same in every header.
const template = Buffer.alloc(blockSize);
template.write('0000600\0', 100, 'latin1');
template.write('0000000\0', 108, 'latin1');
template.write('0000000\0', 116, 'latin1');
template.write('00000000000\0', 136, 'latin1');
template.write('        ', 148, 'latin1');
template.write('0', 156, 'latin1');
template.write('ustar\u000000', 257, 'latin1');
const templateSum = template.reduce((sum, byte) => sum + byte, 0);

/** A POSIX ustar header for a regular file of `size` bytes; `name` at most 100 ASCII characters. */
export function writeTarHeader(target: Buffer, at: number, name: string, size: number): void {
  template.copy(target, at);
  target.write(name, at, 'latin1');
  const digits = size.toString(8).padStart(11, '0');
  target.write(digits, at + 124, 'latin1');
  let sum = templateSum;
  for (let i = 0; i < name.length; i++) sum += name.charCodeAt(i);
  for (let i = 0; i < digits.length; i++) sum += digits.charCodeAt(i);
  target.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
}

/** Bytes that a member of `size` bytes takes, its header included. */
export const tarMemberSize = (size: number): number => blockSize + Math.ceil(size / blockSize) * blockSize;
export const tarHeaderSize = blockSize;
export const tarEndSize = 2 * blockSize;
