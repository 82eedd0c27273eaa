import { nearest } from './nearest.js';

/** What is wrong with a time zone's name, in words; undefined if nothing is. */
export function timezoneProblem(zone: string): string | undefined {
  // An offset is fine for Intl, but not for Temporal's server.
  if (/^[A-Za-z]/.test(zone)) {
    try {
      const { timeZone } = new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions();
      // Intl takes any case, the server does not.
      if (timeZone === zone || timeZone.toLowerCase() !== zone.toLowerCase()) return undefined;
    } catch {
      // Not a zone.
    }
  }
  const near = nearest(zone, Intl.supportedValuesOf('timeZone'));
  const found = JSON.stringify(zone.slice(0, 60));
  return `unknown time zone ${found}${near === undefined ? '; expected one such as Europe/Berlin or UTC' : `; did you mean ${near}?`}`;
}

/** This machine's time zone. */
export function machineTimezone(): string {
  const zone = new Intl.DateTimeFormat('en').resolvedOptions().timeZone;
  return timezoneProblem(zone) === undefined ? zone : 'UTC';
}
