import { StoreCorruptError, type StoredError } from "../core/errors.ts";
import type { RunStatus } from "../core/store.ts";
import { type InvocationId, invocationKey, visitKey } from "./invocation-id.ts";

/** A value as the codec wrote it. Kept as text, so that nobody can change what is journaled. */
type Encoded = string;

/**
 * What an invocation works on, where that is not what follows from the graph alone: the visits that edges delivered
 * from, or the one that started it by itself, over an edge or by handing off.
 */
export interface Origin {
  readonly from?: readonly string[] | undefined;
  readonly by?: string | undefined;
}

/**
 * Everything that can happen to a run, in the words of its journal. Instants are wall-clock milliseconds. New kinds and fields may be added; the meaning of these stays.
 */
export type RunEvent =
  | { kind: "run_started"; workflowId: string; outline: string; fingerprint: string; input: Encoded; at: number }
  /** A life of the run begins. Whatever was in flight died with a process that `crashed`. */
  | { kind: "run_resumed"; crashed: boolean; at: number }
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
    }
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
      at: number;
    }
  | { kind: "invocation_failed"; id: InvocationId; attempts: number; error: StoredError; at: number }
  | { kind: "node_redriven"; node: string; iteration: number; at: number }
  | { kind: "run_completed"; at: number }
  | { kind: "run_failed"; node: string; iteration?: number; error: StoredError; at: number }
  | { kind: "run_cancelled"; reason: StoredError; at: number };

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
} & Origin &
  (
    | { status: "running" }
    | { status: "waiting"; retryAt: number }
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
  failure: { node: string; iteration: number; error: StoredError } | null;
  cancelReason: StoredError | null;
  /** Keys of node visits that somebody has redriven: their dead letters are settled by this run. */
  redriven: Set<string>;
  /** By `invocationKey`, in the order in which they began. */
  invocations: Map<string, Invocation>;
  /** Keys of invocations that have ended, in the order in which they did: what follows from them depends on it. */
  ended: Set<string>;
  /** Outputs of steps of invocations that have not completed, by `invocationKey` and name of the step. */
  steps: Map<string, Map<string, Encoded>>;
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
    failure: null,
    cancelReason: null,
    redriven: new Set(),
    invocations: new Map(),
    ended: new Set(),
    steps: new Map(),
  };
}

/**
 * Applies one event in place: the only state machine of a run. In place, since copying makes a long replay quadratic.
 * An event that is not legal here throws `StoreCorruptError`: either the journal is damaged or we are wrong, and in
 * both cases nothing must be done on the strength of it.
 */
export function applyEvent(state: RunState, event: RunEvent): void {
  switch (event.kind) {
    case "run_started":
      expect(state.status === "new", event, state);
      state.status = "running";
      state.workflowId = event.workflowId;
      state.outline = event.outline;
      state.fingerprint = event.fingerprint;
      state.input = event.input;
      state.startedAt = event.at;
      return;
    case "run_resumed":
      expect(state.status === "running", event, state);
      if (!event.crashed) return;
      // Whatever was in flight died with its process; how often counts towards giving up on it (C6.3).
      for (const invocation of state.invocations.values()) if (invocation.status === "running") invocation.crashes++;
      return;
    case "invocation_started": {
      const { id, from, by, at } = event;
      const key = invocationKey(id);
      expect(state.status === "running" && !state.invocations.has(key), event, state);
      const invocation: Invocation = {
        id,
        status: "running",
        attempts: 1,
        failures: 0,
        crashes: 0,
        startedAt: at,
      };
      if (from !== undefined) Object.assign(invocation, { from });
      if (by !== undefined) Object.assign(invocation, { by });
      state.invocations.set(key, invocation);
      return;
    }
    case "attempt_started":
      Object.assign(open(state, event), { status: "running", attempts: event.attempts });
      return;
    case "attempt_failed": {
      const { attempts, failures, retryAt } = event;
      const invocation = open(state, event);
      Object.assign(invocation, { status: "waiting", attempts, failures, retryAt });
      return;
    }
    case "step_completed": {
      const { step, output } = event;
      open(state, event);
      const key = invocationKey(event.id);
      const steps = state.steps.get(key) ?? new Map<string, Encoded>();
      expect(!steps.has(step), event, state);
      state.steps.set(key, steps.set(step, output));
      return;
    }
    case "invocation_completed": {
      const { attempts, output, next, handoff, at } = event;
      const invocation = open(state, event);
      const key = invocationKey(event.id);
      Object.assign(invocation, { status: "completed", attempts, output, endedAt: at });
      if (next !== undefined) Object.assign(invocation, { next });
      if (handoff !== undefined) Object.assign(invocation, { handoff });
      state.steps.delete(key);
      state.ended.add(key);
      return;
    }
    case "invocation_failed": {
      const { attempts, error, at } = event;
      const invocation = open(state, event);
      Object.assign(invocation, { status: "failed", attempts, error, endedAt: at });
      state.ended.add(invocationKey(event.id));
      return;
    }
    case "node_redriven": {
      // A run that went on without a node that had failed may have completed.
      const visit = visitKey(event);
      const hasFailed = state.invocations.get(visit)?.status === "failed";
      expect(state.status === "failed" || (state.status === "completed" && hasFailed), event, state);
      state.status = "running";
      state.failure = null;
      state.redriven.add(visit);
      for (const [key, { id, status }] of state.invocations) {
        if (status !== "failed" || visitKey(id) !== visit) continue;
        state.invocations.delete(key);
        state.ended.delete(key);
      }
      return;
    }
    case "run_completed":
      return end(state, "completed", event);
    case "run_failed":
      end(state, "failed", event);
      state.failure = { node: event.node, iteration: event.iteration ?? 0, error: event.error };
      return;
    case "run_cancelled":
      end(state, "cancelled", event);
      state.cancelReason = event.reason;
      return;
  }
  // The types say that this is never reached; a journal of a newer version may say otherwise.
  throw new StoreCorruptError(
    `The journal has an event of the unknown kind "${String((event as { kind?: unknown }).kind)}". A newer version of Holdfast wrote it: use that version.`,
  );
}

/** Whether an invocation has not ended. */
export function isOpen({ status }: Invocation): boolean {
  return status === "running" || status === "waiting";
}

function open(state: RunState, event: RunEvent & { id: InvocationId }): Invocation {
  const invocation = state.invocations.get(invocationKey(event.id));
  expect(state.status === "running" && invocation !== undefined && isOpen(invocation), event, state);
  return invocation!;
}

function end(state: RunState, status: RunStatus, event: { kind: string; at: number }): void {
  expect(state.status === "running", event, state);
  state.status = status;
  state.endedAt = event.at;
}

function expect(legal: boolean, event: { kind: string; id?: InvocationId }, state: RunState): void {
  if (legal) return;
  const where = event.id === undefined ? "" : ` of ${invocationKey(event.id)}`;
  throw new StoreCorruptError(`The event ${event.kind}${where} does not fit a run that is ${state.status}.`);
}
