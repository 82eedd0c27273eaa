/** One run in numbers: what is kept of every run, and what anomalies, forecasts and risks are worked out from. */
export interface RunFigures {
  run: string;
  job: string;
  /** When the run began, ISO 8601. */
  at: string;
  status: string;
  /** Milliseconds; null for a run that never ended. */
  durationMs: number | null;
  /** `full`, `differential`, `incremental`, or null when the run ended before that was known. */
  mode: string | null;
  files: number;
  newFiles: number;
  changedFiles: number;
  unreadable: number;
  /** Bytes. */
  sourceBytes: number;
  readBytes: number;
  newBytes: number;
  storedBytes: number;
  /** Every source that was read, with what it held. */
  sources: SourceFigures[];
  destinations: DestinationFigures[];
  /** The code of what failed it. */
  error?: string;
  /** Which sources the config named then: figures of other sources are not compared. */
  config?: string;
}

export interface SourceFigures {
  name: string;
  /** `files`, `postgres`, `mysql`, `sqlite`. */
  type: string;
  files: number;
  bytes: number;
}

export interface DestinationFigures {
  name: string;
  /** `stored`, `healed`, `missed`, `failed`. */
  state: string;
  /** Uploads that failed and were made good later. */
  misses: number;
  /** The code of why it took nothing. */
  error?: string;
  /** When somebody last logged in to it, ISO 8601, where it has a login. */
  login?: string;
  /** Bytes free and in all, where the destination says so. */
  free?: number;
  total?: number;
}

/** Share of the files that are new or changed, 0 to 1. */
export const changedShare = (run: RunFigures): number =>
  run.files === 0 ? 0 : (run.newFiles + run.changedFiles) / run.files;

/** Stored bytes by new bytes: near 1 is content that does not compress, as when it is encrypted. Undefined where little is new. */
export const compressedTo = (run: RunFigures): number | undefined =>
  run.newBytes < 65_536 ? undefined : run.storedBytes / run.newBytes;

/** Runs that read their sources and stored them. */
export const isGood = (run: RunFigures): boolean => run.status === 'succeeded' || run.status === 'partial';
