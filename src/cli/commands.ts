import type { Command } from 'commander';
import type { Context } from './context.js';

export interface CommandModule {
  /** Adds arguments, options, subcommands and the action. */
  register(command: Command, context: Context): void;
}

export interface CommandEntry {
  name: string;
  summary: string;
  load: () => Promise<CommandModule>;
}

/** Every command, in the order of the help. */
export const commands: readonly CommandEntry[] = [
  { name: 'init', summary: 'write a config and a passphrase to start from', load: () => import('./commands/init.js') },
  { name: 'up', summary: 'run the server, the worker and the schedules', load: () => import('./commands/up.js') },
  { name: 'worker', summary: 'run the worker alone', load: () => import('./commands/worker.js') },
  { name: 'doctor', summary: 'check every part and say what to do', load: () => import('./commands/doctor.js') },
  { name: 'config', summary: 'check, show or describe the config', load: () => import('./commands/config.js') },
  { name: 'backup', summary: 'back up jobs and follow the runs', load: () => import('./commands/backup.js') },
  { name: 'restore', summary: 'restore files from a snapshot', load: () => import('./commands/restore.js') },
  { name: 'export', summary: 'write a snapshot as a zip or tar file', load: () => import('./commands/export.js') },
  { name: 'snapshots', summary: 'list snapshots', load: () => import('./commands/snapshots.js') },
  { name: 'check', summary: 'check a repository, and repair it', load: () => import('./commands/check.js') },
  { name: 'drill', summary: 'try a restore, and see whether it is good', load: () => import('./commands/drill.js') },
  { name: 'drills', summary: 'list and show drills', load: () => import('./commands/drills.js') },
  { name: 'prune', summary: 'remove what retention does not keep', load: () => import('./commands/prune.js') },
  { name: 'ls', summary: 'list what a snapshot holds', load: () => import('./commands/ls.js') },
  { name: 'find', summary: 'find files in snapshots', load: () => import('./commands/find.js') },
  { name: 'diff', summary: 'compare two snapshots', load: () => import('./commands/diff.js') },
  { name: 'schedule', summary: 'apply, list and control schedules', load: () => import('./commands/schedule.js') },
  { name: 'runs', summary: 'list, follow and control runs', load: () => import('./commands/runs.js') },
  { name: 'stats', summary: 'draw runs over time, and what they foretell', load: () => import('./commands/stats.js') },
  {
    name: 'anomalies',
    summary: 'list and accept what was unusual',
    load: () => import('./commands/anomalies.js'),
  },
  {
    name: 'copy',
    summary: 'copy a repository from one destination to another',
    load: () => import('./commands/copy.js'),
  },
  {
    name: 'key',
    summary: 'list, add and change passphrases; recovery sheets',
    load: () => import('./commands/key.js'),
  },
  {
    name: 'recover',
    summary: 'rebuild a lost host’s config from its backups',
    load: () => import('./commands/recover.js'),
  },
  { name: 'logs', summary: 'show what the workers log', load: () => import('./commands/logs.js') },
  { name: 'notify', summary: 'list and test notifiers', load: () => import('./commands/notify.js') },
  { name: 'catalog', summary: 'rebuild the catalog of a job', load: () => import('./commands/catalog.js') },
  {
    name: 'destinations',
    summary: 'list, test, measure and adopt destinations',
    load: () => import('./commands/destinations.js'),
  },
  { name: 'login', summary: 'log in to Google Drive or Dropbox', load: () => import('./commands/login.js') },
  {
    name: 'completion',
    summary: 'print a completion script for a shell',
    load: () => import('./commands/completion.js'),
  },
];
