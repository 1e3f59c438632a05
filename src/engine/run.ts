import type { Codec } from "../core/codec.ts";
import type { Runtime } from "../core/runtime.ts";
import type { DeadLetter } from "../core/store.ts";
import type { WorkflowNode } from "../workflow/definition.ts";
import type { InvocationId } from "../workflow/invocation-id.ts";
import type { Plan } from "../workflow/plan.ts";
import type { Readiness } from "../workflow/ready.ts";
import type { Journal } from "./journal.ts";
import type { Mailbox } from "./mailbox.ts";
import type { RunBudgets } from "./node-budget.ts";
import type { LargeValues } from "./large-values.ts";
import type { NodeGuards } from "./node-policies.ts";
import type { RunResult } from "./run-result.ts";
import type { SnapshotOptions } from "./snapshot-schedule.ts";

/** How a run is carried out, the same for all runs of an engine. */
export interface EngineSettings {
  readonly runtime: Runtime;
  readonly codec: Codec;
  /** Where encoded values go that are too large for a journal. */
  readonly values: LargeValues;
  /** How often a process may die while a node runs before the node is given up (C6.3). */
  readonly maxCrashes: number;
  /** How often a dead letter may be redriven before it is quarantined. */
  readonly maxRetries: number;
  readonly snapshots: SnapshotOptions;
}

/** Carries out the run of a workflow that is a node of another one, and gives its output. */
export type RunInner = (
  outer: ActiveRun,
  id: InvocationId,
  workflow: WorkflowNode["workflow"],
  input: unknown,
  signal: AbortSignal,
) => Promise<unknown>;

/** Cancels the run of a workflow that is a node of another one, and resolves when it has ended; where it has begun. */
export type CancelInner = (runId: string, workflow: WorkflowNode["workflow"], reason: unknown) => Promise<void>;

/** A run that this process carries out now: everything that `walk` and `invoke-node` need, in one place. */
export interface ActiveRun {
  readonly runId: string;
  readonly plan: Plan;
  readonly guards: ReadonlyMap<string, NodeGuards>;
  readonly journal: Journal;
  readonly readiness: Readiness;
  /** Signals that wait for this run. */
  readonly mailbox: Mailbox;
  readonly settings: EngineSettings;
  /** Aborts the nodes: by the caller, who cancels, or by us, when the run must stop. */
  readonly scope: AbortController;
  /** Dead letters of this run that are being redriven, by node visit. */
  readonly redriving: ReadonlyMap<string, DeadLetter>;
  readonly budgets: RunBudgets;
  readonly runInner: RunInner;
  readonly cancelInner: CancelInner;
}

/**
 * What is awaited of the blobs. Where they fail, the journal refuses everything from then on, so that the run stops, and
 * no node is blamed.
 */
export async function orStop<T>({ journal }: ActiveRun, awaited: T | Promise<T>): Promise<T> {
  try {
    return await awaited;
  } catch (error) {
    journal.abandon(error);
    throw error;
  }
}

/** A run that has begun: its start is stored. */
export interface RunHandle<Out = unknown> {
  readonly runId: string;
  /**
   * How the run ends. It rejects where the run has to stop, as `run` does. Nobody needs to look at it: what happens is
   * told by events, and stored.
   */
  readonly result: Promise<RunResult<Out>>;
}
