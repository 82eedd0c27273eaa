/** What people call a topic that they don't mean to be a secret. */
const everyday: ReadonlySet<string> = new Set(
  (
    'a all alarm alarms alert alerts and app archive backup backups channel cloud cron daily data database databases db dev ' +
    'disk email error errors event events failure failures files for general health holdfast home homelab host info it job jobs ' +
    'lab linux log logs mail main message messages monitor monitoring my mysql nas night nightly notice notification ' +
    'notifications notify ntfy office offsite ops our postgres prod production report reports restic restore server servers site ' +
    'staging status storage system team test tests the topic updates warning warnings web weekly work'
  ).split(' '),
);

/** More digits than these are no number of a machine. */
const mostDigits = 4;

/**
 * Whether whoever wants to read along would try this ntfy topic anyway: it is made of everyday words and of names that stand
 * in the config. Taking those out of every message would hide much and keep nothing secret.
 *
 * @param names of the host, of jobs, destinations and notifiers.
 */
export function isGuessable(topic: string, names: Iterable<string>): boolean {
  let rest = `-${topic.toLowerCase().replaceAll('_', '-')}-`;
  if (rest.replace(/\D/g, '').length > mostDigits) return false;
  const known = [...names].map((name) => name.toLowerCase().replaceAll('_', '-'));
  for (const name of known.sort((a, b) => b.length - a.length)) rest = rest.replaceAll(`-${name}-`, '--');
  return rest.split(/[-\d]+/).every((word) => word === '' || everyday.has(word));
}
