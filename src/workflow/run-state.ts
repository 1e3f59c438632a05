import { StoreCorruptError, type StoredError } from "../core/errors.ts";
import type { RunStatus } from "../core/store.ts";

/**
 * Which delivery to which node: `iteration` counts visits of a loop from 0, `backup` names the node that stands in.
 * Never an order of calls, so that a graph whose branches finish in another order still fits its journal.
 */
export interface InvocationId {
  readonly node: string;
  readonly iteration: number;
  readonly backup?: string | undefined;
}

/** A value as the codec wrote it. Kept as text, so that nobody can change what is journaled. */
type Encoded = string;

/**
 * Everything that can happen to a run, in the words of its journal. Instants are wall-clock milliseconds. New kinds
 * may be added; the meaning of these stays.
 */
export type RunEvent =
  | { kind: "run_started"; workflowId: string; outline: string; fingerprint: string; input: Encoded; at: number }
  | { kind: "run_resumed"; crashed: boolean; at: number }
  | { kind: "invocation_started"; id: InvocationId; at: number }
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
  | { kind: "invocation_completed"; id: InvocationId; attempts: number; output: Encoded; at: number }
  | { kind: "invocation_failed"; id: InvocationId; attempts: number; error: StoredError; at: number }
  | { kind: "node_redriven"; node: string; iteration: number; at: number }
  | { kind: "run_completed"; at: number }
  | { kind: "run_failed"; node: string; error: StoredError; at: number }
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
} & (
  | { status: "running" }
  | { status: "waiting"; retryAt: number }
  | { status: "completed"; output: Encoded; endedAt: number }
  | { status: "failed"; error: StoredError; endedAt: number }
);

/** Where a run stands: a fold over its events. */
export interface RunState {
  status: RunStatus | "new";
  workflowId: string;
  outline: string;
  fingerprint: string;
  input: Encoded;
  startedAt: number;
  endedAt: number;
  failure: { node: string; error: StoredError } | null;
  cancelReason: StoredError | null;
  /** Keys of node visits that somebody has redriven: their dead letters are settled by this run. */
  redriven: Set<string>;
  /** By `invocationKey`, in the order in which they began. */
  invocations: Map<string, Invocation>;
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
  };
}

/** The text form of an invocation id, which users see: `classify#0`, or `classify#0>rules` for a stand-in. */
export function invocationKey({ node, iteration, backup }: InvocationId): string {
  const key = `${escape(node)}#${iteration}`;
  return backup === undefined ? key : `${key}>${escape(backup)}`;
}

/** The invocation id that a text form names. */
export function invocationIdOf(key: string): InvocationId {
  const [visit = "", backup] = key.split(">");
  const [node = "", iteration] = visit.split("#");
  const id = { node: unescape(node), iteration: Number(iteration) };
  return backup === undefined ? id : { ...id, backup: unescape(backup) };
}

// Node ids are any text, so the three marks that have a meaning here are escaped in them.
function escape(id: string): string {
  return /[%#>]/.test(id) ? id.replace(/[%#>]/g, (mark) => `%${mark.charCodeAt(0).toString(16)}`) : id;
}

function unescape(text: string): string {
  return text.replace(/%(25|23|3e)/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
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
      const key = invocationKey(event.id);
      expect(state.status === "running" && !state.invocations.has(key), event, state);
      state.invocations.set(key, {
        id: event.id,
        status: "running",
        attempts: 1,
        failures: 0,
        crashes: 0,
        startedAt: event.at,
      });
      return;
    }
    case "attempt_started":
      Object.assign(open(state, event), { status: "running", attempts: event.attempts });
      return;
    case "attempt_failed": {
      const { attempts, failures, retryAt } = event;
      Object.assign(open(state, event), { status: "waiting", attempts, failures, retryAt });
      return;
    }
    case "invocation_completed":
      Object.assign(open(state, event), {
        status: "completed",
        attempts: event.attempts,
        output: event.output,
        endedAt: event.at,
      });
      return;
    case "invocation_failed":
      Object.assign(open(state, event), {
        status: "failed",
        attempts: event.attempts,
        error: event.error,
        endedAt: event.at,
      });
      return;
    case "node_redriven":
      expect(state.status === "failed", event, state);
      state.status = "running";
      state.failure = null;
      state.redriven.add(invocationKey(event));
      for (const [key, { id, status }] of state.invocations) {
        if (id.node === event.node && id.iteration === event.iteration && status === "failed")
          state.invocations.delete(key);
      }
      return;
    case "run_completed":
      return end(state, "completed", event);
    case "run_failed":
      end(state, "failed", event);
      state.failure = { node: event.node, error: event.error };
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

function open(state: RunState, event: RunEvent & { id: InvocationId }): Invocation {
  const invocation = state.invocations.get(invocationKey(event.id));
  const isOpen = invocation !== undefined && (invocation.status === "running" || invocation.status === "waiting");
  expect(state.status === "running" && isOpen, event, state);
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
