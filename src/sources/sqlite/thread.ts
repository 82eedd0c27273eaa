import { parentPort, workerData } from 'node:worker_threads';
import { HoldfastError } from '../../errors.js';
import { askDatabase } from './ask.js';
import { copyDatabase, inspectDatabase } from './copy.js';
import type { Order, Question, Said } from './in-thread.js';

const order = workerData as Order | Question;
const say = (said: Said): void => parentPort?.postMessage(said);

try {
  if ('sql' in order) say({ value: askDatabase(order.file, order.sql) });
  else if (order.to === undefined) say({ result: { ...inspectDatabase(order.file), bytes: 0 } });
  else say({ result: await copyDatabase(order.file, order.to, (progress) => say({ progress })) });
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  const { code, message, hint, retryable } = error;
  say({ failure: { code, message, hint, retryable } });
}
