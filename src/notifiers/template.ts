/** Templates of a webhook's body: `{{name}}` and `{{json name}}`, where a name may be a path such as `run.status`. */

const placeholder = /\{\{\s*(?:(json)\s+)?([A-Za-z0-9_.]+)\s*\}\}/g;

const members: ReadonlySet<string> = new Set([
  'version',
  'id',
  'event',
  'severity',
  'host',
  'job',
  'time',
  'subject',
  'next',
  'facts',
  'problems',
  'text',
  'run',
  'repeated',
  'missed',
  'digest',
]);

/** What is wrong with a template, in words; undefined if nothing is. */
export function templateProblem(template: string): string | undefined {
  for (const [, , name = ''] of template.matchAll(placeholder)) {
    const root = name.split('.', 1)[0] ?? '';
    if (!members.has(root)) return `there is no {{${root}}}; known: ${[...members].join(', ')}`;
  }
  const left = /\{\{.{0,30}/.exec(template.replace(placeholder, ''));
  return left === null
    ? undefined
    : `${JSON.stringify(left[0])} is not a placeholder; expected {{name}} or {{json name}}`;
}

/** The template with every placeholder filled in, escaped as its content type asks for. */
export function fillTemplate(template: string, document: object, contentType: string): string {
  const escaped = escapeFor(contentType);
  return template.replace(placeholder, (_, json: string | undefined, name: string) => {
    const value = name.split('.').reduce(memberOf, document);
    if (json !== undefined) return JSON.stringify(value ?? null);
    return escaped(typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value ?? ''));
  });
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;
}

function escapeFor(contentType: string): (text: string) => string {
  if (/json/i.test(contentType)) return (text) => JSON.stringify(text).slice(1, -1);
  if (/x-www-form-urlencoded/i.test(contentType)) return encodeURIComponent;
  if (/xml|html/i.test(contentType)) return escapeHtml;
  return (text) => text;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
