import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DestinationConfig } from '../../src/destinations/config.js';

/** A put in a process of its own, so that it can be killed. `dist` is a compiled src/. */
export function putInChild(
  dist: string,
  put: { name: string; config: DestinationConfig; state: string; key: string; file: string },
): ChildProcess {
  const script = join(dist, `put-${process.pid}.mjs`);
  writeFileSync(
    script,
    `import { openDestination } from './destinations/open.js';
    const { name, config, state, key, file } = JSON.parse(process.env.PUT);
    const destination = await openDestination(name, config, { state });
    await destination.put(key, { file });`,
  );
  return spawn(process.execPath, [script], { env: { ...process.env, PUT: JSON.stringify(put) }, stdio: 'inherit' });
}
