import { type Attributes, type Context, ROOT_CONTEXT, SpanKind } from '@opentelemetry/api';
import {
  type ReadableSpan,
  SamplingDecision,
  type Span,
  type SpanProcessor,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base';
import { secretRegistry } from '../config/redact.js';
import { cut } from '../notifiers/text.js';
import { attributesOfId } from './attributes.js';

const longest = 500;

/**
 * What every span leaves through: takes the share of the traces that is wanted, the attributes that are known to be harmless,
 * and secrets out of the text of errors by value.
 */
export class Outlet implements SpanProcessor {
  private readonly sampler: TraceIdRatioBasedSampler;

  /** @param share of the traces, 0 to 1; the same for every process that has a part in one. */
  constructor(
    private readonly next: SpanProcessor,
    share: number,
  ) {
    this.sampler = new TraceIdRatioBasedSampler(share);
  }

  onStart(span: Span, context: Context): void {
    this.next.onStart(span, context);
  }

  onEnd(span: ReadableSpan): void {
    const { traceId } = span.spanContext();
    const { decision } = this.sampler.shouldSample(ROOT_CONTEXT, traceId);
    if (decision === SamplingDecision.RECORD_AND_SAMPLED) this.next.onEnd(harmless(span));
  }

  forceFlush(): Promise<void> {
    return this.next.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.next.shutdown();
  }
}

function harmless(span: ReadableSpan): ReadableSpan {
  const { status, attributes } = span;
  return {
    name: span.name,
    kind: span.kind ?? SpanKind.INTERNAL,
    spanContext: () => span.spanContext(),
    ...(span.parentSpanContext === undefined ? {} : { parentSpanContext: span.parentSpanContext }),
    startTime: span.startTime,
    endTime: span.endTime,
    duration: span.duration,
    ended: span.ended,
    status: status.message === undefined ? status : { ...status, message: clean(status.message) },
    attributes: known(attributes),
    links: [],
    // Stack traces are for developers, and may hold anything.
    events: span.events.map(
      ({ name, time, attributes: { 'exception.type': type, 'exception.message': message } = {} }) => ({
        name,
        time,
        attributes: {
          ...(typeof type === 'string' ? { 'exception.type': type } : {}),
          ...(typeof message === 'string' ? { 'exception.message': clean(message) } : {}),
        },
      }),
    ),
    resource: span.resource,
    instrumentationScope: span.instrumentationScope,
    droppedAttributesCount: span.droppedAttributesCount,
    droppedEventsCount: span.droppedEventsCount,
    droppedLinksCount: span.droppedLinksCount,
  };
}

const clean = (text: string): string => cut(secretRegistry.redact(text), longest);

/** The SDK's interceptors name the workflow in one way, what they attach to a workflow's own spans in another. */
function known(attributes: Attributes): Attributes {
  const workflowId = attributes.temporalWorkflowId ?? attributes.workflowId;
  const runId = attributes.run_id ?? attributes.runId;
  const own = Object.entries(attributes).filter(([name]) => name.startsWith('holdfast.'));
  return {
    ...(typeof workflowId === 'string' ? attributesOfId(workflowId) : {}),
    ...Object.fromEntries(own.map(([name, value]) => [name, typeof value === 'string' ? clean(value) : value])),
    ...(typeof runId === 'string' ? { 'temporal.run_id': runId } : {}),
    ...(typeof attributes.temporalActivityId === 'string'
      ? { 'temporal.activity_id': attributes.temporalActivityId }
      : {}),
  };
}
