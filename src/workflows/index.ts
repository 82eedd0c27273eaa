// Everything a worker's bundle holds.
export { backup } from './backup.js';
export { copy } from './copy.js';
export { deliver } from './deliver.js';
export { restore } from './restore.js';
