import { randomInt } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { errnoOf, HoldfastError } from '../errors.js';
import { userConfigFolder } from './paths.js';

export interface InitOptions {
  host: string;
  /** What to back up. Default: the home folder. */
  sourcePath?: string;
  /** Where to. Default: where the system mounts disks. */
  destinationPath?: string;
  /** Where the config and the passphrase file go. Default: the user's config folder. */
  configFolder?: string;
}

/** Where `holdfast init` puts the passphrase that goes with a config in `configFolder`. */
export function passphrasePath(configFolder = userConfigFolder()): string {
  return join(configFolder, 'passphrase');
}

function defaultDestination(): string {
  if (process.platform === 'darwin') return '/Volumes/Backup/holdfast';
  return process.platform === 'win32' ? 'D:\\Backup\\holdfast' : '/mnt/backup/holdfast';
}

/** The commented config that `holdfast init` writes. */
export function initConfig(options: InitOptions): string {
  // JSON's quoting is YAML's.
  const quoted = (text: string) => JSON.stringify(text);
  const passphrase = passphrasePath(options.configFolder);
  return `# Holdfast: what to back up, where to, when, and how long to keep it.
# \`holdfast config check\` checks this file, \`holdfast config schema\` lists every key.

# This machine's name in schedules and repositories. Keep it, or older backups belong to another host.
host: ${quoted(options.host)}

# Everything is encrypted here, before it leaves this machine. WITHOUT THE PASSPHRASE THERE IS NO RESTORE:
# keep a copy of it elsewhere, such as in a password manager or on paper.
# Other ways: \${env:NAME}, \${command:pass show holdfast}, \${credential:holdfast} (systemd).
encryption:
  passphrase: ${quoted(`\${file:${passphrase}}`)}

# Places that keep the backups. The more different they are, the better.
destinations:
  disk:
    type: local
    path: ${quoted(options.destinationPath ?? defaultDestination())}
    # An external drive that is not always there: it is caught up when it is plugged in.
    # presence: optional
    # Refuse to write unless a disk is mounted here.
    # mountPoint: /mnt/backup
  # offsite:
  #   type: s3
  #   bucket: my-backups
  #   region: eu-central-1
  #   accessKeyId: \${env:AWS_ACCESS_KEY_ID}
  #   secretAccessKey: \${env:AWS_SECRET_ACCESS_KEY}
  #   bandwidth: 10MB/s

# Who hears of failures; the log is always written.
# notify:
#   hook:
#     type: webhook
#     url: \${env:HOLDFAST_WEBHOOK}
#     on: [failure, warning, recovery]

jobs:
  files:
    sources:
      - type: files
        paths:
          - ${quoted(options.sourcePath ?? homedir())}
        # A name alone matches anywhere below, a trailing / only folders.
        exclude:
          - .cache/
          - node_modules/
          - "*.tmp"
        # Folders that hold one of these files are left out.
        excludeIfPresent: [.nobackup]
    destinations: [disk]
    # Every night at three. Or \`every: 6h\`. Without a schedule: by hand only.
    schedule: { cron: "0 3 * * *", jitter: 5m }
    # Left out, every snapshot is kept.
    retention: { keepLast: 3, keepDaily: 7, keepWeekly: 4, keepMonthly: 12 }
    # notify: [hook]
`;
}

// Crockford's base 32: no letters that look like digits.
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/** Seven groups of four characters: 140 random bits. */
export function newPassphrase(): string {
  return Array.from({ length: 7 }, () =>
    Array.from({ length: 4 }, () => alphabet[randomInt(alphabet.length)]).join(''),
  ).join('-');
}

/**
 * Creates a file (0600, its folder 0700) with a random passphrase, durable on return. An existing file is left alone.
 * @returns whether it was created.
 * @throws HoldfastError UsageInvalid if it cannot be written.
 */
export function writePassphrase(path: string): boolean {
  let handle: number;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unwritable(path, error);
  }
  try {
    handle = openSync(path, 'wx', 0o600);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw unwritable(path, error);
  }
  try {
    writeSync(handle, `${newPassphrase()}\n`);
    fsyncSync(handle);
  } catch (error) {
    unlinkSync(path);
    throw unwritable(path, error);
  } finally {
    closeSync(handle);
  }
  return true;
}

function unwritable(path: string, error: unknown): HoldfastError {
  return new HoldfastError(
    'UsageInvalid',
    `the passphrase file ${path} cannot be written (${errnoOf(error) ?? 'unknown error'})`,
    { file: path, cause: error },
  );
}
