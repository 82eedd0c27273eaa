import { Catalog } from '../../repository/catalog.js';
import { ChunkFilter } from '../../repository/chunk-filter.js';

// Each keeps some megabytes of pages.
const maxOpen = 3;
const open = new Map<string, Catalog>();

/** This thread's connection to a catalog; kept open, since every task needs one. */
export function threadCatalog(file: string, filter?: SharedArrayBuffer): Catalog {
  let catalog = open.get(file);
  if (!catalog) {
    for (const [name, old] of open) {
      if (open.size < maxOpen) break;
      old.close();
      open.delete(name);
    }
    catalog = new Catalog(file);
    open.set(file, catalog);
  }
  if (filter && catalog.filter?.memory !== filter) catalog.filter = new ChunkFilter(filter);
  return catalog;
}

/** Closes this thread's connection to a catalog that goes away. */
export function closeThreadCatalog(file: string): void {
  open.get(file)?.close();
  open.delete(file);
}

/** Fills the filter from the catalog. Runs in a worker thread: a large catalog takes a second. */
export function filterTask(task: { catalog: string; filter: SharedArrayBuffer }): void {
  threadCatalog(task.catalog).fill(new ChunkFilter(task.filter));
}
