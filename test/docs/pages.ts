import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const root = resolve(import.meta.dirname, '../..');

export interface Block {
  language: string;
  text: string;
  line: number;
}

export interface Page {
  /** Below the project's folder. */
  name: string;
  text: string;
  blocks: Block[];
}

/** README, CHANGELOG and everything in docs/, with their fenced blocks. */
export function pages(): Page[] {
  const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
  return ['README.md', 'CHANGELOG.md', ...docs.sort().map((name) => `docs/${name}`)].map((name) => {
    const text = readFileSync(join(root, name), 'utf8');
    return { name, text, blocks: blocksOf(text) };
  });
}

function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  let open: Block | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    const fence = /^```(\S*)$/.exec(line);
    if (fence && open) {
      blocks.push(open);
      open = undefined;
    } else if (fence) open = { language: fence[1] ?? '', text: '', line: index + 2 };
    else if (open) open.text += `${line}\n`;
  }
  if (open) throw new Error(`a block that begins in line ${open.line} has no end`);
  return blocks;
}

/** A heading's anchor, as GitHub makes it. */
export const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-');
