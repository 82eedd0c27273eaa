/** What differs by operating system, in one place to import from. Everything degrades; `abilities()` tells how. */
export { type Abilities, type Ability, abilities } from './abilities.js';
export { type Accounts, accounts, readAccounts } from './accounts.js';
export { makeNode, type NodeType } from './nodes.js';
export { freeSpace } from './space.js';
export { dataSegments, type Segment } from './sparse.js';
export { setTimes, setTimesFd, type Times } from './times.js';
export { listXattrs, setXattr, type Xattr } from './xattrs.js';
