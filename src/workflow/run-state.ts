import { StoreCorruptError, type StoredError } from "../core/errors.ts";
import type { RunStatus } from "../core/store.ts";
import { type InvocationId, invocationKey, type Visit, visitKey } from "./invocation-id.ts";

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
      state.fork = event.fork ?? null;
      state.startedAt = event.at;
      return;
    case "run_resumed":
      expect(state.status === "running" || state.status === "waiting", event, state);
      state.status = "running";
      if (!event.crashed) return;
      // Whatever was in flight died with its process; how often counts towards giving up on it (C6.3).
      for (const invocation of state.invocations.values()) if (invocation.status === "running") invocation.crashes++;
      return;
    case "run_waiting":
      expect(state.status === "running", event, state);
      state.status = "waiting";
      return;
    case "definition_changed":
      expect(state.status === "running" || state.status === "waiting", event, state);
      state.outline = event.outline;
      state.fingerprint = event.fingerprint;
      return;
    case "run_migrated":
      expect(state.status === "running" || state.status === "waiting", event, state);
      return migrate(state, event);
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
        spent: 0,
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
      spend(state, invocation, event.spent);
      hear(state, invocation, event.circuit);
      return;
    }
    case "invocation_sleeping": {
      const { wakeAt, signal } = event;
      Object.assign(open(state, event), { status: "sleeping", wakeAt, signal });
      return;
    }
    case "step_completed":
      expect(!state.steps.get(invocationKey(event.id))?.has(event.step), event, state);
      open(state, event);
      return applyStep(state, event);
    case "invocation_completed": {
      const { attempts, output, next, handoff, at } = event;
      const invocation = open(state, event);
      const key = invocationKey(event.id);
      Object.assign(invocation, { status: "completed", attempts, output, endedAt: at });
      spend(state, invocation, event.spent);
      state.circuits.delete(servedBy(invocation));
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
      spend(state, invocation, event.spent);
      hear(state, invocation, event.circuit);
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
    case "run_cancelling":
      expect(state.status === "running" && state.cancelReason === null, event, state);
      state.cancelReason = event.reason;
      return;
    case "compensated":
      expect(state.status === "running" && state.cancelReason !== null, event, state);
      state.compensated.set(invocationKey(event.id), event.error ?? null);
      return;
    case "run_cancelled":
      expect(state.status === "running" || state.status === "waiting", event, state);
      state.status = "cancelled";
      state.endedAt = event.at;
      state.cancelReason = event.reason;
      return;
  }
  // The types say that this is never reached; a journal of a newer version may say otherwise.
  throw new StoreCorruptError(
    `The journal has an event of the unknown kind "${String((event as { kind?: unknown }).kind)}". A newer version of Holdfast wrote it: use that version.`,
  );
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

/** Keeps what a step has given. Also where its invocation has ended since: the step is stored, for a redrive. */
export function applyStep(state: RunState, { id, step, output }: StepCompleted): void {
  const key = invocationKey(id);
  state.steps.set(key, (state.steps.get(key) ?? new Map<string, Encoded>()).set(step, output));
}

function spend(state: RunState, invocation: Invocation, amount: number = 0): void {
  if (amount === 0) return;
  invocation.spent += amount;
  const node = servedBy(invocation);
  state.spent.set(node, (state.spent.get(node) ?? 0) + amount);
}

function hear(state: RunState, invocation: Invocation, circuit: OpenCircuit | undefined): void {
  if (circuit !== undefined) state.circuits.set(servedBy(invocation), circuit);
}

/** The node whose function is called. */
function servedBy({ id }: Invocation): string {
  return id.backup ?? id.node;
}

/** Whether an invocation has not ended. */
export function isOpen({ status }: Invocation): boolean {
  return status === "running" || status === "waiting" || status === "sleeping";
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

function migrate(state: RunState, { rename, forget, outputs }: Extract<RunEvent, { kind: "run_migrated" }>): void {
  const forgotten = new Set(forget);
  const named = (node: string): string => (Object.hasOwn(rename, node) ? rename[node]! : node);
  const kept = (visit: Visit & { backup?: string | undefined }): InvocationId => {
    const id = { node: named(visit.node), iteration: visit.iteration };
    return visit.backup === undefined ? id : { ...id, backup: named(visit.backup) };
  };
  const moved = new Map<string, string>();
  const invocations = new Map<string, Invocation>();
  for (const [key, invocation] of state.invocations) {
    if (forgotten.has(invocation.id.node)) continue;
    const id = kept(invocation.id);
    const now = invocationKey(id);
    moved.set(key, now);
    invocations.set(now, { ...invocation, id });
  }
  const movedVisits = (keys: readonly string[]): string[] => keys.map((key) => moved.get(key) ?? key);
  for (const [key, invocation] of invocations) {
    const { from, by } = invocation;
    if (from !== undefined) Object.assign(invocation, { from: movedVisits(from) });
    if (by !== undefined) Object.assign(invocation, { by: moved.get(by) ?? by });
    const { next, handoff } = invocation as Partial<CompletedInvocation>;
    if (next !== undefined) Object.assign(invocation, { next: next.map(named) });
    if (handoff !== undefined) Object.assign(invocation, { handoff: named(handoff) });
    if (Object.hasOwn(outputs, key)) Object.assign(invocation, { output: outputs[key] });
  }
  const present = (keys: Iterable<string>): string[] => [...keys].flatMap((key) => moved.get(key) ?? []);
  state.circuits = new Map([...state.circuits].map(([node, circuit]) => [named(node), circuit]));
  state.spent = new Map([...state.spent].map(([node, amount]) => [named(node), amount]));
  state.ended = new Set(present(state.ended));
  state.redriven = new Set(present(state.redriven));
  state.steps = new Map([...state.steps].flatMap(([key, steps]) => (moved.has(key) ? [[moved.get(key)!, steps]] : [])));
  state.invocations = invocations;
}

function expect(legal: boolean, event: { kind: string; id?: InvocationId }, state: RunState): void {
  if (legal) return;
  const where = event.id === undefined ? "" : ` of ${invocationKey(event.id)}`;
  throw new StoreCorruptError(`The event ${event.kind}${where} does not fit a run that is ${state.status}.`);
}
