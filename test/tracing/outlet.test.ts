import { SpanStatusCode } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { secretRegistry } from '../../src/config/redact.js';
import { tracesSchema } from '../../src/config/schema-traces.js';
import { Exporter } from '../../src/tracing/exporter.js';
import { Outlet } from '../../src/tracing/outlet.js';
import { Receiver } from '../support/receiver.js';
import { spansOf } from '../support/spans.js';

const secret = 'PLANTED-secret-in-an-error';
let memory: InMemorySpanExporter;
let receiver: Receiver;
beforeEach(async () => {
  memory = new InMemorySpanExporter();
  receiver = await Receiver.start();
  secretRegistry.add(secret);
});
afterEach(() => receiver.stop());

const tracerOf = (share: number) =>
  new BasicTracerProvider({ spanProcessors: [new Outlet(new SimpleSpanProcessor(memory), share)] }).getTracer('t');

test('of a span leaves what is known to be harmless, and secrets leave the text of errors', () => {
  const span = tracerOf(1).startSpan('RunActivity:upload');
  span.setAttributes({
    temporalWorkflowId: 'backup/web-1/site/20261122T030000.000Z',
    run_id: 'r',
    'holdfast.destination': 'offsite',
    memo: secret,
    anything: 'else',
  });
  const error = new Error(`POST https://u:p4ss@h/${secret} failed\nat ${'x'.repeat(2000)}`);
  span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
  span.recordException(error);
  span.end();
  const [out] = memory.getFinishedSpans();
  expect(out?.attributes).toEqual({
    'holdfast.run': 'backup/web-1/site/20261122T030000.000Z',
    'holdfast.host': 'web-1',
    'holdfast.job': 'site',
    'holdfast.destination': 'offsite',
    'temporal.run_id': 'r',
  });
  const said = out?.status.message ?? '';
  expect(said).toContain('https://***@h/*** failed');
  expect(said.length).toBeLessThanOrEqual(500);
  expect(out?.events[0]?.attributes).toEqual({ 'exception.type': 'Error', 'exception.message': said });
});

test.each([
  ['deliver/web-1/site/nas', { 'holdfast.job': 'site', 'holdfast.destination': 'nas' }],
  ['backup/web-1/site-2026-11-22T03:00:00Z', { 'holdfast.job': 'site', 'holdfast.host': 'web-1' }],
])('%s says what it belongs to', (temporalWorkflowId, attributes) => {
  tracerOf(1).startSpan('s', { attributes: { temporalWorkflowId } }).end();
  expect(memory.getFinishedSpans()[0]?.attributes).toMatchObject(attributes);
});

test('a share of the traces is taken, each whole', () => {
  const tracer = tracerOf(0.5);
  for (let i = 0; i < 400; i++) tracer.startSpan('s').end();
  const taken = [...memory.getFinishedSpans()];
  expect(taken.length).toBeGreaterThan(100);
  expect(taken.length).toBeLessThan(300);
  const again = new Outlet(new SimpleSpanProcessor(memory), 0.5);
  for (const span of taken) again.onEnd(span);
  expect(memory.getFinishedSpans()).toHaveLength(taken.length * 2);
});

const resource = resourceFromAttributes({ 'service.name': 'holdfast' });
const exported = (exporter: Exporter): Promise<number> => {
  const provider = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(memory)] });
  provider.getTracer('t').startSpan('s').end();
  return new Promise((resolve) => exporter.export([...memory.getFinishedSpans()], ({ code }) => resolve(code)));
};

test('a collector that refuses costs one warning, and one line when it is back', async () => {
  const said: string[] = [];
  const log = { info: (text: string) => said.push(`info ${text}`), warn: (text: string) => said.push(`warn ${text}`) };
  const config = tracesSchema.parse({
    endpoint: `${receiver.url}/v1/traces`,
    headers: { Authorization: `Bearer ${secret}` },
  });
  const exporter = new Exporter(config, log);
  receiver.usual = { status: 403, body: `no: Bearer ${secret}` };
  for (let i = 0; i < 3; i++) expect(await exported(exporter)).toBe(1);
  expect(said).toEqual([expect.stringMatching(/^warn traces cannot be sent to http.*; backups go on without$/)]);
  expect(said.join()).not.toContain(secret);
  receiver.usual = { status: 200, body: '{}' };
  expect(await exported(exporter)).toBe(0);
  expect(await exported(exporter)).toBe(0);
  expect(said.slice(1)).toEqual([expect.stringMatching(/^info traces are sent to .* again$/)]);
  expect(receiver.last().headers.authorization).toBe(`Bearer ${secret}`);
  expect(spansOf(receiver.received.slice(-1)).map(({ name }) => name)).toContain('s');
});

test('a secret that is missing is a warning too, and what is never answered is said when it is given up', async () => {
  const said: string[] = [];
  const log = { info: () => undefined, warn: (text: string) => void said.push(text) };
  const endpoint = `${receiver.url}/v1/traces`;
  const missing = tracesSchema.parse({ endpoint, headers: { a: `\${env:HOLDFAST_NOT_THERE}` } });
  expect(await exported(new Exporter(missing, log))).toBe(1);
  expect(said).toEqual([expect.stringContaining('HOLDFAST_NOT_THERE')]);
  expect(receiver.received).toEqual([]);
  receiver.usual = 'hang';
  const hanging = new Exporter(tracesSchema.parse({ endpoint }), log);
  const answer = exported(hanging);
  hanging.abandon();
  expect(said).toHaveLength(2);
  expect(await answer).toBe(1);
  expect(said).toHaveLength(2);
});

test.each(['http://u:p@h/v1/traces', 'ftp://h', 'h:4318', ''])('%j is no endpoint', (endpoint) => {
  expect(tracesSchema.safeParse({ endpoint }).success).toBe(false);
});
