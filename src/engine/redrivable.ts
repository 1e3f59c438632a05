import { codeOf, HoldfastError, messageOf, NotFoundError, runHeldError, RunInUseError } from "../core/errors.ts";
import type { DeadLetter, RunRow, Store } from "../core/store.ts";
import type { RunState } from "../workflow/run-state.ts";
import { isDead } from "./owner.ts";

/** What a redrive may do. */
export interface RedriveTerms {
  /** Also with an entry that is quarantined. */
  force?: boolean | undefined;
  /** Only with an entry that waits for a redrive, and has waited long enough, at this instant. */
  dueBy?: number | undefined;
}

/** The entry, where it is one that may be redriven on these terms. */
export function checkRedrivable(
  id: string,
  letter: DeadLetter | undefined,
  location: string,
  { force = false, dueBy }: RedriveTerms,
): DeadLetter {
  if (letter === undefined) throw notFoundError(id, location);
  const { status, retryCount, nextRetryAt, discarded } = letter;
  if (discarded !== undefined) {
    throw new HoldfastError(
      "DEAD_LETTER_DISCARDED",
      `Dead letter "${id}" was discarded: ${discarded.reason}. Start the work anew under another run id if it is wanted after all.`,
    );
  }
  if (status === "succeeded") throw settledError(id);
  if (status === "permanent_failure" && !force) {
    throw new HoldfastError(
      "DEAD_LETTER_QUARANTINED",
      `Dead letter "${id}" was redriven ${retryCount} times without success and is quarantined. Mend the cause, and redrive it with { force: true }.`,
    );
  }
  if (dueBy !== undefined && (status !== "pending" || nextRetryAt === null || nextRetryAt > dueBy)) {
    throw new HoldfastError(
      "DEAD_LETTER_NOT_DUE",
      `Dead letter "${id}" is not to be redriven yet: somebody has redriven it meanwhile. It comes up again by itself.`,
    );
  }
  return letter;
}

/** Whether a redrive of this entry would begin; false where it goes on with one whose redriver has died. */
export function beginsRedrive(runId: string, state: RunState, letter: DeadLetter): boolean {
  const { id, invocationId, status } = letter;
  // A run that went on without the node may have completed.
  const wentOn = state.status === "completed" && state.invocations.get(invocationId)?.status === "failed";
  if (state.status === "failed" || wentOn) return true;
  const isUnderWay = state.status === "running" || state.status === "waiting";
  if (isUnderWay && status === "retrying") return false;
  throw new RunInUseError(
    runId,
    isUnderWay
      ? `Run "${runId}" of dead letter "${id}" has not ended. Run it again with its id, and redrive the entry when it has failed.`
      : `Run "${runId}" of dead letter "${id}" is ${state.status}: nothing of it is left to do. Start the work anew under another run id.`,
  );
}

export function underWayError(runId: string): RunInUseError {
  return new RunInUseError(runId, `Run "${runId}" is under way; redrive it when it has ended.`);
}

/** Throws where a living executor has the run. */
export function checkUnheld({ runId, owner, leaseUntil }: RunRow, now: number): void {
  if (owner !== null && leaseUntil > now && !isDead(owner)) throw runHeldError(runId, owner, leaseUntil - now);
}

/** Why an entry among several was left as it is. */
export interface Skipped {
  /** The code of the error, where it has one. */
  code?: string | undefined;
  /** Its message. */
  why: string;
}

/** Says why one of several entries was left as it is; throws what will befall the others as well. */
export function skipped(error: unknown): Skipped {
  const code = codeOf(error);
  if (code === "STORE_UNAVAILABLE" || code === "ENGINE_CLOSED") throw error;
  return { code, why: messageOf(error) };
}

export function notFoundError(id: string, location: Store["location"]): NotFoundError {
  return new NotFoundError(`There is no dead letter "${id}" in ${location}.`);
}

export function settledError(id: string): HoldfastError {
  return new HoldfastError("DEAD_LETTER_SETTLED", `Dead letter "${id}" is settled: its node has succeeded since.`);
}
