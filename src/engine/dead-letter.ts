import type { DeadLetter } from "../core/store.ts";
import { type InvocationId, invocationKey } from "../workflow/invocation-id.ts";
import { idempotencyKey } from "./invocation-context.ts";
import { inputOf } from "./node-input.ts";
import type { ActiveRun } from "./run.ts";

/** The wait before the first automatic redrive; each further one doubles it. */
const FIRST_RETRY_MS = 60_000;
const LONGEST_RETRY_MS = 3_600_000;

/**
 * The entry for a node that has failed for good (C7.1), to be kept with the commit that records the failure. Failing
 * again after a redrive goes to the same entry, which counts, and is quarantined after its allowance.
 */
export function enteredDeadLetter(run: ActiveRun, node: InvocationId): DeadLetter {
  const { state } = run.journal;
  const { clock } = run.settings.runtime;
  const failed = state.invocations.get(invocationKey({ ...node, backup: undefined }));
  if (failed?.status !== "failed") throw new Error(`Node visit ${invocationKey(node)} has not failed.`);
  const before = run.redriving.get(invocationKey(node));
  const retryCount = before?.retryCount ?? 0;
  const quarantined = retryCount >= run.settings.maxRetries;
  return {
    id: before?.id ?? deadLetterId(run.runId, node),
    timestamp: before?.timestamp ?? failed.endedAt,
    workflowId: state.workflowId,
    runId: run.runId,
    nodeId: node.node,
    invocationId: invocationKey(failed.id),
    error: failed.error.message,
    errorDetail: failed.error,
    attempts: (before?.attempts ?? 0) + failed.attempts,
    retryCount,
    maxRetries: run.settings.maxRetries,
    nextRetryAt: quarantined ? null : clock.wallNow() + Math.min(FIRST_RETRY_MS * 2 ** retryCount, LONGEST_RETRY_MS),
    status: quarantined ? "permanent_failure" : "pending",
    payload: encodedInput(run, node),
  };
}

/** One entry for each visit of a node, whatever happens to it. */
function deadLetterId(runId: string, node: InvocationId): string {
  return `dl_${idempotencyKey(runId, node).slice(0, 24)}`;
}

// An entry is left in any case, also for a node whose input could not even be put together.
function encodedInput(run: ActiveRun, node: InvocationId): string | null {
  try {
    return run.settings.codec.encode(inputOf(run, node), "input");
  } catch {
    return null;
  }
}
