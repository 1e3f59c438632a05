import { StoreCorruptError } from "../core/errors.ts";
import type { RunStatus } from "../core/store.ts";
import { type InvocationId, invocationKey, visitKey } from "./invocation-id.ts";
import { migrate } from "./migrate-state.ts";
import {
  type Encoded,
  type Invocation,
  isOpen,
  type OpenCircuit,
  type RunEvent,
  type RunState,
  type StepCompleted,
} from "./run-state.ts";

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
