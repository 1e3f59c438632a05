import type { StoredError } from "../core/errors.ts";
import type { RunStatus } from "../core/store.ts";
import type { InvocationId } from "./invocation-id.ts";

/** A value as the codec wrote it. Kept as text, so that nobody can change what is journaled. */
export type Encoded = string;

/**
 * What an invocation works on, where that is not what follows from the graph alone: the visits that edges delivered
 * from, or the one that started it by itself, over an edge or by handing off.
 */
export interface Origin {
  readonly from?: readonly string[] | undefined;
  readonly by?: string | undefined;
}

/**
 * Everything that can happen to a run, in the words of its journal. Instants are wall-clock milliseconds; what
 * was spent is in whole units of the node's budget: nano-dollars, tokens or calls. New kinds and fields may be added; the meaning of these stays.
 */
export type RunEvent =
  | {
      kind: "run_started";
      workflowId: string;
      outline: string;
      fingerprint: string;
      input: Encoded;
      /** Where the run goes on from another one: what that one had done comes with this record. */
      fork?: Fork;
      at: number;
    }
  /** A life of the run begins. Whatever was in flight died with a process that `crashed`. */
  | { kind: "run_resumed"; crashed: boolean; at: number }
  /** Only time or a signal leads on: nobody holds the run meanwhile. */
  | { kind: "run_waiting"; wakeAt: number | null; at: number }
  | { kind: "definition_changed"; outline: string; fingerprint: string; at: number }
  | {
      kind: "run_migrated";
      rename: Readonly<Record<string, string>>;
      forget: readonly string[];
      outputs: Readonly<Record<string, Encoded>>;
      at: number;
    }
  | ({ kind: "invocation_started"; id: InvocationId; at: number } & Origin)
  | { kind: "attempt_started"; id: InvocationId; attempts: number; at: number }
  | {
      kind: "attempt_failed";
      id: InvocationId;
      attempts: number;
      failures: number;
      error: StoredError;
      retryDelayMs: number;
      retryAt: number;
      spent?: number;
      /** Where the breaker of the node is open since. */
      circuit?: OpenCircuit;
    }
  /** It waits for an instant, or for a signal until that instant, without a process. */
  | { kind: "invocation_sleeping"; id: InvocationId; wakeAt: number | null; signal: string | null; at: number }
  /** A step inside a node, or an item of a map, is done and will not be done again. */
  | { kind: "step_completed"; id: InvocationId; step: string; output: Encoded; at: number }
  | {
      kind: "invocation_completed";
      id: InvocationId;
      attempts: number;
      output: Encoded;
      /** The successors whose edges are taken, where that is not all of them. */
      next?: readonly string[];
      /** The node that gets the output as a message, instead of the successors. */
      handoff?: string;
      spent?: number;
      at: number;
    }
  | {
      kind: "invocation_failed";
      id: InvocationId;
      attempts: number;
      error: StoredError;
      spent?: number;
      circuit?: OpenCircuit;
      at: number;
    }
  | { kind: "node_redriven"; node: string; iteration: number; at: number }
  | { kind: "run_completed"; at: number }
  | { kind: "run_failed"; node: string; iteration?: number; error: StoredError; at: number }
  /** From now on only what was done is undone, newest first. */
  | { kind: "run_cancelling"; reason: StoredError; at: number }
  | { kind: "compensated"; id: InvocationId; error?: StoredError; at: number }
  | { kind: "run_cancelled"; reason: StoredError; at: number };

/** Until when a breaker refuses calls, in wall-clock milliseconds, and how many failures have opened it. */
export interface OpenCircuit {
  readonly until: number;
  readonly failures: number;
}

/** The run, and the node of it, that another one goes on from; `input` in place of what the node had got. */
export interface Fork {
  readonly runId: string;
  readonly node: string;
  readonly input?: Encoded;
}

export type StepCompleted = Extract<RunEvent, { kind: "step_completed" }>;

/**
 * One invocation: its data lies in the branch of its status. `attempts` counts calls of the function, `failures` the
 * tries that a retry has used up, refusals included, and `crashes` the processes that died while it ran.
 */
export type Invocation = {
  readonly id: InvocationId;
  attempts: number;
  failures: number;
  crashes: number;
  startedAt: number;
  spent: number;
} & Origin &
  (
    | { status: "running" }
    | { status: "waiting"; retryAt: number }
    | { status: "sleeping"; wakeAt: number | null; signal: string | null }
    | Completed
    | { status: "failed"; error: StoredError; endedAt: number }
  );

interface Completed {
  status: "completed";
  output: Encoded;
  endedAt: number;
  next?: readonly string[] | undefined;
  handoff?: string | undefined;
}

export type CompletedInvocation = Invocation & Completed;

/** Where a run stands: a fold over its events. */
export interface RunState {
  status: RunStatus | "new";
  workflowId: string;
  outline: string;
  fingerprint: string;
  input: Encoded;
  startedAt: number;
  endedAt: number;
  fork: Fork | null;
  failure: { node: string; iteration: number; error: StoredError } | null;
  /** Why the run is being cancelled, while what it did is undone, or was cancelled. */
  cancelReason: StoredError | null;
  /** Keys of node visits that somebody has redriven: their dead letters are settled by this run. */
  redriven: Set<string>;
  /** By `invocationKey`, in the order in which they began. */
  invocations: Map<string, Invocation>;
  /** Keys of invocations that have ended, in the order in which they did: what follows from them depends on it. */
  ended: Set<string>;
  /** Outputs of steps of invocations that have not completed, by `invocationKey` and name of the step. */
  steps: Map<string, Map<string, Encoded>>;
  /** What each node has spent, failures that were redriven since included. */
  spent: Map<string, number>;
  /** Breakers that were open when last heard of, by node: another process opens its own for the rest of their time. */
  circuits: Map<string, OpenCircuit>;
  /** What undoing came to, by key of invocation; null where it worked. */
  compensated: Map<string, StoredError | null>;
}

export function newRunState(): RunState {
  return {
    status: "new",
    workflowId: "",
    outline: "",
    fingerprint: "",
    input: "",
    startedAt: 0,
    endedAt: 0,
    fork: null,
    failure: null,
    cancelReason: null,
    redriven: new Set(),
    invocations: new Map(),
    ended: new Set(),
    steps: new Map(),
    spent: new Map(),
    circuits: new Map(),
    compensated: new Map(),
  };
}

/** What leads a run on that only waits: the first instant, or null where there is none, and the signals. */
export function wakingOf({ invocations }: RunState): { wakeAt: number | null; wakeOn: string[] } {
  let first = Infinity;
  const wakeOn: string[] = [];
  for (const invocation of invocations.values()) {
    if (invocation.status !== "sleeping") continue;
    first = Math.min(first, invocation.wakeAt ?? Infinity);
    if (invocation.signal !== null) wakeOn.push(invocation.signal);
  }
  return { wakeAt: first === Infinity ? null : first, wakeOn };
}

/** Whether an invocation has not ended. */
export function isOpen({ status }: Invocation): boolean {
  return status === "running" || status === "waiting" || status === "sleeping";
}
