import { type Context, context, type Tracer, trace } from '@opentelemetry/api';
import type { Context as ActivityContext } from '@temporalio/activity';
import type {
  WorkflowClientInterceptor,
  WorkflowDescribeInput,
  WorkflowQueryInput,
  WorkflowSignalInput,
  WorkflowStartInput,
} from '@temporalio/client';
import type { Next } from '@temporalio/common';
import {
  OpenTelemetryActivityInboundInterceptor,
  OpenTelemetryActivityOutboundInterceptor,
  OpenTelemetryWorkflowClientInterceptor,
} from '@temporalio/interceptors-opentelemetry-v2';
import type { ActivityExecuteInput, ActivityInboundCallsInterceptor, ActivityInterceptors } from '@temporalio/worker';
import { isTraced } from '../workflows/traced.js';
import { lookSignal } from '../workflows/watch-types.js';
import { attributesOfStep } from './attributes.js';

/** Traces what a client starts and asks for, below the command's own span. Queries and descriptions of a run that is followed are noise. */
export class ClientInterceptor extends OpenTelemetryWorkflowClientInterceptor {
  constructor(
    options: ConstructorParameters<typeof OpenTelemetryWorkflowClientInterceptor>[0],
    private readonly command: Context,
  ) {
    super(options);
  }

  override start(input: WorkflowStartInput, next: Next<WorkflowClientInterceptor, 'start'>): Promise<string> {
    return this.below(() => super.start(input, next));
  }

  override startWithDetails(
    input: WorkflowStartInput,
    next: Next<WorkflowClientInterceptor, 'startWithDetails'>,
  ): ReturnType<OpenTelemetryWorkflowClientInterceptor['startWithDetails']> {
    return this.below(() => super.startWithDetails(input, next));
  }

  override query(input: WorkflowQueryInput, next: Next<WorkflowClientInterceptor, 'query'>): Promise<unknown> {
    return next(input);
  }

  override describe(
    input: WorkflowDescribeInput,
    next: Next<WorkflowClientInterceptor, 'describe'>,
  ): ReturnType<OpenTelemetryWorkflowClientInterceptor['describe']> {
    return next(input);
  }

  override signal(input: WorkflowSignalInput, next: Next<WorkflowClientInterceptor, 'signal'>): Promise<void> {
    return input.signalName === lookSignal ? next(input) : this.below(() => super.signal(input, next));
  }

  private below<T>(action: () => Promise<T>): Promise<T> {
    return trace.getActiveSpan() === undefined ? context.with(this.command, action) : action();
  }
}

/** What a worker's activities are traced with. */
export const activityInterceptors =
  (tracer: Tracer) =>
  (activity: ActivityContext): ActivityInterceptors =>
    isTraced(activity.info.workflowType ?? '')
      ? {
          inbound: new ActivityInterceptor(activity, { tracer }),
          outbound: new OpenTelemetryActivityOutboundInterceptor(activity),
        }
      : {};

/** Says on an activity's span which step of the run it is. */
class ActivityInterceptor extends OpenTelemetryActivityInboundInterceptor {
  override execute(
    input: ActivityExecuteInput,
    next: Next<ActivityInboundCallsInterceptor, 'execute'>,
  ): Promise<unknown> {
    return super.execute(input, (changed) => {
      trace
        .getActiveSpan()
        ?.setAttributes({ ...attributesOfStep(input.args[0]), 'holdfast.attempt': this.ctx.info.attempt });
      return next(changed);
    });
  }
}
