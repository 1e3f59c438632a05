import { RunInUseError, type WorkflowExecutionError } from "./core/errors.ts";
import { aBoolean, anId, anything, checkOptions, type Rules } from "./core/options.ts";
import type { DeadLetter, Store } from "./core/store.ts";
import { createEngine, engineFor } from "./default-engine.ts";
import type { AgentStep } from "./engine/run-result.ts";
import type { Runnable } from "./engine/runnable.ts";
import { MemoryStore } from "./stores/memory.ts";

export interface ResilientQueueRunOptions<In, Out> {
  workflow: Runnable<In, Out>;
  workflowInput: In;
  /** The run id. @default a new id */
  workflowInvocationId?: string | undefined;
  /** Whether a run that is known under that id is carried on; otherwise it is refused with `RunInUseError`. @default true */
  resumeFromCheckpoint?: boolean | undefined;
  /** Whether the run is kept; otherwise nothing of it survives the process. @default true */
  enableCheckpointing?: boolean | undefined;
  /** Where the run is kept. @default the default store */
  store?: Store | undefined;
  /** Cancels the run. */
  signal?: AbortSignal | undefined;
}

export interface ResilientQueueRunResult<Out = unknown> {
  success: boolean;
  /** Of the only end node, or an object keyed by end node ids; undefined unless the run completed. */
  finalWorkflowOutput: Out | undefined;
  agentSteps: AgentStep[];
  error?: WorkflowExecutionError;
  /** From the start of the run to its end, the time between two lives of it included. Milliseconds. */
  totalTime: number;
  /** What all nodes have spent together, in US dollars. */
  totalCost: number;
  /** Whether work of an earlier life was found and kept. */
  checkpointUsed: boolean;
  /** Whether a fallback stood in for any node. */
  degraded: boolean;
  /** How many invocations of a node failed; absent where none did. */
  nodeFailures?: Map<string, number>;
  deadLetters: DeadLetter[];
}

const RULES: Rules<ResilientQueueRunOptions<unknown, unknown>> = {
  workflow: anything,
  workflowInput: anything,
  workflowInvocationId: anId,
  resumeFromCheckpoint: aBoolean,
  enableCheckpointing: aBoolean,
  store: anything,
  signal: anything,
};

/**
 * Runs a workflow like `execute`, with the whole story as the result: a node that fails is a result, not an error.
 * Rejects only when the run cannot be carried on here, for example because its store is in trouble.
 *
 * @example
 * ```ts
 * import { MemoryStore, resilientQueueRun, Workflow } from "holdfast";
 *
 * const workflow = new Workflow({ id: "shout" })
 *   .addNode("model", (_text: string): string => { throw new Error("model is down"); })
 *   .addNode("rules", (text: string) => text.toUpperCase())
 *   .addFallback("model", "rules");
 *
 * const run = await resilientQueueRun({ workflow, workflowInput: "hello", store: new MemoryStore() });
 * console.log(run.finalWorkflowOutput); // => "HELLO"
 * console.log(run.degraded); // => true
 * console.log(run.nodeFailures?.get("model")); // => 1
 * ```
 */
export async function resilientQueueRun<In, Out>(
  options: ResilientQueueRunOptions<In, Out>,
): Promise<ResilientQueueRunResult<Out>> {
  const checked = checkOptions<ResilientQueueRunOptions<unknown, unknown>>(
    "resilientQueueRun",
    options as never,
    RULES,
  );
  const { workflowInvocationId: runId, resumeFromCheckpoint = true, enableCheckpointing = true } = checked;
  const engine = enableCheckpointing ? engineFor(checked.store) : createEngine({ store: new MemoryStore() });
  if (!resumeFromCheckpoint && runId !== undefined && (await engine.get(runId)) !== undefined) {
    throw new RunInUseError(
      runId,
      `Run "${runId}" exists, and resumeFromCheckpoint is false. Choose another workflowInvocationId, or let it resume.`,
    );
  }
  const result = await engine.run(options.workflow, options.workflowInput, { runId, signal: checked.signal });
  return {
    success: result.success,
    finalWorkflowOutput: result.output,
    agentSteps: result.agentSteps,
    ...(result.error !== undefined && { error: result.error }),
    totalTime: result.endedAt - result.startedAt,
    totalCost: result.costUsd,
    checkpointUsed: result.resumed,
    degraded: result.degraded,
    ...(result.nodeFailures.size > 0 && { nodeFailures: result.nodeFailures }),
    deadLetters: result.deadLetters,
  };
}
