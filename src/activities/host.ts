import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Client } from '@temporalio/client';
import type { Logger } from 'pino';
import { type LoadedConfig, loadConfig, withKeyPair } from '../config/load.js';
import type { Config, DestinationConfig } from '../config/schema.js';
import { resolveSecret, resolveSecrets, secretRegistry, unmask } from '../config/secrets.js';
import type { Destination } from '../destinations/destination.js';
import { openDestination } from '../destinations/open.js';
import { errnoOf, HoldfastError } from '../errors.js';
import { Catalog } from '../repository/catalog.js';
import { ChunkFilter } from '../repository/chunk-filter.js';
import { type KeyFile, unlock } from '../repository/keys.js';
import { type RsaPrivateKey, type RsaPublicKey, readPrivateKey, readPublicKey } from '../repository/rsa.js';
import type { RepositoryKey } from '../repository/seal.js';
import { fileSize } from './files.js';
import { History } from './history.js';
import { Outbox } from './outbox.js';
import { TaskGroup } from './threads/pool.js';

/** About what a catalog's file grows by. */
const catalogBytesPerChunk = 64;

/** Every worker of this process has them. */
const keys = new Map<string, Promise<RepositoryKey | undefined>>();

/** What every activity of this host shares: config, catalogs, open destinations, unlocked keys. */
export class Host {
  readonly history: History;
  /** What notifiers have told and are about to tell. */
  readonly outbox: Outbox;
  private readonly opened = new Map<string, { config: string; destination: Promise<Destination> }>();
  private readonly catalogs = new Map<string, Catalog>();
  private readonly filters = new Map<string, Promise<SharedArrayBuffer>>();
  /** When a destination was last seen to hold a job's repository, by the process's clock. */
  readonly claimed = new Map<string, number>();
  /** Destinations that refused their credentials last. */
  private readonly doubted = new Set<string>();

  constructor(
    private loaded: LoadedConfig,
    /** For asking whether another run is still alive; absent in tests of single activities. */
    readonly client: Client | undefined,
    readonly log: Logger,
  ) {
    this.history = new History(this.config.state);
    this.outbox = new Outbox(this.config.state);
  }

  get config(): Config {
    return this.loaded.config;
  }

  get configHash(): string {
    return this.loaded.hash;
  }

  get configPath(): string {
    return this.loaded.path;
  }

  get state(): string {
    return this.config.state;
  }

  /** Reads the config file again, so that each run starts from what it says now. */
  reload(): LoadedConfig {
    const { keyPair, path: file } = this.loaded;
    const fresh = loadConfig(file);
    this.loaded = keyPair === undefined ? fresh : withKeyPair(fresh, keyPair);
    return this.loaded;
  }

  /** This state folder's id, which owns repositories. */
  stateId(): string {
    const file = path.join(this.state, 'id');
    try {
      return readFileSync(file, 'utf8').trim();
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
    try {
      writeFileSync(file, `${randomUUID()}\n`, { mode: 0o600, flag: 'wx' });
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    return readFileSync(file, 'utf8').trim();
  }

  catalogFile(job: string): string {
    return path.join(this.state, 'catalog', `${job}.db`);
  }

  catalog(job: string): Catalog {
    let catalog = this.catalogs.get(job);
    if (!catalog) {
      catalog = new Catalog(this.catalogFile(job));
      this.catalogs.set(job, catalog);
    }
    return catalog;
  }

  /** The job's chunk filter, filled from its catalog at first use and kept up to date by every thread. */
  async filter(job: string): Promise<SharedArrayBuffer> {
    let filter = this.filters.get(job);
    if (!filter) {
      const made = ChunkFilter.for((fileSize(this.catalogFile(job)) ?? 0) / catalogBytesPerChunk);
      // Attached before it is filled, so that nothing added meanwhile is missed.
      this.catalog(job).filter = made;
      filter = new TaskGroup(new AbortController().signal)
        .run('filterTask', { catalog: this.catalogFile(job), filter: made.memory })
        .then(() => made.memory);
      this.filters.set(job, filter);
      filter.catch(() => this.filters.delete(job));
    }
    return filter;
  }

  keyFilePath(job: string): string {
    return path.join(this.state, 'keys', `${job}.json`);
  }

  /** Where a job's newest manifests are kept as plain files. */
  manifestFolder(job: string): string {
    return path.join(this.state, 'manifests', job);
  }

  /** The destination as the frozen config describes it, with secrets resolved now. Kept open while nothing changes. */
  async destination(name: string, frozen: DestinationConfig): Promise<Destination> {
    const doubted = this.doubted.delete(name);
    if (doubted) this.reloadIfValid();
    const live = unmask(frozen, this.config.destinations[name]);
    const resolved = await resolveSecrets(live, `destinations.${name}`);
    const config = JSON.stringify(resolved);
    const known = this.opened.get(name);
    if (known?.config === config && !doubted) return known.destination;
    const destination = openDestination(name, resolved, { state: this.state });
    this.opened.set(name, { config, destination });
    if (known) void known.destination.then((old) => old.close()).catch(() => undefined);
    return destination;
  }

  /** Its credentials were refused: next time it is opened anew, with what the config and the secrets say then. */
  doubt(name: string): void {
    this.doubted.add(name);
  }

  private reloadIfValid(): void {
    try {
      this.reload();
    } catch (error) {
      this.log.debug({ err: error }, 'the config is being changed; the one that was read before is used');
    }
  }

  /** Makes the root folder of a destination that no run of this job has ever used. */
  async prepareDestination(name: string, frozen: DestinationConfig): Promise<void> {
    await (await this.destination(name, frozen)).ensureRoot();
  }

  async passphrase(frozen: string | undefined): Promise<string | undefined> {
    if (frozen === undefined) return undefined;
    const live = unmask({ encryption: { passphrase: frozen } }, this.config);
    return resolveSecret(live.encryption.passphrase, 'encryption.passphrase');
  }

  /** The config's RSA public key, or the one that goes with its private key; undefined when it has neither. */
  async publicKey(passphrase: string | undefined): Promise<RsaPublicKey | undefined> {
    const key = 'encryption.publicKey';
    const { publicKey } = this.config.encryption ?? {};
    if (publicKey !== undefined) return readPublicKey(await resolveSecret(publicKey, key), key);
    return (await this.privateKey(passphrase))?.publicKey;
  }

  private async privateKey(passphrase: string | undefined): Promise<RsaPrivateKey | undefined> {
    const key = 'encryption.privateKey';
    const { privateKey } = this.config.encryption ?? {};
    if (privateKey === undefined) return undefined;
    const read = readPrivateKey(await resolveSecret(privateKey, key), passphrase, key);
    secretRegistry.add(read.pem);
    return read;
  }

  private async rsaKey(file: KeyFile, passphrase: string | undefined): Promise<RepositoryKey> {
    const [slot] = file.slots;
    const writes = await this.publicKey(passphrase);
    if (writes === undefined) {
      throw new HoldfastError('SecretMissing', `repository ${file.host}/${file.job} is encrypted for an RSA key`, {
        key: 'encryption.publicKey',
        hint: 'Set encryption.publicKey to back up; give --identity FILE, or set encryption.privateKey, to read.',
      });
    }
    const reads = await this.privateKey(passphrase);
    for (const { fingerprint } of [writes, ...(reads ? [reads.publicKey] : [])]) {
      if (slot?.type === 'rsa' && slot.fingerprint === fingerprint) continue;
      throw new HoldfastError(
        'KeyMismatch',
        `repository ${file.host}/${file.job} is encrypted for another RSA key than this one`,
        { key: 'encryption.publicKey', hint: 'Use the pair it was made with; other pairs are for new repositories.' },
      );
    }
    return {
      repository: file.repository,
      publicKey: writes.pem,
      ...(reads ? { privateKey: reads.pem } : {}),
      own: path.join(this.state, 'own', file.job),
    };
  }

  /** The repository key; scrypt runs once per key file and passphrase. */
  async unlock(file: KeyFile, passphrase: string | undefined): Promise<RepositoryKey | undefined> {
    if (file.objects === 'rsa') return this.rsaKey(file, passphrase);
    const id = keyId(file, passphrase);
    let key = keys.get(id);
    if (!key) {
      key = unlock(file, passphrase);
      keys.set(id, key);
      key.catch(() => keys.delete(id));
    }
    return key;
  }

  /** Spares the derivation for a key that was made just now. */
  remember(file: KeyFile, passphrase: string | undefined, key: RepositoryKey | undefined): void {
    keys.set(keyId(file, passphrase), Promise.resolve(key));
  }

  async close(): Promise<void> {
    for (const { destination } of this.opened.values()) {
      await destination
        .then((open) => open.close())
        .catch((error: unknown) => this.log.debug({ error }, 'closing a destination'));
    }
    for (const catalog of this.catalogs.values()) catalog.close();
    this.history.close();
    this.outbox.close();
  }
}

const keyId = (file: KeyFile, passphrase: string | undefined): string =>
  createHash('sha256')
    .update(JSON.stringify([file.repository, file.slots, file.mac ?? null, passphrase ?? null]))
    .digest('hex');
