import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { commands } from '../../src/cli/commands.js';
import { makeContext } from '../../src/cli/context.js';
import { parseConfig } from '../../src/config/load.js';
import { packageJson } from '../ops/files.js';
import { anchorOf, type Block, pages, root } from './pages.js';

const all = pages();

describe.each(all)('$name', ({ name, text, blocks }) => {
  test('marks every block with a language that is checked, or as text', () => {
    const unknown = blocks.filter(({ language }) => !['sh', 'yaml', 'json', 'text'].includes(language));
    expect(unknown.map(({ line }) => line)).toEqual([]);
  });

  test('links lead somewhere', () => {
    const broken: string[] = [];
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? name : relative(root, join(root, dirname(name), path));
      if (!existsSync(join(root, file))) broken.push(target);
      const page = all.find((one) => one.name === file);
      if (anchor === undefined || page === undefined) continue;
      const headings = [...page.text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading));
      if (!headings.includes(anchor)) broken.push(target);
    }
    expect(broken).toEqual([]);
  });

  test('its YAML is accepted as a config, without any warning but that nothing is encrypted', () => {
    for (const { text: yaml, line } of ofLanguage(blocks, 'yaml')) {
      const { warnings } = parseConfig(yaml, `${name}:${line}`);
      expect(warnings.filter(({ code }) => code !== 'Unencrypted')).toEqual([]);
    }
  });

  test('its JSON is JSON', () => {
    for (const { text: json, line } of ofLanguage(blocks, 'json')) {
      expect(() => JSON.parse(json), `line ${line}`).not.toThrow();
    }
  });

  test('npm scripts that it names exist', () => {
    for (const [, script = ''] of text.matchAll(/npm run ([\w:-]+)/g))
      expect(Object.keys(packageJson.scripts)).toContain(script);
  });
});

const ofLanguage = (blocks: Block[], language: string): Block[] =>
  blocks.filter((block) => block.language === language);

describe('docs/cli.md', () => {
  const text = all.find(({ name }) => name === 'docs/cli.md')?.text ?? '';
  const section = text.slice(text.indexOf('## Commands'), text.indexOf('## Documents'));

  test.each(commands.map(({ name }) => [name]))('%s: its subcommands and options are there', async (name) => {
    const entry = commands.find((command) => command.name === name);
    const command = new Command(name);
    (await entry?.load())?.register(command, makeContext({}, { exitCode: 0 }));
    const rows = section.split('\n').filter((line) => line.startsWith('| `') && new RegExp(`\`${name}\\b`).test(line));
    expect(rows.length, 'a row').toBeGreaterThan(0);
    const row = rows.join('\n');
    for (const one of [command, ...command.commands]) {
      if (one !== command) expect(row).toContain(one.name());
      for (const { long, short } of one.options) {
        const named =
          (long !== null && long !== undefined && row.includes(long)) ||
          (short !== null && short !== undefined && row.includes(short));
        expect(named, `${name} ${one.name()} ${long ?? short}`).toBe(true);
      }
    }
  });

  test('names no command that does not exist', () => {
    const named = [...section.matchAll(/^\| `([a-z]+)/gm)]
      .map(([, command = '']) => command)
      .filter((command) => command !== '');
    expect([...new Set(named)].sort()).toEqual(commands.map(({ name }) => name).sort());
  });
});
