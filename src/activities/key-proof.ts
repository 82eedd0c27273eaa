import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { KeyFile } from '../repository/keys.js';
import { writeDurable } from './durable.js';

/** That somebody proved to hold what opens a repository: without it nobody knows, until the day it is needed. */
export interface KeyProof {
  repository: string;
  /** The slot that was opened. */
  slot: string;
  at: string;
}

const proofFile = (host: { state: string }, job: string): string => path.join(host.state, 'keys', `${job}.proof`);

/** The proof for this key file; undefined when there is none, or only for a slot that is gone. */
export function keyProof(host: { state: string }, file: KeyFile): KeyProof | undefined {
  let proof: Partial<KeyProof>;
  try {
    proof = JSON.parse(readFileSync(proofFile(host, file.job), 'utf8')) as Partial<KeyProof>;
  } catch {
    // None, or not a whole one: then somebody is asked again.
    return undefined;
  }
  const { repository, slot, at } = proof;
  if (repository !== file.repository || slot === undefined || at === undefined) return undefined;
  return file.slots.some(({ id }) => id === slot) ? { repository, slot, at } : undefined;
}

export function keepProof(host: { state: string }, job: string, proof: KeyProof): void {
  mkdirSync(path.dirname(proofFile(host, job)), { recursive: true, mode: 0o700 });
  writeDurable(proofFile(host, job), Buffer.from(`${JSON.stringify(proof)}\n`, 'utf8'));
}
