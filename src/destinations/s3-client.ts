import { S3Client } from '@aws-sdk/client-s3';
import { HoldfastError } from '../errors.js';
import type { S3DestinationConfig } from './config.js';

function invalid(name: string, message: string, hint: string): HoldfastError {
  return new HoldfastError('ConfigInvalid', `Destination "${name}": ${message}`, { hint });
}

/** The endpoint without credentials, which have their own keys. Throws `ConfigInvalid`. */
function endpointOf(name: string, config: S3DestinationConfig): string | undefined {
  if (config.endpoint === undefined) return undefined;
  const hint = 'Write it like https://s3.example.com:9000.';
  if (!URL.canParse(config.endpoint)) throw invalid(name, 'the endpoint is not a URL', hint);
  const url = new URL(config.endpoint);
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw invalid(name, 'the endpoint is not an http(s) URL', hint);
  if (url.username !== '' || url.password !== '') {
    throw invalid(name, 'the endpoint holds credentials', 'Use accessKeyId and secretAccessKey.');
  }
  return config.endpoint;
}

/** A client for one destination; throws `ConfigInvalid`. */
export function createClient(name: string, config: S3DestinationConfig): S3Client {
  const endpoint = endpointOf(name, config);
  const { accessKeyId, secretAccessKey, sessionToken } = config;
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    throw invalid(name, 'accessKeyId and secretAccessKey belong together', 'Give both, or neither.');
  }
  // The lock file decides which SDK runs here; its advice to upgrade Node says nothing about this backup.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const region = config.region ?? (endpoint === undefined ? undefined : 'us-east-1');
  return new S3Client({
    ...(region !== undefined && { region }),
    ...(endpoint !== undefined && { endpoint }),
    ...(accessKeyId !== undefined &&
      secretAccessKey !== undefined && {
        credentials: { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) },
      }),
    forcePathStyle: config.forcePathStyle ?? endpoint !== undefined,
    followRegionRedirects: endpoint === undefined,
    maxAttempts: 3,
    retryMode: 'standard',
    // Uploads bring their own SHA-256, and many services do not know the SDK's CRC trailers.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Costs a new connection for every pack, and six seconds where a server does not answer it.
    expectContinueHeader: false,
    // Else the SDK prints to the console; what matters comes as errors.
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    requestHandler: {
      connectionTimeout: 10_000,
      socketTimeout: 60_000,
      httpAgent: { keepAlive: true, maxSockets: 16 },
      httpsAgent: { keepAlive: true, maxSockets: 16 },
    },
  });
}
