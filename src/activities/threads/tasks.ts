// The entry of every worker thread: one named export per task.
export { laneTask } from './lane-task.js';
export { mergeTask } from './merge-task.js';
export { sealTask } from './seal-task.js';
export { walkTask } from './walk-task.js';
