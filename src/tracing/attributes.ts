import type { Attributes } from '@opentelemetry/api';
import { jobOfRun } from '../run-document.js';

/** What a workflow's id says of it: `backup/web-1/site/2026...`, `deliver/web-1/site/nas`, `watch/web-1`. */
export function attributesOfId(workflowId: string): Attributes {
  const [kind, host, job, rest] = workflowId.split('/');
  return {
    'holdfast.run': workflowId,
    ...(host === undefined ? {} : { 'holdfast.host': host }),
    ...(job === undefined ? {} : { 'holdfast.job': jobOfRun(workflowId) }),
    ...(kind === 'deliver' && rest !== undefined ? { 'holdfast.destination': rest } : {}),
  };
}

/** What an activity's argument says of its step. Nothing of it is a secret: inputs name, they never describe. */
export function attributesOfStep(argument: unknown): Attributes {
  const found: Attributes = {};
  if (typeof argument !== 'object' || argument === null) return found;
  for (const [member, attribute] of steps) {
    const value: unknown = Reflect.get(argument, member);
    if (typeof value === 'string' || typeof value === 'number') found[attribute] = value;
  }
  return found;
}

const steps: readonly (readonly [member: string, attribute: string])[] = [
  ['destination', 'holdfast.destination'],
  ['group', 'holdfast.group'],
  ['batch', 'holdfast.batch'],
  ['name', 'holdfast.notifier'],
];
