import type { Catalog } from '../repository/catalog.js';

export const sealedKey = 'sealedDeletions';

/** Names of the deletion records that this host can't read and that were there when its generation began. */
export const sealedDeletions = (catalog: Catalog): string[] => JSON.parse(catalog.get(sealedKey) ?? '[]') as string[];
