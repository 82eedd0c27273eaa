import { HoldfastError } from '../errors.js';
import { deletionName, newObjectId } from '../repository/layout.js';
import type { Store } from '../repository/store.js';
import type { Warning } from '../workflows/types.js';

/** Unfinished uploads and temporary files older than this are nobody's any more. */
const sweptAfterMs = 7 * 86_400_000;

/** Deletes at one destination, as far as it lets us; what it does not is remembered and never fails the run. */
export class Removal {
  /** The destination's refusal; then nothing more is tried. */
  denied: string | undefined;
  private locked = 0;
  private until: Date | undefined;

  constructor(
    readonly store: Store,
    readonly signal: AbortSignal,
  ) {}

  /** Whether the object is locked against deletion for some more time. */
  async isLocked(name: string): Promise<boolean> {
    if (this.denied !== undefined) return false;
    const until = await this.store.destination.lockedUntil?.(this.store.key(name), this.signal);
    if (until === undefined) return false;
    this.locked++;
    if (this.until === undefined || until < this.until) this.until = until;
    return true;
  }

  /** @returns false when the credentials may not delete. */
  async delete(name: string): Promise<boolean> {
    if (this.denied !== undefined) return false;
    try {
      await this.store.destination.delete(this.store.key(name), this.signal);
      return true;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'AuthDenied') throw error;
      this.denied = error.message;
      return false;
    }
  }

  /** Whether anything may be deleted at all, found out by deleting an object that is not there. */
  async isAllowed(): Promise<boolean> {
    return this.delete(deletionName(newObjectId()));
  }

  /** Removes what uploads that never ended have left. */
  async sweep(): Promise<void> {
    try {
      await this.store.destination.sweep(this.store.prefix, sweptAfterMs, this.signal);
    } catch (error) {
      // The permission to list uploads is another one: it says nothing of deleting.
      if (!(error instanceof HoldfastError) || error.code !== 'AuthDenied') throw error;
    }
  }

  /** What to tell of it; nothing when all went well. */
  warnings(): Warning[] {
    const { name } = this.store;
    const warnings: Warning[] = [];
    if (this.denied !== undefined) {
      const message = `${name}: nothing was deleted, the credentials may not: ${this.denied}`;
      warnings.push({ code: 'PruneDenied', message });
    }
    if (this.until !== undefined) {
      const message = `${name}: ${this.locked} objects that could go are locked, the first until ${this.until.toISOString()}; later runs delete them`;
      warnings.push({ code: 'PruneLocked', message });
    }
    return warnings;
  }
}
