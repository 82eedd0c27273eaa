import { randomFillSync } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { DestinationConfig } from '../../src/destinations/config.js';
import { openDestination } from '../../src/destinations/open.js';
import { startS3 } from '../../test/support/s3-server.js';
import { startSshd } from '../../test/support/sshd.js';
import { startToxiproxy, type Toxiproxy } from '../../test/support/toxiproxy.js';
import { startVsftpd } from '../../test/support/vsftpd.js';
import { Holdfast } from '../holdfast.js';
import { run } from '../measure.js';
import { summary } from '../report.js';

const usage = `npm run bench:latency -- [options]    uploads over a line with latency, beside rclone (not S3) and restic (not FTP)
  --rounds N       rounds, the order alternating (3)
  --latency MS     round trip (50)
  --size MB        random bytes to upload, in files of 32 MB (256)
  --kinds LIST     of sftp,s3,ftp (all)
  --restic PATH    (restic)`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    latency: { type: 'string', default: '50' },
    size: { type: 'string', default: '256' },
    kinds: { type: 'string', default: 'sftp,s3,ftp' },
    restic: { type: 'string', default: 'restic' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(usage);
  process.exit(0);
}

const folder = mkdtempSync(join(tmpdir(), 'holdfast-latency-'));
const data = join(folder, 'data');
const megabytes = Number(options.size);

/** A server behind the proxy, and how each program is told of it. */
interface Place {
  destination: DestinationConfig;
  /** rclone's remote, and its settings in the environment; absent where Debian's (1.60) and the server do not get along. */
  rclone?: { remote: string; env: Record<string, string> };
  /** Absent where restic does not speak the protocol. */
  restic?: { repository: string; args: string[]; env: Record<string, string> };
  stop(): Promise<void>;
}

async function sftp(proxy: Toxiproxy): Promise<Place> {
  const server = await startSshd();
  const port = await proxy.forward(server.port);
  const { user, privateKey, hostKey, dir } = server;
  const key = join(folder, 'key');
  writeFileSync(key, privateKey, { mode: 0o600 });
  const ssh = `ssh -p ${port} -i ${key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR ${user}@127.0.0.1 -s sftp`;
  return {
    destination: {
      type: 'sftp',
      host: '127.0.0.1',
      port,
      user,
      privateKey,
      hostKey,
      path: join(dir, 'holdfast'),
      connections: 4,
      timeout: 60_000,
    },
    rclone: {
      remote: `bench:${join(dir, 'rclone')}`,
      env: {
        RCLONE_CONFIG_BENCH_TYPE: 'sftp',
        RCLONE_CONFIG_BENCH_HOST: '127.0.0.1',
        RCLONE_CONFIG_BENCH_PORT: String(port),
        RCLONE_CONFIG_BENCH_USER: user,
        RCLONE_CONFIG_BENCH_KEY_FILE: key,
      },
    },
    restic: { repository: `sftp:bench:${join(dir, 'restic')}`, args: ['-o', `sftp.command=${ssh}`], env: {} },
    stop: () => server.stop(),
  };
}

async function s3(proxy: Toxiproxy): Promise<Place> {
  const server = await startS3();
  const port = await proxy.forward(server.port);
  for (const bucket of ['holdfast', 'restic']) await server.bucket(bucket);
  const { accessKeyId, secretAccessKey, region } = server;
  const endpoint = `http://127.0.0.1:${port}`;
  const keys = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_DEFAULT_REGION: region };
  return {
    destination: { type: 's3', bucket: 'holdfast', endpoint, region, accessKeyId, secretAccessKey },
    restic: { repository: `s3:${endpoint}/restic`, args: [], env: keys },
    stop: () => server.stop(),
  };
}

async function ftp(proxy: Toxiproxy): Promise<Place> {
  const server = await startVsftpd();
  const host = '127.0.0.2';
  const port = await proxy.forward(server.port, { host, port: server.port });
  for (let passive = server.passive[0]; passive <= server.passive[1]; passive++)
    await proxy.forward(passive, { host, port: passive });
  for (const name of ['holdfast', 'rclone']) await server.folder(name);
  const { user, password } = server;
  const obscured = (await run({ program: 'rclone', args: ['obscure', password] })).stdout.trim();
  return {
    // As rclone checks: by size.
    destination: {
      type: 'ftp',
      host,
      port,
      user,
      password,
      path: '/holdfast',
      tls: 'off',
      verify: 'size',
      connections: 4,
      timeout: 60_000,
    },
    rclone: {
      remote: 'bench:/rclone',
      env: {
        RCLONE_CONFIG_BENCH_TYPE: 'ftp',
        RCLONE_CONFIG_BENCH_HOST: host,
        RCLONE_CONFIG_BENCH_PORT: String(port),
        RCLONE_CONFIG_BENCH_USER: user,
        RCLONE_CONFIG_BENCH_PASS: obscured,
      },
    },
    stop: () => server.stop(),
  };
}

const kinds = { sftp, s3, ftp };

/** The same files as they are, four at once as rclone does: what the line is used for, without a backup around it. */
async function uploadAlone(config: DestinationConfig, number: number): Promise<number> {
  const began = performance.now();
  const destination = await openDestination('bench', config);
  await destination.ensureRoot();
  const names = readdirSync(data);
  const send = async (): Promise<void> => {
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      await destination.put(`alone/${number}/${name}`, { file: join(data, name) });
    }
  };
  await Promise.all([send(), send(), send(), send()]);
  await destination.close();
  return (performance.now() - began) / 1000;
}

function makeData(): void {
  mkdirSync(data);
  const chunk = Buffer.allocUnsafe(32e6);
  for (let made = 0; made < megabytes; made += 32) {
    writeFileSync(
      join(data, `random-${made}`),
      randomFillSync(chunk).subarray(0, Math.min(32, megabytes - made) * 1e6),
    );
  }
}

async function oneKind(kind: keyof typeof kinds): Promise<string[]> {
  const proxy = await startToxiproxy();
  const place = await kinds[kind](proxy);
  const half = Number(options.latency) / 2;
  await proxy.apply({ type: 'latency', attributes: { latency: half } });
  const rounds = Array.from({ length: Number(options.rounds) }, (_, n) => n + 1);
  const holdfast = new Holdfast({
    home: join(folder, `home-${kind}`),
    rounds: rounds.map((number) => ({ set: kind, number, data, work: folder })),
    // The config file has durations as text.
    destination: () => ({ ...place.destination, ...('timeout' in place.destination && { timeout: '60s' }) }),
  });
  const contenders: Record<string, (number: number) => Promise<number>> = {
    holdfast: async (number) => (await holdfast.backup({ set: kind, number, data, work: folder })).seconds,
    'holdfast, uploading alone': async (number) => await uploadAlone(place.destination, number),
  };
  const { rclone, restic } = place;
  if (rclone !== undefined) {
    contenders.rclone = async (number) => {
      const args = ['copy', '--config', '/dev/null', '--no-traverse', data, `${rclone.remote}/${number}`];
      return (await run({ program: 'rclone', args, env: rclone.env })).seconds;
    };
  }
  if (restic !== undefined) {
    contenders.restic = async (number) => {
      const call = (...args: string[]) =>
        run({
          program: options.restic,
          args: ['-r', `${restic.repository}${number}`, ...restic.args, ...args],
          env: { ...restic.env, RESTIC_PASSWORD: 'bench', RESTIC_CACHE_DIR: join(folder, `cache-${number}`) },
        });
      await call('init', '-q');
      return (await call('backup', '-q', data)).seconds;
    };
  }
  const seconds: Record<string, number[]> = {};
  try {
    await holdfast.init();
    for (const number of rounds) {
      const order = number % 2 === 1 ? Object.entries(contenders) : Object.entries(contenders).reverse();
      for (const [name, measure] of order) {
        const took = await measure(number);
        seconds[name] = [...(seconds[name] ?? []), took];
        console.error(`${kind} ${name}, round ${number}: ${took.toFixed(1)} s, ${(megabytes / took).toFixed(1)} MB/s`);
      }
    }
  } finally {
    await holdfast.close();
    await place.stop();
    await proxy.stop();
  }
  const own = summary(seconds.holdfast ?? []).median;
  return Object.entries(seconds).map(([name, values]) => {
    const { median, min, max } = summary(values);
    return `| ${kind} | ${name} | ${median.toFixed(1)} (${min.toFixed(1)}-${max.toFixed(1)}) | ${(megabytes / median).toFixed(1)} | ${(median / own).toFixed(2)} |`;
  });
}

async function main(): Promise<void> {
  const known = (process.env.PATH ?? '').split(delimiter).some((path) => existsSync(join(path, 'rclone')));
  if (!known) throw new Error('rclone is not on PATH');
  makeData();
  const rows: string[] = [];
  try {
    for (const kind of options.kinds.split(',')) {
      if (kind !== 'sftp' && kind !== 's3' && kind !== 'ftp') throw new Error(usage);
      rows.push(...(await oneKind(kind)));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  console.log(
    `${megabytes} MB of random bytes, ${options.latency} ms round trip, ${options.rounds} rounds: median (range)\n`,
  );
  console.log('| | | s | MB/s | times Holdfast’s |\n|---|---|---|---|---|');
  console.log(rows.join('\n'));
}

await main();
