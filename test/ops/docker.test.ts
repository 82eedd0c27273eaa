import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { parseConfig } from '../../src/config/load.js';
import { inProject, text, yaml } from './files.js';

const service = z.object({
  image: z.string(),
  build: z.string().optional(),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).optional(),
  healthcheck: z
    .object({ test: z.array(z.string()) })
    .loose()
    .optional(),
  ports: z.array(z.string()).optional(),
  volumes: z.array(z.string()).optional(),
  configs: z.array(z.object({ source: z.string(), target: z.string() })).optional(),
  secrets: z.array(z.string()).optional(),
  restart: z.string(),
});
const composeFile = z.object({
  name: z.string(),
  services: z.record(z.string(), service.loose()),
  configs: z.record(z.string(), z.object({ content: z.string() })),
  secrets: z.record(z.string(), z.object({ file: z.string() })),
  volumes: z.record(z.string(), z.null()),
});

/** The instructions of the Dockerfile, continuation lines joined. */
function instructions(): { word: string; rest: string }[] {
  return text('Dockerfile')
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => ({ word: line.split(' ')[0] ?? '', rest: line.slice(line.indexOf(' ') + 1) }));
}

describe('Dockerfile', () => {
  const copies = instructions().filter(({ word }) => word === 'COPY');

  test('every source it copies exists and is let through by .dockerignore', () => {
    const ignore = text('.dockerignore');
    const sources = copies
      .filter(({ rest }) => !rest.startsWith('--from'))
      .flatMap(({ rest }) => rest.split(' ').slice(0, -1));
    expect(sources).toContain('src');
    for (const source of sources) {
      expect(existsSync(inProject(source)), source).toBe(true);
      expect(ignore, source).toContain(`!${source}\n`);
    }
  });

  test('stages it copies from are defined', () => {
    const stages = instructions().flatMap(({ word, rest }) => (word === 'FROM' ? [rest.split(' AS ')[1]] : []));
    for (const { rest } of copies.filter((copy) => copy.rest.startsWith('--from'))) {
      expect(stages).toContain(rest.split(' ')[0]?.split('=')[1]);
    }
  });

  test('it runs as a normal user, on a Debian base, with the program that exists', () => {
    const words = instructions();
    expect(words.at(-1)).toEqual({ word: 'CMD', rest: '["up"]' });
    expect(words.filter(({ word }) => word === 'USER').at(-1)?.rest).toBe('node');
    for (const { rest } of words.filter(({ word }) => word === 'FROM')) expect(rest).toMatch(/^node:\d+-bookworm-slim/);
    const entry = words.find(({ word }) => word === 'ENTRYPOINT')?.rest ?? '[]';
    const program = z.array(z.string()).parse(JSON.parse(entry))[1]?.replace('/app/', '') ?? '';
    expect(existsSync(inProject(program)), program).toBe(true);
  });
});

describe('docker-compose.yml', () => {
  const compose = yaml('docker-compose.yml', composeFile);
  const services = Object.entries(compose.services);

  test('holds PostgreSQL, Temporal, its Web UI and a Holdfast worker', () => {
    const images = services.map(([, { image }]) => image.split(':')[0]);
    expect(images).toEqual(expect.arrayContaining(['postgres', 'temporalio/server', 'temporalio/ui', 'holdfast']));
  });

  test('what a service waits for exists, and has a health check where it waits for health', () => {
    for (const [name, { depends_on = {} }] of services) {
      for (const [other, { condition }] of Object.entries(depends_on)) {
        expect(compose.services[other], `${name} -> ${other}`).toBeDefined();
        if (condition === 'service_healthy') expect(compose.services[other]?.healthcheck, other).toBeDefined();
      }
    }
  });

  test('configs, secrets and named volumes that services use are declared, and none is declared in vain', () => {
    const used = (pick: (one: z.infer<typeof service>) => string[]): string[] =>
      [...new Set(services.flatMap(([, one]) => pick(one)))].sort();
    expect(used((one) => one.configs?.map(({ source }) => source) ?? [])).toEqual(Object.keys(compose.configs).sort());
    expect(used((one) => one.secrets ?? [])).toEqual(Object.keys(compose.secrets).sort());
    const named = (volume: string): boolean => !/^[$./]/.test(volume);
    expect(used((one) => one.volumes?.filter(named).map((volume) => volume.split(':')[0] ?? '') ?? [])).toEqual(
      Object.keys(compose.volumes).sort(),
    );
  });

  test('every port is published on loopback only', () => {
    const ports = services.flatMap(([, { ports = [] }]) => ports);
    expect(ports.length).toBeGreaterThan(0);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test("the worker's config is valid and uses the paths and the server that the file sets up", () => {
    const { config } = parseConfig(compose.configs.holdfast?.content.replaceAll('$$', '$') ?? '', 'docker-compose.yml');
    const worker = compose.services.holdfast;
    const targets = worker?.volumes?.map((volume) =>
      volume
        .split(':')
        .slice(-2)
        .find((part) => part.startsWith('/')),
    );
    expect(targets).toEqual(expect.arrayContaining([config.state, '/repository', '/source']));
    expect(config.temporal).toMatchObject({ address: 'temporal:7233', namespace: 'default' });
    expect(worker?.configs?.[0]?.target).toBe(/HOLDFAST_CONFIG=(\S+)/.exec(text('Dockerfile'))?.[1]);
  });
});
