import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  finishStep,
  packsStep,
  planStep,
  type RestoreRepository,
  type RestoreStep,
  type TaskRunner,
} from '../../src/activities/restore-run.js';
import { type Answer, unpack } from '../../src/activities/threads/answer.js';
import { newChannel } from '../../src/activities/threads/progress.js';
import * as tasks from '../../src/activities/threads/tasks.js';
import type { RestoreDocument, RestoreInput } from '../../src/workflows/restore-types.js';
import type { TestRepository } from './make-repository.js';

type TaskName = keyof typeof tasks;

/** Runs tasks in place; what goes in and comes out is cloned as on the way to a thread. */
export const inlineTasks: TaskRunner = {
  run: async (name: TaskName, input: object) => {
    // The generic pairing of name and input is checked by the caller's types.
    const task = tasks[name] as (input: object) => Promise<Answer<unknown>>;
    return unpack(structuredClone(await task({ ...structuredClone(input), channel: newChannel() })));
  },
} as TaskRunner;

export interface InlineOptions {
  snapshot?: string;
  paths?: string[];
  overwrite?: RestoreInput['overwrite'];
  scratch?: string;
  repository?: Partial<RestoreRepository>;
  retry?: boolean;
  tasks?: TaskRunner;
}

/** Restores with the same steps as the workflow, one after the other. */
export async function restoreInline(
  from: TestRepository,
  target: string,
  options: InlineOptions = {},
): Promise<RestoreDocument> {
  const scratch = options.scratch ?? mkdtempSync(path.join(tmpdir(), 'holdfast-scratch-'));
  const repository: RestoreRepository = {
    catalog: from.catalog,
    stores: from.stores,
    key: from.key,
    warnings: [],
    ...options.repository,
  };
  const input: RestoreInput = {
    host: 'host',
    job: 'job',
    snapshot: options.snapshot ?? 'latest',
    paths: options.paths ?? [],
    target,
    overwrite: options.overwrite ?? 'never',
    sig: '',
  };
  const step: RestoreStep = {
    input,
    run: 'restore/host/job/1',
    scratch,
    tasks: options.tasks ?? inlineTasks,
    signal: new AbortController().signal,
  };
  try {
    const plan = await planStep(step, repository, false);
    for (let slice = 0; slice < plan.slices; slice++) {
      await packsStep({ ...step, slice }, repository, { retry: options.retry ?? false, patient: false });
    }
    return await finishStep(step, new Date().toISOString());
  } finally {
    if (options.scratch === undefined) rmSync(scratch, { recursive: true, force: true });
  }
}
