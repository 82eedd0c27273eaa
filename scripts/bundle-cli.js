// Bundles the command line into dist/run: reading a few files instead of a thousand halves the start-up time.
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const out = path.join(dist, 'run');

// Native code, and what only a worker or a destination loads, stays where it is; so do the modules of which there must be one.
const packages = [
  /^@temporalio\/(worker|testing|activity|workflow|core-bridge)/,
  /^@aws-/,
  /^@googleapis\//,
  /^google-auth-library$/,
  /^dropbox$/,
  /^ssh2$/,
  /^@zip\.js\//,
  /^basic-ftp$/,
  /^piscina$/,
  /^better-sqlite3$/,
  /^koffi$/,
  /^nodemailer$/,
  /^prom-client$/,
  /^@opentelemetry\//,
  /^@temporalio\/interceptors-opentelemetry-v2/,
  /^zstd-napi/,
  /^node:/,
];
const kept = [
  'worker/worker.js',
  'worker/private.js',
  'activities/',
  'repository/seal.js',
  'destinations/s3.js',
  'destinations/gdrive.js',
  'destinations/dropbox.js',
  'destinations/sftp.js',
  'destinations/ftp.js',
  'config/redact.js',
  'errors.js',
  'log-context.js',
].map((name) => path.join(dist, name));

await rm(out, { recursive: true, force: true });
const bundle = await rolldown({
  input: path.join(dist, 'cli/main.js'),
  platform: 'node',
  external: (id) => packages.some((name) => name.test(id)) || kept.some((file) => id.startsWith(file)),
});
await bundle.write({
  dir: out,
  format: 'esm',
  sourcemap: false,
  entryFileNames: '[name].js',
  chunkFileNames: '[name]-[hash].js',
});
await bundle.close();
