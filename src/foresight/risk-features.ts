import type { DestinationFigures, RunFigures } from './figures.js';

/** What is known before a run begins. */
export interface Outlook {
  /** The job's runs before it, newest first; one at least. */
  own: readonly RunFigures[];
  /** Runs of the host's other jobs before it, newest first. */
  others: readonly RunFigures[];
  /** When it begins, ms. */
  at: number;
  /** How often the host's runs go wrong, 0 to 1. */
  base: number;
}

export interface Feature {
  name: string;
  /** 0 where nothing speaks for or against a failure, about 1 where much does. */
  value(outlook: Outlook): number;
  /**
   * What is believed before anything was seen: runs that went wrong and runs that went well of which this alone was 1.
   * The more there are, the more runs it takes to believe otherwise.
   */
  believed: readonly [wrong: number, well: number];
  /** Why, in words, when it speaks for a failure. */
  reason(outlook: Outlook): string;
}

const day = 86_400_000;

/** The run failed, or left a destination out. */
export const wentWrong = (run: RunFigures): boolean =>
  run.status === 'failed' || run.destinations.some(({ state }) => state === 'missed' || state === 'failed');

/** Kinds of errors that stay until somebody does something about them. */
const lasting =
  /^(Auth|Secret|HostKey|Source(Missing|Failed)|Destination(Full|ReadOnly|Lost|Missing)|Repository|Passphrase|Config|Tool|Key|PrivateKey|Spool(Full)|ClockJumped)/;
const access = /^(Auth|Secret|HostKey)/;
const weekdayNames = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

const errorsOf = (run: RunFigures): string[] =>
  [run.error, ...run.destinations.map(({ error }) => error)].filter((code) => code !== undefined);
const isLasting = (run: RunFigures): boolean => wentWrong(run) && errorsOf(run).some((code) => lasting.test(code));
const isAccess = (run: RunFigures): boolean => wentWrong(run) && errorsOf(run).some((code) => access.test(code));

/** How often runs went wrong, the newer ones counting more; drawn to `base` as if that had been seen `weight` times. */
export function recentRate(runs: readonly RunFigures[], halfLife: number, base: number, weight: number): number {
  let wrong = base * weight;
  let all = weight;
  let part = 1;
  for (const run of runs) {
    if (wentWrong(run)) wrong += part;
    all += part;
    part *= 0.5 ** (1 / halfLife);
    if (part < 0.01) break;
  }
  return wrong / all;
}

export const logOdds = (probability: number): number => Math.log(probability / (1 - probability));

export const features: readonly Feature[] = [
  {
    name: 'last',
    value: ({ own }) => (own[0] && wentWrong(own[0]) ? 1 : 0),
    believed: [2, 1],
    reason: () => 'the last run went wrong',
  },
  {
    name: 'lasting',
    value: ({ own }) => (own[0] && isLasting(own[0]) ? 1 : 0),
    believed: [12, 2],
    reason: ({ own }) =>
      `the last failure (${errorsOf(own[0]!).find((code) => lasting.test(code))}) is of a kind that stays until somebody acts`,
  },
  {
    name: 'streak',
    value: ({ own }) => Math.min(1, Math.log2(Math.max(1, streakOf(own))) / 3),
    believed: [1, 1],
    reason: ({ own }) => `the last ${streakOf(own)} runs went wrong`,
  },
  {
    name: 'season',
    value: ({ own, base }) => (logOdds(recentRate(own, 40, base, 5)) - logOdds(base)) / 2,
    believed: [5, 1],
    reason: ({ own }) =>
      `${Math.round((100 * own.slice(0, 40).filter(wentWrong).length) / Math.min(40, own.length))} % of the last ${Math.min(40, own.length)} runs went wrong`,
  },
  {
    name: 'spell',
    value: ({ own, base }) => recentRate(own.slice(1), 3, base, 1) - base,
    believed: [2, 2],
    reason: ({ own }) => `${own.slice(0, 7).filter(wentWrong).length} of the last 7 runs went wrong`,
  },
  {
    name: 'retries',
    value: ({ own }) => Math.min(1, Math.log1p(misses(own.slice(0, 1))) / 2.5),
    believed: [8, 2],
    reason: ({ own }) => `${misses(own.slice(0, 1))} uploads of the last run had to be repeated`,
  },
  {
    name: 'retryTrend',
    value: ({ own }) => Math.min(1, Math.log1p(misses(own.slice(1, 4))) / 3.5),
    believed: [4, 2],
    reason: ({ own }) => `${misses(own.slice(0, 4))} uploads of the last 4 runs had to be repeated`,
  },
  {
    name: 'duration',
    value: ({ own }) => Math.max(-0.5, Math.min(1, Math.log2(ratio(own)))),
    believed: [4, 1],
    reason: ({ own }) => `the last run took ${ratio(own).toFixed(1)} times as long as usual`,
  },
  {
    name: 'space',
    value: ({ own }) => fullness(own),
    believed: [16, 2],
    reason: ({ own }) => spaceReason(own),
  },
  {
    name: 'neighbours',
    value: ({ own, others, base }) => {
      const seen = neighbours(own, others);
      return seen.length === 0 ? 0 : seen.filter(wentWrong).length / seen.length - base;
    },
    believed: [3, 1],
    reason: ({ own, others }) => {
      const seen = neighbours(own, others);
      return `${seen.filter(wentWrong).length} of ${seen.length} runs of this host’s other jobs went wrong since`;
    },
  },
  {
    name: 'weekday',
    value: (outlook) => (logOdds(weekdayRate(outlook)) - logOdds(recentRate(outlook.own, 1000, outlook.base, 5))) / 2,
    believed: [2, 2],
    reason: ({ at }) => `it goes wrong more often on a ${weekdayNames[new Date(at).getUTCDay()]}`,
  },
  {
    name: 'accessAge',
    value: (outlook) => {
      const { age, usual } = accessAge(outlook);
      return usual === undefined ? 0 : Math.max(0, Math.min(1, (age / usual - 0.75) / 0.25));
    },
    believed: [2, 1],
    reason: (outlook) => {
      const { age, usual } = accessAge(outlook);
      return `access was renewed ${Math.round(age)} days ago; it lasted ${Math.round(usual ?? 0)} days before`;
    },
  },
];

function streakOf(own: readonly RunFigures[]): number {
  const good = own.findIndex((run) => !wentWrong(run));
  return good === -1 ? own.length : good;
}

const misses = (runs: readonly RunFigures[]): number =>
  runs.reduce((sum, { destinations }) => sum + destinations.reduce((all, one) => all + one.misses, 0), 0);

/** The last run's duration by the usual one. */
function ratio(own: readonly RunFigures[]): number {
  const [last, ...rest] = own
    .slice(0, 21)
    .flatMap(({ durationMs }) => (durationMs === null || durationMs <= 0 ? [] : [durationMs]));
  const usual = middle(rest);
  return last === undefined || usual === undefined ? 1 : last / usual;
}

const middle = (values: readonly number[]): number | undefined =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** How full the destination is that is full first: 1 when no further run fits by what the last ones took, or by its size where that is not known. */
function fullness(own: readonly RunFigures[]): number {
  return Math.max(0, ...(own[0]?.destinations ?? []).map((destination) => fullnessOf(own, destination)));
}

function fullnessOf(own: readonly RunFigures[], { name, free, total }: DestinationFigures): number {
  if (free === undefined) return 0;
  const known = own.slice(0, 15).flatMap((run) => run.destinations.find((one) => one.name === name)?.free ?? []);
  const taken = known.slice(1).flatMap((before, at) => (before > known[at]! ? [before - known[at]!] : []));
  const usual = middle(taken);
  if (usual !== undefined) return 1 / (1 + free / usual);
  return total === undefined || total === 0 ? 0 : Math.max(0, (1 - free / total - 0.8) / 0.2);
}

function spaceReason(own: readonly RunFigures[]): string {
  const [fullest] = [...(own[0]?.destinations ?? [])].sort((a, b) => fullnessOf(own, b) - fullnessOf(own, a));
  const { name = '', free = 0, total = 0 } = fullest ?? {};
  return total === 0 ? `${name} has little space left` : `${name} is ${Math.round((1 - free / total) * 100)} % full`;
}

/** The newest run of each other job since the job's own last one began. */
function neighbours(own: readonly RunFigures[], others: readonly RunFigures[]): RunFigures[] {
  const since = own[0]?.at ?? '';
  const seen = new Map<string, RunFigures>();
  for (const run of others) {
    if (run.at < since) break;
    if (!seen.has(run.job)) seen.set(run.job, run);
  }
  return [...seen.values()];
}

const weekdays = new WeakMap<RunFigures, number>();
function weekdayOf(run: RunFigures): number {
  const known = weekdays.get(run) ?? new Date(run.at).getUTCDay();
  weekdays.set(run, known);
  return known;
}

function weekdayRate({ own, at, base }: Outlook): number {
  const weekday = new Date(at).getUTCDay();
  const same = own.filter((run) => weekdayOf(run) === weekday);
  const usual = recentRate(own, 1000, base, 5);
  return (same.filter(wentWrong).length + usual * 10) / (same.length + 10);
}

/** Days since access was last renewed, and how many it usually lasts: from failures of access, and where it is known the login. */
function accessAge({ own, at }: Outlook): { age: number; usual: number | undefined } {
  const lives: number[] = [];
  let began = Date.parse(own.at(-1)?.at ?? '');
  let denied = false;
  for (let index = own.length - 1; index >= 0; index--) {
    const run = own[index]!;
    if (!wentWrong(run) && !denied) continue;
    const start = Date.parse(run.at);
    if (isAccess(run)) {
      if (!denied && start > began) lives.push((start - began) / day);
      denied = true;
    } else if (denied && !wentWrong(run)) {
      denied = false;
      began = start;
    }
  }
  const logins = (own[0]?.destinations ?? []).flatMap(({ login }) => (login === undefined ? [] : [Date.parse(login)]));
  return {
    age: denied ? 0 : (at - (logins.length === 0 ? began : Math.max(began, Math.min(...logins)))) / day,
    usual: middle(lives),
  };
}
