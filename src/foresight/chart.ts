/** One line of a chart: values over time, gaps as undefined. */
export interface Series {
  title: string;
  values: (number | undefined)[];
  /** A value as people read it. */
  show: (value: number) => string;
}

const bars = '▁▂▃▄▅▆▇█';

/** The series as bars of one character a value, the newest `width` ones, with the least, the greatest and the last value. */
export function terminalChart(series: readonly Series[], width: number): string {
  const titles = Math.max(...series.map(({ title }) => title.length));
  return series
    .map(({ title, values, show }) => {
      const shown = values.slice(-Math.max(1, width));
      const known = shown.filter((value) => value !== undefined);
      const head = title.padEnd(titles);
      if (known.length === 0) return `${head}  no figures`;
      const low = Math.min(...known);
      const high = Math.max(...known);
      const drawn = shown
        .map((value) => {
          if (value === undefined) return ' ';
          const height = high === low ? 3 : Math.round(((value - low) / (high - low)) * (bars.length - 1));
          return bars[height];
        })
        .join('');
      return `${head}  ${drawn}  ${show(low)} to ${show(high)}, last ${show(known.at(-1) ?? 0)}`;
    })
    .join('\n');
}

const panel = { width: 760, height: 158, left: 90, right: 84, top: 34, bottom: 30 };
const colours = { text: '#222222', label: '#666666', axis: '#bbbbbb', line: '#1f6feb', wrong: '#cf222e' };

/** A run of a chart. */
export interface Point {
  /** When it began, ISO 8601. */
  at: string;
  /** It failed or is partial. */
  wrong: boolean;
}

/** The series as one SVG document, a panel each, over the times of the runs; those that went wrong are marked. */
export function svgChart(title: string, runs: readonly Point[], series: readonly Series[]): string {
  const height = 40 + series.length * panel.height;
  const body = series.map((one, at) => svgPanel(one, runs, 40 + at * panel.height)).join('\n');
  const wrong = runs.some((run) => run.wrong);
  const right = panel.width - panel.right;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${panel.width}" height="${height}" viewBox="0 0 ${panel.width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    `<text x="${panel.left}" y="26" font-size="16" fill="${colours.text}">${escaped(title)}</text>`,
    wrong
      ? `<circle cx="${right - 118}" cy="22" r="3" fill="${colours.wrong}"/><text x="${right}" y="26" text-anchor="end" fill="${colours.label}">failed or partial</text>`
      : '',
    runs.length === 0 ? `<text x="${panel.left}" y="46" fill="${colours.label}">no runs yet</text>` : '',
    body,
    '</svg>',
    '',
  ].join('\n');
}

function svgPanel({ title, values, show }: Series, runs: readonly Point[], y: number): string {
  const known = values.filter((value) => value !== undefined);
  const low = Math.min(0, ...known);
  const high = Math.max(...known, low + 1e-9);
  const stamps = runs.map(({ at }) => Date.parse(at));
  const first = Math.min(...stamps);
  const span = Math.max(...stamps) - first || 1;
  const right = panel.width - panel.right;
  const x = (at: number): number => panel.left + (((stamps[at] ?? first) - first) / span) * (right - panel.left);
  const floor = y + panel.height - panel.bottom;
  const top = y + panel.top;
  const level = (value: number): number => floor - ((value - low) / (high - low)) * (floor - top);
  const points = values.flatMap((value, at) => (value === undefined ? [] : [[x(at), level(value), at] as const]));
  const line = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(' ');
  const text = (what: string, tx: number, ty: number, anchor: string): string =>
    `<text x="${tx}" y="${ty}" text-anchor="${anchor}" fill="${colours.label}">${escaped(what)}</text>`;
  const labels = [text(show(high), panel.left - 8, top + 4, 'end'), text(show(low), panel.left - 8, floor + 4, 'end')];
  const last = points.at(-1);
  if (last !== undefined && known.length > 1)
    labels.push(text(show(known.at(-1) ?? 0), right + 8, last[1] + 4, 'start'));
  const [from, to] = [runs[0]?.at, runs.at(-1)?.at].map((at) => at?.slice(0, 10));
  const dates = [
    ...(from === undefined ? [] : [text(from, panel.left, floor + 16, 'start')]),
    ...(to === undefined || to === from ? [] : [text(to, right, floor + 16, 'end')]),
  ];
  return [
    `<text x="${panel.left}" y="${y + 22}" fill="${colours.text}">${escaped(title)}</text>`,
    `<path d="M${panel.left} ${top}V${floor}H${right}" fill="none" stroke="${colours.axis}"/>`,
    ...(known.length > 0 ? labels : []),
    ...dates,
    `<polyline points="${line}" fill="none" stroke="${colours.line}" stroke-width="1.5"/>`,
    ...points.map(([px, py, at]) => {
      const [radius, colour] = runs[at]?.wrong === true ? [3, colours.wrong] : [2, colours.line];
      return `<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="${radius}" fill="${colour}"/>`;
    }),
  ].join('\n');
}

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign] ?? sign);
