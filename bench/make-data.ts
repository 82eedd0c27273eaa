import { parseArgs } from 'node:util';
import { buildBig, buildMany, buildSmall } from './data.js';

const usage = 'usage: npm run bench:data -- small|big|many DIR [--from DIR] [--bytes N] [--files N] [--max-file N]';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    from: { type: 'string' },
    bytes: { type: 'string' },
    files: { type: 'string' },
    'max-file': { type: 'string' },
  },
});

const builders = { small: buildSmall, big: buildBig, many: buildMany };
const [kind, dir] = positionals;
if (!dir || !(kind === 'small' || kind === 'big' || kind === 'many')) {
  console.error(usage);
  process.exit(2);
}
const number = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));
const made = builders[kind](dir, {
  from: values.from,
  bytes: number(values.bytes),
  files: number(values.files),
  maxFile: number(values['max-file']),
});
console.log(`${made.path}: ${made.files} files, ${(made.bytes / 1e6).toFixed(0)} MB`);
