import { parentPort, workerData } from 'node:worker_threads';
import { HoldfastError } from '../../errors.js';
import { copyDatabase, inspectDatabase } from './copy.js';
import type { Order, Said } from './in-thread.js';

const order = workerData as Order;
const say = (said: Said): void => parentPort?.postMessage(said);

try {
  const result =
    order.to === undefined
      ? { ...inspectDatabase(order.file), bytes: 0 }
      : await copyDatabase(order.file, order.to, (progress) => say({ progress }));
  say({ result });
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  const { code, message, hint, retryable } = error;
  say({ failure: { code, message, hint, retryable } });
}
