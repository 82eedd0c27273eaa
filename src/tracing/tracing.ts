import { setTimeout as sleep } from 'node:timers/promises';
import { context, propagation, ROOT_CONTEXT, type Span, trace } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { WorkflowClientInterceptor } from '@temporalio/client';
import { makeWorkflowExporter } from '@temporalio/interceptors-opentelemetry-v2';
import type { WorkerOptions } from '@temporalio/worker';
import type { TracesConfig } from '../config/schema.js';
import { version } from '../version.js';
import { AsyncContext } from './context.js';
import { Exporter, type ExportLog } from './exporter.js';
import { activityInterceptors, ClientInterceptor } from './interceptors.js';
import { Outlet } from './outlet.js';

/** What a process with traces gives to its client and its workers. */
export interface Tracing {
  client: WorkflowClientInterceptor;
  /** Besides, workers run the workflows with `src/workflows/trace-interceptors.ts`. */
  worker: Pick<WorkerOptions, 'interceptors' | 'sinks'>;
  /** Sends what there is; waits for a moment only. */
  close(): Promise<void>;
}

export interface TracingOptions {
  host: string;
  /** A command that ends has a span of its own, below the `TRACEPARENT` of the environment; left out for what stays up. */
  command?: string;
  log: ExportLog;
}

const batchMs = 1000;
const closeMs = 1000;

/** Starts tracing. It loads OpenTelemetry: import this only where it is configured. */
export function startTracing(config: TracesConfig, { host, command, log }: TracingOptions): Tracing {
  context.setGlobalContextManager(new AsyncContext());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const resource = resourceFromAttributes({
    'service.name': config.serviceName,
    'service.version': version,
    'host.name': host,
  });
  const exporter = new Exporter(config, log);
  const outlet = new Outlet(new BatchSpanProcessor(exporter, { scheduledDelayMillis: batchMs }), config.sample);
  const tracer = new BasicTracerProvider({ resource, spanProcessors: [outlet] }).getTracer('holdfast', version);
  const outside = propagation.extract(ROOT_CONTEXT, {
    traceparent: process.env.TRACEPARENT,
    tracestate: process.env.TRACESTATE,
  });
  const span: Span | undefined =
    command === undefined ? undefined : tracer.startSpan(command, { attributes: { 'holdfast.host': host } }, outside);
  return {
    client: new ClientInterceptor({ tracer }, span === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, span)),
    worker: {
      interceptors: { activity: [activityInterceptors(tracer)] },
      sinks: { exporter: makeWorkflowExporter(outlet, resource) },
    },
    async close() {
      span?.end();
      const sent = outlet.shutdown().catch(() => undefined);
      await Promise.race([sent, sleep(closeMs, undefined, { ref: false })]);
      exporter.abandon();
    },
  };
}
