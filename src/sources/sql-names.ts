/** An identifier as SQL has it: in double quotes, one in it doubled. */
export const quoted = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`;
