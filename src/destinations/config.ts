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

/** A folder of Google Drive. */
export interface GoogleDriveDestinationConfig extends CommonDestinationConfig {
  type: 'gdrive';
  /** The JSON of an OAuth client or of a service account. */
  credentials: string;
  /** Default: a folder "Holdfast" of our own, or the shared drive itself. */
  folderId?: string;
  /** A shared drive. */
  driveId?: string;
  scope?: 'drive.file' | 'drive';
  /** Move to the trash what is to be deleted. */
  trash?: boolean;
  /** In place of https://www.googleapis.com. */
  endpoint?: string;
}

/** How to log in to an SSH server. Secrets arrive resolved; without any of them the agent is asked. */
export interface SshServerConfig {
  host: string;
  port: number;
  user: string;
  password?: string;
  /** The key itself (PEM or OpenSSH's format). */
  privateKey?: string;
  passphrase?: string;
  /** true: the socket in $SSH_AUTH_SOCK; else the socket's path. */
  agent?: boolean | string;
  /** `SHA256:...`; left out: known_hosts decides. */
  hostKey?: string;
}

/** A folder on an SSH server. */
export interface SftpDestinationConfig extends CommonDestinationConfig, SshServerConfig {
  type: 'sftp';
  /** Absolute, or relative to where a login starts. */
  path: string;
  /** Default: ~/.ssh/known_hosts, then the system's. */
  knownHosts?: string;
  /** A server to go through. */
  jump?: SshServerConfig;
  /** The most connections at once. */
  connections: number;
  /** How long the server may be silent, ms. */
  timeout: number;
}

/** A folder of Dropbox. */
export interface DropboxDestinationConfig extends CommonDestinationConfig {
  type: 'dropbox';
  /** Begins with a slash. */
  path: string;
  appKey: string;
  appSecret?: string;
  /** From another login than `holdfast login`. */
  refreshToken?: string;
  /** `home`, `team` or a namespace's id. */
  namespace?: string;
  /** In place of Dropbox's hosts, which become its folders `api`, `content` and `www`. */
  endpoint?: string;
}

/** A folder on an FTP server. */
export interface FtpDestinationConfig extends CommonDestinationConfig {
  type: 'ftp';
  host: string;
  port?: number;
  user: string;
  password?: string;
  /** Absolute, or relative to where a login starts. */
  path: string;
  tls: 'off' | 'explicit' | 'implicit';
  /** Certificate authorities to trust in place of the system's (PEM file). */
  caFile?: string;
  /** The name the certificate must carry. Default: `host`. */
  serverName?: string;
  /** `SHA256:...` of the certificate, which is then trusted whoever signed it. */
  fingerprint?: string;
  /** How stored bytes are checked once they are sent. */
  verify: 'auto' | 'size' | 'readback';
  /** The most connections at once. */
  connections: number;
  /** How long the server may be silent, ms. */
  timeout: number;
}

export type DestinationConfig =
  | LocalDestinationConfig
  | S3DestinationConfig
  | GoogleDriveDestinationConfig
  | DropboxDestinationConfig
  | SftpDestinationConfig
  | FtpDestinationConfig;
