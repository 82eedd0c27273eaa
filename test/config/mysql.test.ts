import { expect, test } from 'vitest';
import { mysqlSourceSchema } from '../../src/config/schema-mysql.js';

const ssh = { host: 'h', user: 'u', privateKey: 'k', hostKey: `SHA256:${'A'.repeat(43)}` };
const problems = (source: object): string[] =>
  mysqlSourceSchema
    .safeParse({ type: 'mysql', ...source })
    .error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];

test('a source may be as short as its type', () => {
  expect(mysqlSourceSchema.parse({ type: 'mysql' })).toMatchObject({
    databases: 'all',
    globals: true,
    excludeTables: [],
  });
  expect(problems({ host: 'h', user: 'u', password: 'p', ssh, tls: { mode: 'require' } })).toEqual([]);
  expect(problems({ command: 'docker exec -i "my db"' })).toEqual([]);
});

test.each([
  [{ url: 'mysql://h/', host: 'h' }, 'host: is part of `url`'],
  [{ socket: '/s', port: 3306 }, 'port: expected either'],
  [{ ssh, command: 'docker exec -i db' }, 'command: expected either'],
  [{ ssh, tls: { mode: 'verify-full' } }, 'tls.mode: expected off or require'],
  [{ ssh: { ...ssh, hostKey: 'AAAA' } }, 'ssh.hostKey: expected SHA256:'],
  [{ ssh: { ...ssh, agent: '/a' } }, 'ssh: expected either `privateKey` or `agent`'],
  [{ ssh: { host: 'h', user: 'u', hostKey: ssh.hostKey } }, 'ssh: expected either `privateKey` or `agent`'],
  [{ command: "docker exec -i it's" }, 'command: has a quote'],
  [{ excludeTables: ['orders'] }, 'excludeTables.0: expected DATABASE.TABLE'],
  [{ databases: [] }, 'databases: expected at least one'],
])('%j: %s', (source, problem) => {
  expect(problems(source)).toEqual([expect.stringContaining(problem)]);
});
