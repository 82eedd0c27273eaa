import { z } from 'zod';
import type { Received } from './receiver.js';

const value = z.object({ stringValue: z.string() }).or(z.object({ intValue: z.number() }));
const span = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  name: z.string(),
  attributes: z.array(z.object({ key: z.string(), value })),
  events: z.array(z.unknown()).default([]),
  status: z.object({ code: z.number(), message: z.string().optional() }),
});
const request = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: z.array(z.object({ key: z.string(), value: z.unknown() })) }),
      scopeSpans: z.array(z.object({ spans: z.array(span) })),
    }),
  ),
});

export interface TestSpan extends Omit<z.output<typeof span>, 'attributes'> {
  attributes: Record<string, string | number>;
}

/** The spans of requests that are OTLP in JSON. */
export const spansOf = (received: readonly Received[]): TestSpan[] =>
  received
    .flatMap(({ body }) => request.parse(JSON.parse(body)).resourceSpans)
    .flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
    .map((one) => ({
      ...one,
      attributes: Object.fromEntries(one.attributes.map(({ key, value: of }) => [key, Object.values(of)[0] ?? ''])),
    }));
