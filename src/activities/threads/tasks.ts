// The entry of every worker thread: one named export per task.
import { answering } from './answer.js';
import * as catalogs from './catalogs.js';
import * as lane from './lane-task.js';
import * as merge from './merge-task.js';
import * as repack from './repack-task.js';
import * as restore from './restore-task.js';
import * as seal from './seal-task.js';
import * as verify from './verify-task.js';
import * as walk from './walk-task.js';
import * as warm from './warm-task.js';

export const filterTask = answering(catalogs.filterTask);
export const laneTask = answering(lane.laneTask);
export const mergeTask = answering(merge.mergeTask);
export const repackTask = answering(repack.repackTask);
export const restoreDirsTask = answering(restore.restoreDirsTask);
export const restoreFinishTask = answering(restore.restoreFinishTask);
export const restoreLargeTask = answering(restore.restoreLargeTask);
export const restoreMakeTask = answering(restore.restoreMakeTask);
export const restoreNeedsTask = answering(restore.restoreNeedsTask);
export const restorePackTask = answering(restore.restorePackTask);
export const restorePlanTask = answering(restore.restorePlanTask);
export const sealTask = answering(seal.sealTask);
export const verifyTask = answering(verify.verifyTask);
export const walkTask = answering(walk.walkTask);
export const rehearseTask = answering(warm.rehearseTask);
export const warmTask = answering(warm.warmTask);
