import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { type FolderContent, walkFolders } from '../../src/destinations/remote-walk.js';

const tree: Record<string, FolderContent<string>> = {
  '': { files: ['top'], folders: ['packs/', 'index/'] },
  'packs/': { files: [], folders: ['packs/ab/', 'packs/cd/'] },
  'packs/ab/': { files: ['a'], folders: [] },
  'packs/cd/': { files: ['c'], folders: [] },
  'index/': { files: ['i'], folders: [] },
  'stale/': { files: ['never named'], folders: ['stale/deeper/'] },
};

/** What the walk finds, and which folders were asked for at the same time. */
async function walk(prefix: string, expected: string[], atOnce = 64) {
  const rounds: string[][] = [];
  let round: string[] | undefined;
  const read = async (folder: string): Promise<FolderContent<string>> => {
    if (round === undefined) {
      round = [];
      rounds.push(round);
      setTimeout(() => (round = undefined));
    }
    round.push(folder);
    await sleep(20);
    const content = tree[folder];
    if (content === undefined) throw new Error(`${folder} is not there`);
    return content;
  };
  const found: string[] = [];
  for await (const file of walkFolders(prefix, read, atOnce, expected)) found.push(file);
  return { found: found.sort(), rounds: rounds.map((folders) => folders.sort()) };
}

describe('walkFolders', () => {
  it('takes a round for each level where it knows no folder', async () => {
    const { found, rounds } = await walk('', []);
    expect(found).toEqual(['a', 'c', 'i', 'top']);
    expect(rounds).toEqual([[''], ['index/', 'packs/'], ['packs/ab/', 'packs/cd/']]);
  });

  it('reads the folders it expects in one, each once', async () => {
    const { found, rounds } = await walk('', ['packs/', 'packs/ab/', 'packs/cd/', 'index/']);
    expect(found).toEqual(['a', 'c', 'i', 'top']);
    expect(rounds).toEqual([['', 'index/', 'packs/', 'packs/ab/', 'packs/cd/']]);
  });

  it('believes nothing of a folder that is not named above, nor that it cannot be read', async () => {
    for (const atOnce of [1, 2, 64]) {
      const { found } = await walk('', ['stale/', 'stale/deeper/', 'packs/ab/', 'gone/'], atOnce);
      expect(found).toEqual(['a', 'c', 'i', 'top']);
    }
  });

  it('keeps to the prefix', async () => {
    const { found, rounds } = await walk('packs/a', ['packs/ab/', 'packs/cd/', 'index/', 'packs/']);
    expect(found).toEqual(['a']);
    expect(rounds).toEqual([['packs/', 'packs/ab/']]);
  });

  it('fails with what a named folder failed with', async () => {
    tree['index/']?.folders.push('index/bad/');
    await expect(walk('', ['index/bad/'])).rejects.toThrow('index/bad/ is not there');
    await expect(walk('', [])).rejects.toThrow('index/bad/ is not there');
    tree['index/']?.folders.pop();
  });
});
