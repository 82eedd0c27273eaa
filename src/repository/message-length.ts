/**
 * How long the message of the AWS Encryption SDK (version 2, framed, no signature) at the start of `data` is, bytes, by its own
 * length fields: the SDK decrypts a message and says nothing of what follows it.
 * @returns undefined when it ends early or is another kind of message.
 */
export function messageLength(data: Uint8Array): number | undefined {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  try {
    return endOfFrames(bytes, ...endOfHeader(bytes));
  } catch (error) {
    // Read beyond the end.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

const tagLength = 16;
const ivLength = 12;
const lastFrame = 0xffffffff;

function endOfHeader(bytes: Buffer): [at: number, frameLength: number] {
  // Version, algorithm suite, message id, then the encryption context.
  let at = 1 + 2 + 32;
  at += 2 + bytes.readUInt16BE(at);
  const keys = bytes.readUInt16BE(at);
  at += 2;
  // Each data key: provider, its information, the wrapped key.
  for (let field = 0; field < keys * 3; field++) at += 2 + bytes.readUInt16BE(at);
  const frameLength = bytes.readUInt32BE(at + 1);
  // Content type, frame length, commitment, the header's tag.
  return [at + 1 + 4 + 32 + tagLength, frameLength];
}

function endOfFrames(bytes: Buffer, start: number, frameLength: number): number | undefined {
  let at = start;
  while (bytes.readUInt32BE(at) !== lastFrame) at += 4 + ivLength + frameLength + tagLength;
  at += 4 + 4 + ivLength;
  const end = at + 4 + bytes.readUInt32BE(at) + tagLength;
  return end <= bytes.length ? end : undefined;
}
