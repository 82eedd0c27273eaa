// Everything a worker's bundle holds.
export { backup } from './backup.js';
export { check } from './check.js';
export { copy } from './copy.js';
export { deliver } from './deliver.js';
export { prune } from './prune.js';
export { restore } from './restore.js';
export { watch } from './watch.js';
