/** One number of one contender: every round's value, in seconds or bytes. */
export interface Result {
  set: string;
  contender: string;
  phase: Phase;
  values: number[];
}

export const phases = ['first', 'unchanged', 'changed', 'restore', 'stored', 'memory'] as const;
export type Phase = (typeof phases)[number];

/** The middle value, and how far the rounds lie apart. */
export function summary(values: number[]): { median: number; min: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
  return { median, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
}

const titles: Record<Phase, string> = {
  first: 'first backup, s',
  unchanged: 'unchanged again, s',
  changed: '1 % changed, s',
  restore: 'restore, s',
  stored: 'stored, MB',
  memory: 'peak memory, MB',
};

interface Target {
  set: string;
  phase: Phase;
  text: string;
  /** The ratio to reach, from Holdfast's median and the peers' by name. */
  ratio(own: number, peers: Map<string, number>): number | undefined;
  reached(ratio: number): boolean;
}

const fastest = (own: number, peers: Map<string, number>): number | undefined =>
  peers.size === 0 ? undefined : Math.min(...peers.values()) / own;
const best = (peers: Map<string, number>, prefix: string): number | undefined => {
  const values = [...peers].filter(([name]) => name.startsWith(prefix)).map(([, value]) => value);
  return values.length === 0 ? undefined : Math.min(...values);
};
const over = (peerValue: number | undefined, own: number): number | undefined =>
  peerValue === undefined ? undefined : peerValue / own;

const targets: Target[] = [
  {
    set: 'small',
    phase: 'first',
    text: 'at least 2.5 times as fast as the fastest peer',
    ratio: fastest,
    reached: (r) => r >= 2.5,
  },
  {
    set: 'big',
    phase: 'first',
    text: 'at least 1.3 times as fast as the fastest peer',
    ratio: fastest,
    reached: (r) => r >= 1.3,
  },
  {
    set: 'small',
    phase: 'restore',
    text: 'at least 2 times as fast as restic',
    ratio: (own, peers) => over(best(peers, 'restic'), own),
    reached: (r) => r >= 2,
  },
  {
    set: 'small',
    phase: 'unchanged',
    text: 'no slower than kopia',
    ratio: (own, peers) => over(best(peers, 'kopia'), own),
    reached: (r) => r >= 1,
  },
  {
    set: 'small',
    phase: 'stored',
    text: "at most 0.75 of restic's",
    ratio: (own, peers) => {
      const other = best(peers, 'restic');
      return other === undefined ? undefined : own / other;
    },
    reached: (r) => r <= 0.75,
  },
];

/** The results as Markdown: a table per data set (median, then the range), then each target and what was reached. */
export function markdown(results: Result[], head: string[]): string {
  const lines = [...head, ''];
  for (const set of unique(results.map((result) => result.set))) {
    const names = unique(results.filter((result) => result.set === set).map((result) => result.contender));
    lines.push(`## ${set}`, '', `| | ${names.join(' | ')} |`, `|---|${names.map(() => '---').join('|')}|`);
    for (const phase of phases) {
      const cells = names.map((name) => cell(results, set, phase, name));
      if (cells.some((text) => text !== '')) lines.push(`| ${titles[phase]} | ${cells.join(' | ')} |`);
    }
    lines.push('', ...ratios(results, set), '');
  }
  return lines.join('\n');
}

function cell(results: Result[], set: string, phase: Phase, name: string): string {
  const found = results.find((result) => result.set === set && result.phase === phase && result.contender === name);
  if (found === undefined || found.values.length === 0) return '';
  const { median, min, max } = summary(found.values);
  const inBytes = phase === 'stored' || phase === 'memory';
  const show = (value: number): string => (inBytes ? (value / 1e6).toFixed(0) : value.toFixed(2));
  return min === max ? show(median) : `**${show(median)}** (${show(min)}-${show(max)})`;
}

function ratios(results: Result[], set: string): string[] {
  const lines: string[] = [];
  for (const phase of phases) {
    const found = results.filter((result) => result.set === set && result.phase === phase);
    const own = found.find((result) => result.contender === 'holdfast');
    if (own === undefined) continue;
    const mine = summary(own.values).median;
    const peers = new Map(
      found.filter((result) => result !== own).map((result) => [result.contender, summary(result.values).median]),
    );
    const compared = [...peers].map(([name, value]) => `${(value / mine).toFixed(2)} ${name}`).join(', ');
    if (compared !== '') lines.push(`- ${titles[phase].split(',')[0]}: peer / holdfast = ${compared}`);
    for (const target of targets.filter((one) => one.set === set && one.phase === phase)) {
      const ratio = target.ratio(mine, peers);
      if (ratio !== undefined) {
        lines.push(
          `  - target: ${target.text}: **${ratio.toFixed(2)}**, ${target.reached(ratio) ? 'reached' : 'MISSED'}`,
        );
      }
    }
    if (phase === 'memory') {
      lines.push(
        `  - target: worker below 500 MB: **${(mine / 1e6).toFixed(0)} MB**, ${mine < 500e6 ? 'reached' : 'MISSED'}`,
      );
    }
  }
  return lines;
}

const unique = (values: string[]): string[] => [...new Set(values)];
