import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, HoldfastError } from '../errors.js';

/** The 0600 key in the state folder that signs workflow inputs, made at first use. */
export function inputKey(state: string): Buffer {
  const folder = path.join(state, 'keys');
  const file = path.join(folder, 'input.key');
  for (let attempt = 0; ; attempt++) {
    try {
      const key = Buffer.from(readFileSync(file, 'utf8').trim(), 'hex');
      if (key.length === 32) return key;
      throw new HoldfastError('Internal', `${file} is not a key`, {
        hint: `Remove ${file} and run 'holdfast schedule apply'.`,
      });
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || attempt > 0) throw error;
    }
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const temporary = `${file}.${process.pid}.tmp`;
    writeFileSync(temporary, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
    try {
      // A link never replaces the key another process made meanwhile.
      linkSync(temporary, file);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    } finally {
      rmSync(temporary, { force: true });
    }
  }
}

/** A stable text of plain data: object keys sorted, undefined left out. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`);
    return `{${members.join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}

/** Fields that change on the way through continue-as-new and are not signed. */
const unsigned = new Set(['sig', 'carried']);

/** HMAC-SHA-256, hex, over the workflow type and the input's fields. */
export function signInput(state: string, type: string, fields: object): string {
  const signed = Object.fromEntries(Object.entries(fields).filter(([name]) => !unsigned.has(name)));
  return createHmac('sha256', inputKey(state))
    .update(`${type}\n${canonical(signed)}`)
    .digest('hex');
}

/** @throws HoldfastError InputRefused when the input was not signed with this state folder's key. */
export function verifyInput(state: string, type: string, input: object & { sig?: unknown }): void {
  const expected = Buffer.from(signInput(state, type, input), 'hex');
  const actual = Buffer.from(typeof input.sig === 'string' ? input.sig : '', 'hex');
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected)) {
    throw new HoldfastError('InputRefused', `this ${type} was not started by Holdfast on this host`, {
      hint: "Start it with the holdfast command; for a schedule run 'holdfast schedule apply' on this host.",
    });
  }
}
