import { errnoOf } from '../errors.js';

const network =
  /^(ECONN|ENOTFOUND|EAI_|EHOST|ENET|ETIMEDOUT|EPIPE|EADDRNOTAVAIL|ERR_STREAM_PREMATURE_CLOSE|UND_ERR|HPE_)/;
const certificate = /^(CERT_|ERR_TLS_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/;
const deepest = 5;

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** `value[key]`, where that is text. */
export function textAt(value: unknown, key: string): string | undefined {
  const found = isRecord(value) ? value[key] : undefined;
  return typeof found === 'string' ? found : undefined;
}

/** One header of whatever a client keeps headers in. */
export function headerOf(headers: unknown, name: string): string | undefined {
  if (!isRecord(headers)) return undefined;
  const found: unknown = typeof headers.get === 'function' ? headers.get(name) : headers[name];
  return typeof found === 'string' ? found : undefined;
}

/** Why the line failed (`ECONNRESET`, ...), or undefined for an error of another kind. */
export function lineProblem(error: unknown): { code: string; kind: 'network' | 'certificate' } | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < deepest; at = at.cause, depth++) {
    const errno = errnoOf(at);
    if (errno !== undefined && certificate.test(errno)) return { code: errno, kind: 'certificate' };
    if (errno !== undefined && network.test(errno)) return { code: errno, kind: 'network' };
    if (at instanceof AggregateError && at.errors.length > 0) return lineProblem(at.errors[0]);
    if (
      /^(aborted|socket hang up|Premature close|terminated|fetch failed)$/i.test(at.message) &&
      at.cause === undefined
    )
      return { code: 'connection closed', kind: 'network' };
  }
  return undefined;
}

/** `Retry-After`, which is seconds or a date, as milliseconds from now. */
export function retryAfterMs(header: string | null | undefined): number | undefined {
  if (header === null || header === undefined) return undefined;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) && ms >= 0 ? ms : undefined;
}

/** A service's own words on one line, without the secrets. */
export function quote(text: string, secrets: readonly string[]): string {
  let clean = text;
  for (const secret of secrets) if (secret !== '') clean = clean.replaceAll(secret, '***');
  clean = clean.replace(/\s+/g, ' ').trim();
  return clean.length > 300 ? `${clean.slice(0, 300)}...` : clean;
}
