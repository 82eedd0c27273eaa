import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Contender, Round } from './contender.js';
import { buildBig, buildSmall, changeOnePercent, measure, walk } from './data.js';
import { Holdfast } from './holdfast.js';
import type { Cost } from './measure.js';
import { peer } from './peers.js';
import { markdown, type Phase, type Result } from './report.js';

const usage = `npm run bench -- [options]
  --rounds N       rounds, the order alternating (3)
  --set SET        small | big | both (both), or DIR for a tree of your own
  --peers LIST     restic,kopia,borg or name=path, such as restic-new=/opt/restic; those on PATH when left out; none
  --no-holdfast    the peers alone
  --phases LIST    of first,unchanged,changed,restore (all; first always runs)
  --work DIR       data, repositories, restored trees (/tmp/bench)
  --out FILE       report, .md and .json are appended (.cache/bench-results)
  --keep           leave the last repositories behind`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    set: { type: 'string', default: 'both' },
    peers: { type: 'string' },
    'no-holdfast': { type: 'boolean', default: false },
    phases: { type: 'string', default: 'first,unchanged,changed,restore' },
    work: { type: 'string', default: '/tmp/bench' },
    out: { type: 'string', default: '.cache/bench-results' },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(usage);
  process.exit(0);
}

const rounds = Number(options.rounds);
const work = resolve(options.work);
const wanted = new Set(options.phases.split(','));
const results: Result[] = [];

function record(set: string, contender: string, phase: Phase, value: number): void {
  const found = results.find((one) => one.set === set && one.contender === contender && one.phase === phase);
  if (found !== undefined && phase === 'memory') found.values[0] = Math.max(found.values[0] ?? 0, value);
  else if (found !== undefined) found.values.push(value);
  else results.push({ set, contender, phase, values: [value] });
}

/** The data sets by name; missing ones are made. */
function dataSets(): Map<string, string> {
  const sets = new Map<string, string>();
  const builders = { small: buildSmall, big: buildBig };
  const names = options.set === 'both' ? ['small', 'big'] : [options.set];
  for (const name of names) {
    if (name !== 'small' && name !== 'big') {
      sets.set('own', resolve(name));
      continue;
    }
    const path = join(work, name);
    if (!existsSync(path)) {
      console.error(`making the ${name} data set in ${path}`);
      builders[name](path);
    }
    sets.set(name, path);
  }
  return sets;
}

function peers(): Contender[] {
  if (options.peers === 'none') return [];
  const named = options.peers?.split(',') ?? ['restic', 'kopia', 'borg'].filter(available);
  return named.map((text) => {
    const [name = '', path] = text.split('=');
    return peer(name, path);
  });
}

function available(name: string): boolean {
  if (process.env[name.toUpperCase()] !== undefined) return true;
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, name)));
}

function warmCache(path: string): void {
  for (const file of walk(path)) readFileSync(file.path);
}

const sync = (): void => void execFileSync('sync');
const remove = (path: string): void => rmSync(path, { recursive: true, force: true });

async function timed(contender: Contender, set: string, phase: Phase, action: () => Promise<Cost>): Promise<void> {
  const load = readFileSync('/proc/loadavg', 'utf8').split(' ')[0];
  const cost = await action();
  record(set, contender.name, phase, cost.seconds);
  record(set, contender.name, 'memory', cost.memory);
  console.error(
    `  ${set} ${phase} ${contender.name}: ${cost.seconds.toFixed(2)} s, ${(cost.memory / 1e6).toFixed(0)} MB (load ${load})`,
  );
}

async function restore(contender: Contender, round: Round): Promise<void> {
  const out = join(round.work, 'restored');
  mkdirSync(out, { recursive: true });
  sync();
  await timed(contender, round.set, 'restore', () => contender.restore(round, out));
  if (round.number === 1)
    execFileSync('diff', ['-rq', round.data, contender.restored(round, out)], { stdio: 'inherit' });
  remove(out);
  sync();
}

async function oneRound(contenders: Contender[], set: string, data: string, number: number): Promise<void> {
  // Every other round runs in the opposite order.
  const order = number % 2 === 1 ? contenders : [...contenders].reverse();
  const roundOf = (contender: Contender): Round => ({ set, number, data, work: folder(contender.name, set, number) });
  console.error(`${set}, round ${number} of ${rounds}`);
  warmCache(data);
  for (const contender of order) {
    const round = roundOf(contender);
    remove(round.work);
    mkdirSync(round.work, { recursive: true });
    await contender.init(round);
    sync();
    await timed(contender, set, 'first', () => contender.backup(round));
    record(set, contender.name, 'stored', measure(contender.repository(round)).bytes);
  }
  if (wanted.has('unchanged')) {
    for (const contender of order) await timed(contender, set, 'unchanged', () => contender.backup(roundOf(contender)));
  }
  if (wanted.has('restore')) for (const contender of order) await restore(contender, roundOf(contender));
  if (wanted.has('changed')) {
    const undo = changeOnePercent(data, number);
    try {
      for (const contender of order) await timed(contender, set, 'changed', () => contender.backup(roundOf(contender)));
    } finally {
      undo();
    }
  }
  if (!options.keep || number < rounds) for (const contender of order) remove(roundOf(contender).work);
}

const folder = (contender: string, set: string, number: number): string =>
  join(work, 'work', `${contender}-${set}-${number}`);

function holdfast(sets: Map<string, string>): Holdfast {
  const home = join(work, 'work', 'holdfast-home');
  remove(home);
  const all = [...sets].flatMap(([set, data]) =>
    Array.from(
      { length: rounds },
      (_, n): Round => ({ set, number: n + 1, data, work: folder('holdfast', set, n + 1) }),
    ),
  );
  return new Holdfast({ home, rounds: all });
}

async function main(): Promise<void> {
  const sets = dataSets();
  const own = options['no-holdfast'] ? undefined : holdfast(sets);
  const contenders = [...(own ? [own] : []), ...peers()];
  const head = ['# Benchmark', ''];
  head.push(
    `${new Date().toISOString().slice(0, 10)}, ${cpus().length} x ${cpus()[0]?.model.trim()}, ${(totalmem() / 1e9).toFixed(0)} GB, Node ${process.version}, ${rounds} rounds: median (range).`,
    '',
  );
  for (const contender of contenders) head.push(`- ${contender.name}: ${await contender.version()}`);
  for (const [set, data] of sets) {
    const { files, bytes } = measure(data);
    head.push(`- ${set}: ${files} files, ${(bytes / 1e6).toFixed(0)} MB`);
  }
  try {
    for (const [set, data] of sets) for (let n = 1; n <= rounds; n++) await oneRound(contenders, set, data, n);
  } finally {
    for (const contender of contenders) await contender.close();
    if (own)
      head.push(
        `- holdfast's peaks: worker ${(own.peak.worker / 1e6).toFixed(0)} MB, Temporal server ${(own.peak.server / 1e6).toFixed(0)} MB`,
      );
    const report = markdown(results, head);
    mkdirSync(join(options.out, '..'), { recursive: true });
    writeFileSync(`${options.out}.md`, report);
    writeFileSync(`${options.out}.json`, `${JSON.stringify({ head, results }, null, 2)}\n`);
    console.log(report);
    console.error(`written to ${options.out}.md and ${options.out}.json`);
  }
}

await main();
