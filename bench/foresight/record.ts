import { readFileSync } from 'node:fs';
import type { RunFigures } from '../../src/foresight/figures.js';

/**
 * Reads a record of runs: CSV with a heading, one run a line, in any order. Columns: `job`, `time` (ISO 8601), `outcome` (`ok`, or
 * anything else for a run that went wrong), and where they are known `host`, `durationMs`, `retries`, `error` (a code),
 * `free` and `total` (bytes at the destination). Values hold no commas.
 *
 * @returns the runs of each host, oldest first.
 */
export function readRecord(file: string): RunFigures[][] {
  const [heading = '', ...lines] = readFileSync(file, 'utf8').trim().split(/\r?\n/);
  const columns = heading.split(',');
  for (const needed of ['job', 'time', 'outcome'])
    if (!columns.includes(needed)) throw new Error(`${file}: no column ${needed}`);
  const hosts = new Map<string, RunFigures[]>();
  for (const [index, line] of lines.entries()) {
    const cells = line.split(',');
    const of = (name: string): string => cells[columns.indexOf(name)] ?? '';
    const time = new Date(of('time'));
    if (Number.isNaN(time.getTime())) throw new Error(`${file}:${index + 2}: ${of('time')} is no time`);
    const run = runOf(of, time.toISOString());
    hosts.set(of('host'), [...(hosts.get(of('host')) ?? []), run]);
  }
  return sorted(hosts);
}

function runOf(of: (column: string) => string, at: string): RunFigures {
  const ok = of('outcome') === 'ok';
  const number = (column: string): number | undefined => (of(column) === '' ? undefined : Number(of(column)));
  const [free, total] = [number('free'), number('total')];
  return {
    ...nothing,
    run: `${of('host')}/${of('job')}/${at}`,
    job: of('job'),
    at,
    status: ok ? 'succeeded' : 'failed',
    durationMs: number('durationMs') ?? null,
    destinations: [
      {
        name: 'destination',
        state: ok ? 'stored' : 'missed',
        misses: number('retries') ?? 0,
        ...(free === undefined ? {} : { free }),
        ...(total === undefined ? {} : { total }),
      },
    ],
    ...(of('error') === '' ? {} : { error: of('error') }),
  };
}

const nothing = {
  mode: 'incremental',
  files: 0,
  newFiles: 0,
  changedFiles: 0,
  unreadable: 0,
  sourceBytes: 0,
  readBytes: 0,
  newBytes: 0,
  storedBytes: 0,
  sources: [],
} as const satisfies Partial<RunFigures>;

const day = 86_400_000;
/** Nodes that failed less often teach and test nothing. */
const fewestFailures = 100;

/**
 * Reads the failure record that Los Alamos National Laboratory published of its clusters (LA-UR-05-7318, 1996 to 2005, CSV), as
 * daily runs: a node's run of a day went wrong when the node was down at some time of that day. A cluster is a host.
 */
export function readLanl(file: string): RunFigures[][] {
  const [heading = '', ...lines] = readFileSync(file, 'latin1').trim().split(/\r?\n/);
  const columns = heading.split(',').map((name) => name.trim());
  const causes = ['Facilities', 'Hardware', 'Human Error', 'Network', 'Undetermined', 'Software'];
  const nodes = new Map<string, { from: number; to: number; cause: string }[]>();
  for (const line of lines) {
    const cells = line.split(',');
    const of = (name: string): string => cells[columns.indexOf(name)]?.trim() ?? '';
    const [from, to] = [dayOf(of('Prob Started')), dayOf(of('Prob Fixed'))];
    if (Number.isNaN(from) || Number.isNaN(to) || to < from) continue;
    const node = `${of('System')}/${of('nodenumz')}`;
    const cause = causes.find((name) => of(name) !== '') ?? '';
    nodes.set(node, [...(nodes.get(node) ?? []), { from, to, cause }]);
  }
  const hosts = new Map<string, RunFigures[]>();
  for (const [node, outages] of nodes) {
    if (outages.length < fewestFailures) continue;
    const host = node.split('/')[0] ?? '';
    hosts.set(host, [...(hosts.get(host) ?? []), ...dailyRuns(node, outages)]);
  }
  return sorted(hosts);
}

function dailyRuns(job: string, outages: readonly { from: number; to: number; cause: string }[]): RunFigures[] {
  const first = Math.min(...outages.map(({ from }) => from));
  const last = Math.max(...outages.map(({ to }) => to));
  const down = new Map<number, string>();
  for (const { from, to, cause } of outages) for (let at = from; at <= to; at += day) down.set(at, cause);
  return Array.from({ length: (last - first) / day + 1 }, (_, index): RunFigures => {
    const start = first + index * day;
    const at = new Date(start).toISOString();
    const cause = down.get(start);
    return {
      ...nothing,
      run: `${job}/${at}`,
      job,
      at,
      status: cause === undefined ? 'succeeded' : 'failed',
      durationMs: null,
      destinations: [],
      ...(cause === undefined ? {} : { error: cause }),
    };
  });
}

/** The day of `6/21/2005 10:54`, ms. */
function dayOf(text: string): number {
  const [, month, date, year] = /^(\d+)\/(\d+)\/(\d{4})/.exec(text) ?? [];
  return Date.UTC(Number(year), Number(month) - 1, Number(date));
}

const sorted = (hosts: Map<string, RunFigures[]>): RunFigures[][] =>
  [...hosts.values()].map((runs) => runs.sort((a, b) => (a.at < b.at ? -1 : 1)));
