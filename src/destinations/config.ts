/** A folder on this machine. Shapes only: the schema that checks a user's file lives in config/. */
export interface LocalDestinationConfig {
  type: 'local';
  path: string;
  /** `optional` marks a drive that comes and goes; it only changes the hints given. */
  presence?: 'required' | 'optional';
  /** A folder that has to be a mount point, so that an unmounted disk is never taken for an empty one. */
  mountPoint?: string;
  /** Bytes per second. */
  bandwidth?: number;
}

/** A bucket. Secrets arrive resolved; without keys the SDK's default chain looks for credentials. */
export interface S3DestinationConfig {
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
  /** Bytes per second. */
  bandwidth?: number;
}

export type DestinationConfig = LocalDestinationConfig | S3DestinationConfig;
