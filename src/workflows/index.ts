// Everything a worker's bundle holds.
export { backup } from './backup.js';
export { check } from './check.js';
export { deliver } from './deliver.js';
export { drill } from './drill.js';
export { prune } from './prune.js';
export { restore } from './restore.js';
