import { RunInUseError, VersionMismatchError } from "../core/errors.ts";
import type { DeadLetter, Store } from "../core/store.ts";
import { outlineChanges } from "../workflow/fingerprint.ts";
import type { Plan } from "../workflow/plan.ts";
import { invocationIdOf } from "../workflow/invocation-id.ts";
import type { RunState } from "../workflow/run-state.ts";
import { checkRedrivable } from "./dead-letters.ts";
import type { Journal } from "./journal.ts";

/** What is to be done with a run: start it or carry it on with this input, or redrive a dead letter of it. */
export type Errand = { input: string } | { redrive: DeadLetter };

/** Stages what an errand begins with; gives the dead letters that are being redriven, by node visit. */
export async function stageErrand(
  store: Store,
  plan: Plan,
  journal: Journal,
  errand: Errand,
  at: number,
): Promise<Map<string, DeadLetter>> {
  const { state, runId } = journal;
  const redriving = await lettersOfEarlierLife(store, journal);
  if ("redrive" in errand) {
    // Read anew under the lease: whoever held it until now may have redriven the same entry.
    const letter = checkRedrivable(errand.redrive.id, await store.deadLetter(errand.redrive.id), store.location);
    // A run that went on without the node may have completed.
    const wentOn = state.status === "completed" && state.invocations.get(letter.invocationId)?.status === "failed";
    if (state.status === "failed" || wentOn) {
      redriving.set(letter.invocationId, stageRedriven(journal, letter, at));
      return redriving;
    }
    // Where its redriver has died, the same redrive goes on and does not count again.
    if (state.status !== "running" || !redriving.has(letter.invocationId)) throw notToBeRedriven(runId, state, letter);
  }
  if (state.status === "new") {
    const { outline, fingerprint, definition } = plan;
    const { input } = errand as { input: string };
    journal.stage({ kind: "run_started", workflowId: definition.id, outline, fingerprint, input, at });
  } else journal.stage({ kind: "run_resumed", crashed: journal.takenOver, at });
  return redriving;
}

/** Those that an earlier life of the run was redriving when it stopped. */
async function lettersOfEarlierLife(store: Store, { state, runId }: Journal): Promise<Map<string, DeadLetter>> {
  if (state.redriven.size === 0) return new Map();
  const letters = await store.deadLetters({ runId, status: "retrying", limit: Infinity });
  return new Map(letters.map((letter) => [letter.invocationId, letter]));
}

function stageRedriven(journal: Journal, before: DeadLetter, at: number): DeadLetter {
  const { node, iteration } = invocationIdOf(before.invocationId);
  const letter: DeadLetter = { ...before, status: "retrying", retryCount: before.retryCount + 1, nextRetryAt: null };
  journal.stage({ kind: "node_redriven", node, iteration, at });
  journal.keep(letter);
  return letter;
}

function notToBeRedriven(runId: string, { status }: RunState, { id }: DeadLetter): RunInUseError {
  return new RunInUseError(
    runId,
    status === "running"
      ? `Run "${runId}" of dead letter "${id}" has not ended. Run it again with its id, and redrive the entry when it has failed.`
      : `Run "${runId}" of dead letter "${id}" is ${status}: nothing of it is left to do. Start the work anew under another run id.`,
  );
}

/** What a run remembers of how it was started. */
type Start = Pick<RunState, "workflowId" | "input" | "outline" | "fingerprint">;

/** Refuses to carry on a run as something that it is not: another workflow, another definition, another input. */
export function checkSameRun(runId: string, plan: Plan, started: Start, input: string): void {
  const { id: workflowId } = plan.definition;
  if (started.workflowId !== workflowId) {
    throw new RunInUseError(
      runId,
      `Run "${runId}" belongs to workflow "${started.workflowId}", not "${workflowId}". Choose another run id.`,
    );
  }
  if (started.input !== input) {
    throw new RunInUseError(
      runId,
      `Run "${runId}" was started with another input. Give the same input to carry it on, or choose another run id.`,
    );
  }
  if (started.fingerprint === plan.fingerprint) return;
  throw new VersionMismatchError(
    `Run "${runId}" was started with another definition of workflow "${workflowId}": ${outlineChanges(started.outline, plan.outline)}. ` +
      "Finish it with the code that it was started with, or start it anew under another run id.",
  );
}
