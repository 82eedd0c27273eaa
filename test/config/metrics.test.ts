import { expect, test } from 'vitest';
import { metricsSchema, parseListen } from '../../src/config/schema-metrics.js';

test.each([
  ['127.0.0.1:9477', { host: '127.0.0.1', port: 9477 }],
  ['[::1]:1', { host: '::1', port: 1 }],
  ['localhost:65535', { host: 'localhost', port: 65_535 }],
  ['9477', undefined],
  ['127.0.0.1', undefined],
  ['127.0.0.1:0', undefined],
  ['127.0.0.1:65536', undefined],
  ['::1:9477', undefined],
  ['http://127.0.0.1:9477', undefined],
])('%s', (listen, expected) => {
  expect(parseListen(listen)).toEqual(expected);
});

test.each(['127.0.0.1:9477', '127.1.2.3:9477', '[::1]:9477', 'localhost:9477'])('%s needs no token', (listen) => {
  expect(metricsSchema.safeParse({ listen }).success).toBe(true);
});

test.each(['0.0.0.0:9477', '[::]:9477', '10.0.0.1:9477', 'web-1:9477', '127.0.0.1.example.com:9477', 'localhost.:1'])(
  '%s needs a token',
  (listen) => {
    expect(metricsSchema.safeParse({ listen }).error?.issues[0]).toMatchObject({
      path: ['listen'],
      message: expect.stringContaining('token'),
    });
    expect(metricsSchema.safeParse({ listen, token: `\${env:TOKEN}` }).success).toBe(true);
  },
);

test('listens at the loopback when nothing is said', () => {
  expect(metricsSchema.parse({})).toEqual({ listen: '127.0.0.1:9477' });
});
