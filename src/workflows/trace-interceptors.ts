import { trace } from '@opentelemetry/api';
import {
  OpenTelemetryInboundInterceptor,
  OpenTelemetryInternalsInterceptor,
  OpenTelemetryOutboundInterceptor,
} from '@temporalio/interceptors-opentelemetry-v2/lib/workflow/index.js';
import type {
  ActivityInput,
  ContinueAsNewInput,
  Next,
  QueryInput,
  SignalInput,
  SignalWorkflowInput,
  StartChildWorkflowExecutionInput,
  WorkflowExecuteInput,
  WorkflowInboundCallsInterceptor,
  WorkflowInterceptors,
  WorkflowOutboundCallsInterceptor,
} from '@temporalio/workflow';
import { workflowInfo } from '@temporalio/workflow';
import { attributesOfStep } from '../tracing/attributes.js';
import { isTraced } from './traced.js';

/** Bundled with the workflows where traces are configured, and only there. */

type Call<Input, Result> = (input: Input) => Promise<Result>;

/**
 * Traces a call without being in its way: it settles when it would have without, so that a run goes on from the same
 * history when traces are turned on or off meanwhile, and it is made even where tracing fails.
 */
function beside<Input, Result>(
  traced: (input: Input, next: Call<Input, Result>) => Promise<Result>,
  input: Input,
  next: Call<Input, Result>,
): Promise<Result> {
  let made: { result: Promise<Result> } | { error: unknown } | undefined;
  traced(input, (changed) => {
    try {
      const result = next(changed);
      made = { result };
      return result;
    } catch (error) {
      made = { error };
      throw error;
    }
  }).catch(() => undefined);
  if (made === undefined) return next(input);
  if ('error' in made) throw made.error;
  return made.result;
}

class Inbound extends OpenTelemetryInboundInterceptor {
  override execute(
    input: WorkflowExecuteInput,
    next: Next<WorkflowInboundCallsInterceptor, 'execute'>,
  ): Promise<unknown> {
    return beside((changed, call) => super.execute(changed, call), input, next);
  }

  override handleSignal(
    input: SignalInput,
    next: Next<WorkflowInboundCallsInterceptor, 'handleSignal'>,
  ): Promise<void> {
    return beside((changed, call) => super.handleSignal(changed, call), input, next);
  }

  /** Whoever follows a run asks several times a second. */
  override handleQuery(
    input: QueryInput,
    next: Next<WorkflowInboundCallsInterceptor, 'handleQuery'>,
  ): Promise<unknown> {
    return next(input);
  }
}

class Outbound extends OpenTelemetryOutboundInterceptor {
  override scheduleActivity(
    input: ActivityInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'scheduleActivity'>,
  ): Promise<unknown> {
    return beside(
      (changed, call) =>
        super.scheduleActivity(changed, (named) => {
          trace.getActiveSpan()?.setAttributes(attributesOfStep(input.args[0]));
          return call(named);
        }),
      input,
      next,
    );
  }

  override startChildWorkflowExecution(
    input: StartChildWorkflowExecutionInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'startChildWorkflowExecution'>,
  ): Promise<[Promise<string>, Promise<unknown>]> {
    return beside((changed, call) => super.startChildWorkflowExecution(changed, call), input, next);
  }

  override continueAsNew(
    input: ContinueAsNewInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'continueAsNew'>,
  ): Promise<never> {
    return beside((changed, call) => super.continueAsNew(changed, call), input, next);
  }

  override signalWorkflow(
    input: SignalWorkflowInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'signalWorkflow'>,
  ): Promise<void> {
    return beside((changed, call) => super.signalWorkflow(changed, call), input, next);
  }
}

export const interceptors = (): WorkflowInterceptors =>
  isTraced(workflowInfo().workflowType)
    ? {
        inbound: [new Inbound()],
        outbound: [new Outbound()],
        internals: [new OpenTelemetryInternalsInterceptor()],
      }
    : {};
