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

const panel = { width: 760, height: 150, left: 90, right: 20, top: 34, bottom: 22 };

/** The series as one SVG document, a panel each, over the times of the runs. */
export function svgChart(title: string, times: readonly string[], series: readonly Series[]): string {
  const height = 40 + series.length * panel.height;
  const body = series.map((one, at) => svgPanel(one, times, 40 + at * panel.height)).join('\n');
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${panel.width}" height="${height}" viewBox="0 0 ${panel.width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    `<text x="${panel.left}" y="26" font-size="16" fill="#222222">${escaped(title)}</text>`,
    body,
    '</svg>',
    '',
  ].join('\n');
}

function svgPanel({ title, values, show }: Series, times: readonly string[], y: number): string {
  const known = values.filter((value) => value !== undefined);
  const low = Math.min(0, ...known);
  const high = Math.max(...known, low + 1e-9);
  const stamps = times.map((time) => Date.parse(time));
  const first = Math.min(...stamps);
  const span = Math.max(...stamps) - first || 1;
  const x = (at: number): number =>
    panel.left + (((stamps[at] ?? first) - first) / span) * (panel.width - panel.left - panel.right);
  const floor = y + panel.height - panel.bottom;
  const top = y + panel.top;
  const level = (value: number): number => floor - ((value - low) / (high - low)) * (floor - top);
  const points = values.flatMap((value, at) => (value === undefined ? [] : [[x(at), level(value)] as const]));
  const line = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(' ');
  const label = (value: number, at: number): string =>
    `<text x="${panel.left - 8}" y="${at + 4}" text-anchor="end" fill="#666666">${escaped(show(value))}</text>`;
  return [
    `<text x="${panel.left}" y="${y + 22}" fill="#222222">${escaped(title)}</text>`,
    `<path d="M${panel.left} ${top}V${floor}H${panel.width - panel.right}" fill="none" stroke="#bbbbbb"/>`,
    known.length > 0 ? `${label(high, top)}${label(low, floor)}` : '',
    `<polyline points="${line}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>`,
    ...points.map(([px, py]) => `<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="2" fill="#1f6feb"/>`),
  ].join('\n');
}

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign] ?? sign);
