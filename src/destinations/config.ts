/** A rate for a part of the day; times are `HH:MM`. The first of a list that fits counts. */
export interface BandwidthWindow {
  from?: string;
  to?: string;
  /** Bytes per second; none: no limit. */
  rate?: number;
}

/** What every destination may say. */
export interface CommonDestinationConfig {
  /** Bytes per second, or a table by time of day. */
  bandwidth?: number | BandwidthWindow[];
  /** Of the times in `bandwidth`; default: this machine's. */
  timezone?: string;
  /** false: nothing is ever deleted there. */
  deletes?: boolean;
}

/** A folder on this machine. Shapes only: the schema that checks a user's file lives in config/. */
export interface LocalDestinationConfig extends CommonDestinationConfig {
  type: 'local';
  path: string;
  /** `optional` marks a drive that comes and goes; it only changes the hints given. */
  presence?: 'required' | 'optional';
  /** A folder that has to be a mount point, so that an unmounted disk is never taken for an empty one. */
  mountPoint?: string;
}

/** A bucket. Secrets arrive resolved; without keys the SDK's default chain looks for credentials. */
export interface S3DestinationConfig extends CommonDestinationConfig {
  type: 's3';
  bucket: string;
  prefix?: string;
  region?: string;
  endpoint?: string;
  /** Default: true with an endpoint of one's own, else false. */
  forcePathStyle?: boolean;
  accessKeyId?: string;
  secretAccessKey?: string;
  sessionToken?: string;
  storageClass?: string;
  /** `AES256`, `aws:kms`, ... */
  sse?: string;
  sseKmsKeyId?: string;
  /** Locks what is stored with `retain`, from then on. */
  objectLock?: { mode: 'governance' | 'compliance'; days: number };
}

export type DestinationConfig = LocalDestinationConfig | S3DestinationConfig;
