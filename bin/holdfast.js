#!/usr/bin/env -S node --max-semi-space-size=4
import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const [majorVersion = 0, minorVersion = 0] = process.versions.node.split('.').map(Number);
// A worker loads the packages anyway: bundled, it would have half of them twice.
const bundle = process.argv.some((word) => word === 'up' || word === 'worker') ? 'cli' : 'run';
const entry = new URL(`../dist/${bundle}/main.js`, import.meta.url);

if (majorVersion < 20 || (majorVersion === 20 && minorVersion < 3)) {
  console.error(`holdfast needs Node.js 20.3 or later; this is ${process.versions.node} (${process.execPath}).`);
  process.exit(2);
}
if (!existsSync(entry)) {
  console.error(`holdfast is not built yet: ${fileURLToPath(entry)} is missing.`);
  console.error('Run "npm ci && npm run build" in its folder first.');
  process.exit(2);
}
// Node 22 and later keep compiled code between runs: commands start faster.
module.enableCompileCache?.();
await import(entry.href);
