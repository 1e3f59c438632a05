import type { Codec } from "../core/codec.ts";
import { messageOf, revivedError, WorkflowExecutionError } from "../core/errors.ts";
import type { DeadLetter } from "../core/store.ts";
import type { Plan } from "../workflow/plan.ts";
import { Readiness } from "../workflow/ready.ts";
import { invocationKey } from "../workflow/invocation-id.ts";
import type { CompletedInvocation, RunState } from "../workflow/run-state.ts";
import { dollarsOf } from "./node-budget.ts";
import { isDegraded } from "./announce.ts";
import type { LargeValues } from "./large-values.ts";

/** One step of a run as its result lists it (C10.3). */
export interface AgentStep {
  nodeId: string;
  invocationId: string;
  /** Calls of the function that were made. */
  attempts: number;
  /** The node itself or the backup that stood in. */
  servedBy: string;
  durationMs: number;
  costUsd: number;
  error?: Error;
}

/** How a run ended. */
export interface RunResult<Out = unknown> {
  runId: string;
  workflowId: string;
  status: "completed" | "failed" | "cancelled";
  success: boolean;
  /** Of the only end node, or an object keyed by end node ids; undefined unless completed. */
  output: Out | undefined;
  error?: WorkflowExecutionError;
  /** Whether a backup stood in for any node. */
  degraded: boolean;
  /** What all nodes have spent together, failures that were redriven since included, in US dollars. */
  costUsd: number;
  /** In the order in which they began. */
  agentSteps: AgentStep[];
  /** How many invocations of a node failed, backups included. */
  nodeFailures: Map<string, number>;
  deadLetters: DeadLetter[];
  /** Wall-clock milliseconds. */
  startedAt: number;
  endedAt: number;
  /** Whether this call found work of an earlier one. */
  resumed: boolean;
}

/** What it takes to read stored values. */
interface Reading {
  readonly codec: Codec;
  readonly values: LargeValues;
}

/** The result of a run that has ended, worked out from its state alone: the same now and when it is read again later. */
export async function resultOf(
  runId: string,
  plan: Plan,
  state: RunState,
  reading: Reading,
  deadLetters: DeadLetter[],
  resumed: boolean,
  ends: ServedEnds,
): Promise<RunResult> {
  const { status } = state;
  if (status !== "completed" && status !== "failed" && status !== "cancelled")
    throw new Error(`Run "${runId}" is ${status}, not ended.`);
  const error = status === "completed" ? undefined : errorOf(runId, state);
  return {
    runId,
    workflowId: state.workflowId,
    status,
    success: status === "completed",
    output: status === "completed" ? await outputOf(ends, reading) : undefined,
    ...(error !== undefined && { error }),
    degraded: isDegraded(state),
    costUsd: [...state.spent].reduce((sum, [node, spent]) => sum + dollarsOf(plan.definition, node, spent), 0),
    agentSteps: stepsOf(plan, state),
    nodeFailures: failuresOf(state),
    deadLetters,
    startedAt: state.startedAt,
    endedAt: state.endedAt,
    resumed,
  };
}

function errorOf(runId: string, state: RunState): WorkflowExecutionError {
  if (state.cancelReason !== null) {
    return new WorkflowExecutionError(
      `Run "${runId}" was cancelled: ${state.cancelReason.message}`,
      { runId },
      revivedError(state.cancelReason),
    );
  }
  const { node, iteration, error } = state.failure!;
  const attempts = state.invocations.get(invocationKey({ node, iteration }))?.attempts ?? 0;
  const cause = revivedError(error);
  return new WorkflowExecutionError(
    `Node "${node}" of run "${runId}" failed after ${attempts} ${attempts === 1 ? "attempt" : "attempts"}: ${messageOf(cause).replace(/\.$/, "")}. Its input is kept as a dead letter; redrive it to go on from there.`,
    { runId, nodeId: node, attempts },
    cause,
  );
}

/** The invocations that give the output of a run, by end node; by no name where any node may end it. */
export type ServedEnds = readonly (readonly [string, CompletedInvocation | undefined])[];

/** Whoever has walked the run knows how far it has come; otherwise that is worked out anew. */
export function servedEnds(plan: Plan, state: RunState, walked: Readiness | undefined): ServedEnds {
  if (state.status !== "completed") return [];
  const readiness = walked ?? new Readiness(plan, state);
  if (walked === undefined) {
    readiness.atStart();
    for (const key of state.ended) readiness.afterEnd(state.invocations.get(key)!);
  }
  if (plan.handsOff) return [["", readiness.lastHome]];
  return plan.ends.map((node) => [node, readiness.lastOf(node)]);
}

async function outputOf(ends: ServedEnds, { codec, values }: Reading): Promise<unknown> {
  // Ends that were passed over have no field.
  const served = ends.flatMap(([node, last]) => (last === undefined ? [] : [{ node, last }]));
  const loaded = values.loadAll(served.map(({ last }) => last.output));
  const outputs = (loaded instanceof Promise ? await loaded : loaded).map((encoded) => codec.decode(encoded));
  if (ends.length === 1) return outputs[0];
  return Object.fromEntries(served.map(({ node }, i) => [node, outputs[i]]));
}

function stepsOf(plan: Plan, state: RunState): AgentStep[] {
  const steps: AgentStep[] = [];
  for (const [key, invocation] of state.invocations) {
    if (invocation.status !== "completed" && invocation.status !== "failed") continue;
    const { id, attempts, startedAt, endedAt } = invocation;
    steps.push({
      nodeId: id.node,
      invocationId: key,
      attempts,
      servedBy: id.backup ?? id.node,
      durationMs: endedAt - startedAt,
      costUsd: dollarsOf(plan.definition, id.backup ?? id.node, invocation.spent),
      ...(invocation.status === "failed" && { error: revivedError(invocation.error) }),
    });
  }
  return steps;
}

function failuresOf(state: RunState): Map<string, number> {
  const failures = new Map<string, number>();
  for (const { id, status } of state.invocations.values()) {
    if (status !== "failed") continue;
    const nodeId = id.backup ?? id.node;
    failures.set(nodeId, (failures.get(nodeId) ?? 0) + 1);
  }
  return failures;
}
