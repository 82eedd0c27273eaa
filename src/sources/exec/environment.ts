/**
 * What a child is told of this process's environment: what finds programs, homes, agents and containers. All else stays
 * here, because secrets such as the passphrase may be among it, and because PG* and MYSQL_* would change what tools do.
 */
const passedOn = new Set([
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SHELL',
  'TMPDIR',
  'TZ',
  'SSH_AUTH_SOCK',
  'XDG_RUNTIME_DIR',
  'XDG_CONFIG_HOME',
  'KUBECONFIG',
  'SYSTEMROOT',
  'WINDIR',
  'PATHEXT',
  'APPDATA',
  'LOCALAPPDATA',
  'USERPROFILE',
  'TEMP',
  'TMP',
]);
const passedOnFamilies = /^(DOCKER|CONTAINER|CONTAINERS)_[A-Z_]+$/;

/** The environment of a child: little of our own, messages in English, and `extra`. */
export function childEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    const upper = name.toUpperCase();
    if (value !== undefined && (passedOn.has(upper) || passedOnFamilies.test(upper))) env[name] = value;
  }
  return { ...env, LC_ALL: 'C', ...extra };
}
