/** Share of the files that are new or changed, 0 to 1. */
export const changedShare = (run) => run.files === 0 ? 0 : (run.newFiles + run.changedFiles) / run.files;
/** Stored bytes by new bytes: near 1 is content that does not compress, as when it is encrypted. Undefined where little is new. */
export const compressedTo = (run) => run.newBytes < 65_536 ? undefined : run.storedBytes / run.newBytes;
/** Runs that read their sources and stored them. */
export const isGood = (run) => run.status === 'succeeded' || run.status === 'partial';
