import { HoldfastError } from '../errors.js';
import { withMac } from './key-mac.js';
import { type KeyFile, maxSlots, type ScryptCost, scryptSlots, wrapKey } from './keys.js';
import type { AesKey } from './seal.js';

/** Changes of a key file's slots. Each returns the next revision; the repository key stays the same. */

const next = (file: KeyFile, key: AesKey, slots: KeyFile['slots']): KeyFile =>
  withMac({ ...file, revision: file.revision + 1, slots }, key);

/** @throws HoldfastError UsageInvalid when there is no room for another slot. */
export async function addSlot(
  file: KeyFile,
  key: AesKey,
  passphrase: string,
  options: { cost?: ScryptCost | undefined; label?: string | undefined } = {},
): Promise<KeyFile> {
  if (file.slots.length >= maxSlots) {
    throw new HoldfastError('UsageInvalid', `${file.job} has ${maxSlots} passphrases already`, {
      hint: '`holdfast key remove` makes room.',
    });
  }
  return next(file, key, [...file.slots, await wrapKey(key, passphrase, options)]);
}

/** @throws HoldfastError UsageInvalid for an unknown slot, and for the last one. */
export function removeSlot(file: KeyFile, key: AesKey, id: string): KeyFile {
  const rest = file.slots.filter((slot) => slot.id !== id);
  if (rest.length === file.slots.length) throw unknownSlot(file, id);
  if (rest.length === 0) {
    throw new HoldfastError(
      'UsageInvalid',
      `this is the last passphrase of ${file.job}: without it nothing could be read`,
      {
        hint: '`holdfast key change` replaces it.',
      },
    );
  }
  return next(file, key, rest);
}

/** Puts a new passphrase, a new cost, or both in a slot's place. */
export async function replaceSlot(
  file: KeyFile,
  key: AesKey,
  id: string,
  passphrase: string,
  options: { cost?: ScryptCost | undefined } = {},
): Promise<KeyFile> {
  const old = scryptSlots(file).find((slot) => slot.id === id);
  if (old === undefined) throw unknownSlot(file, id);
  const { N, r, p, label } = old;
  const slot = await wrapKey(key, passphrase, { cost: options.cost ?? { N, r, p }, label });
  return next(
    file,
    key,
    file.slots.map((one) => (one.id === id ? slot : one)),
  );
}

/**
 * The slot with this id, beginning of an id, or label.
 * @throws HoldfastError UsageInvalid when there is none, or more than one.
 */
export function findSlot(file: KeyFile, wanted: string): string {
  const slots = scryptSlots(file);
  const exact = slots.filter((slot) => slot.id === wanted || slot.label === wanted);
  const found = exact.length > 0 ? exact : slots.filter((slot) => wanted.length >= 4 && slot.id.startsWith(wanted));
  if (found.length > 1) {
    throw new HoldfastError('UsageInvalid', `'${wanted}' names several passphrases of ${file.job}`, {
      hint: `Give the whole id: ${found.map((slot) => slot.id).join(', ')}.`,
    });
  }
  if (found[0] === undefined) throw unknownSlot(file, wanted);
  return found[0].id;
}

function unknownSlot(file: KeyFile, id: string): HoldfastError {
  return new HoldfastError('UsageInvalid', `${file.job} has no passphrase '${id}'`, {
    hint: '`holdfast key list` lists them.',
  });
}
