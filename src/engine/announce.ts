import { revivedError } from "../core/errors.ts";
import type { Events } from "../core/events.ts";
import type { DeadLetter } from "../core/store.ts";
import { type InvocationId, invocationKey } from "../workflow/invocation-id.ts";
import type { RunEvent, RunState } from "../workflow/run-state.ts";

/** Emits what a commit has made durable: the only place where journal events become events for listeners. */
export function announce(
  events: Events,
  runId: string,
  state: RunState,
  committed: readonly RunEvent[],
  deadLetters: readonly DeadLetter[],
): void {
  const ofRun = { runId, workflowId: state.workflowId };
  const ofNode = (id: InvocationId) => ({ ...ofRun, nodeId: id.node, invocationId: invocationKey(id) });
  for (const event of committed) {
    switch (event.kind) {
      case "run_started":
        events.emit?.("run.started", ofRun);
        break;
      case "run_resumed": {
        const running = [...state.invocations.values()].filter(({ status }) => status === "running").length;
        const interrupted = running - committed.filter(({ kind }) => kind === "invocation_started").length;
        events.emit?.("run.resumed", { ...ofRun, interrupted });
        break;
      }
      case "invocation_started":
        events.emit?.("node.started", ofNode(event.id));
        break;
      case "attempt_started":
        events.emit?.("attempt.started", { ...ofNode(event.id), attempt: event.attempts });
        break;
      case "attempt_failed": {
        const { id, attempts, error, retryDelayMs } = event;
        events.emit?.("attempt.failed", { ...ofNode(id), attempt: attempts, error: revivedError(error), retryDelayMs });
        break;
      }
      case "invocation_completed": {
        const { id, attempts, at } = event;
        const startedAt = state.invocations.get(invocationKey(id))?.startedAt ?? at;
        events.emit?.("node.completed", {
          ...ofNode(id),
          attempts,
          servedBy: id.backup ?? id.node,
          durationMs: at - startedAt,
        });
        break;
      }
      case "invocation_failed":
        events.emit?.("node.failed", {
          ...ofNode(event.id),
          attempts: event.attempts,
          error: revivedError(event.error),
        });
        break;
      case "node_redriven":
        events.emit?.("dead_letter.redriven", { ...ofRun, nodeId: event.node });
        break;
      case "run_completed":
        events.emit?.("run.completed", { ...ofRun, degraded: isDegraded(state) });
        break;
      case "run_failed":
        events.emit?.("run.failed", { ...ofRun, nodeId: event.node, error: revivedError(event.error) });
        break;
      case "run_waiting":
        events.emit?.("run.waiting", { ...ofRun, wakeAt: event.wakeAt });
        break;
      case "invocation_sleeping":
        events.emit?.("node.waiting", { ...ofNode(event.id), wakeAt: event.wakeAt, signal: event.signal });
        break;
      case "compensated": {
        const { id, error } = event;
        events.emit?.("node.compensated", { ...ofNode(id), error: error && revivedError(error) });
        break;
      }
      case "run_cancelled":
        events.emit?.("run.cancelled", { ...ofRun, reason: revivedError(event.reason) });
        break;
    }
  }
  for (const { id, status, nodeId, invocationId } of deadLetters) {
    if (status === "succeeded") events.emit?.("dead_letter.settled", { ...ofRun, nodeId, deadLetterId: id, status });
    else if (status !== "retrying")
      events.emit?.("dead_letter.entered", { ...ofRun, nodeId, invocationId, deadLetterId: id });
  }
}

/** Whether a backup stood in for any node, or the run has completed without one that failed. */
export function isDegraded(state: RunState): boolean {
  let failed = 0;
  for (const { id, status } of state.invocations.values()) {
    if (id.backup !== undefined && status === "completed") return true;
    if (status === "failed") failed++;
  }
  return failed > 0 && state.status === "completed";
}
