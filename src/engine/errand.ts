import type { Codec } from "../core/codec.ts";
import { RunInUseError, VersionMismatchError } from "../core/errors.ts";
import type { DeadLetter, Store } from "../core/store.ts";
import { outlineChanges } from "../workflow/fingerprint.ts";
import type { Plan } from "../workflow/plan.ts";
import { invocationIdOf, invocationKey, type Visit } from "../workflow/invocation-id.ts";
import type { Fork, RunEvent, RunState } from "../workflow/run-state.ts";
import { definitionChanges } from "./definition-change.ts";
import { eventsOfFork, type ForkErrand } from "./fork.ts";
import type { Journal } from "./journal.ts";
import { beginsRedrive, checkRedrivable, type RedriveTerms } from "./redrivable.ts";

/** What is to be done with a run: start it or carry it on with this input, or redrive a dead letter of it. */
export type Errand = { input: string; fork?: ForkErrand } | { redrive: DeadLetter; terms: RedriveTerms };

/** Stages what an errand begins with; gives the dead letters that are being redriven, by node visit. */
export async function stageErrand(
  store: Store,
  plan: Plan,
  journal: Journal,
  errand: Errand,
  codec: Codec,
  at: number,
): Promise<Map<string, DeadLetter>> {
  const { state, runId } = journal;
  const redriving = await lettersOfEarlierLife(store, journal);
  const changes = state.status === "new" ? [] : definitionChanges(runId, plan, state, codec, at);
  if ("redrive" in errand) {
    // Read anew under the lease: whoever held it until now may have redriven the same entry.
    const { id } = errand.redrive;
    const letter = checkRedrivable(id, await store.deadLetter(id), store.location, errand.terms);
    if (beginsRedrive(runId, state, letter)) {
      journal.stage({ kind: "node_redriven", ...visitOf(letter), at });
      for (const change of changes) journal.stage(change);
      const retrying: DeadLetter = { ...renamedLetter(letter, changes), status: "retrying", nextRetryAt: null };
      retrying.retryCount++;
      journal.keep(retrying);
      return redriving.set(retrying.invocationId, retrying);
    }
    // Its redriver has died: the same redrive goes on, and does not count again.
  }
  if (state.status === "new") {
    const { outline, fingerprint, definition } = plan;
    const { input, fork } = errand as { input: string; fork?: ForkErrand };
    const { kept: _, ...origin } = fork ?? { kept: [] };
    const started = { workflowId: definition.id, outline, fingerprint, input, ...(fork && { fork: origin as Fork }) };
    journal.stage({ kind: "run_started", ...started, at });
    if (fork !== undefined) for (const event of eventsOfFork(fork)) journal.stage(event);
    return redriving;
  }
  journal.stage({ kind: "run_resumed", crashed: journal.takenOver, at });
  for (const change of changes) journal.stage(change);
  if (changes.length === 0) return redriving;
  return new Map(
    [...redriving.values()].map((letter) => {
      const renamed = renamedLetter(letter, changes);
      return [renamed.invocationId, renamed];
    }),
  );
}

/** The entry under the id that a migration has given its node. */
function renamedLetter(letter: DeadLetter, changes: readonly RunEvent[]): DeadLetter {
  const rename = changes.find((change) => change.kind === "run_migrated")?.rename ?? {};
  const id = invocationIdOf(letter.invocationId);
  if (!Object.hasOwn(rename, id.node)) return letter;
  const node = rename[id.node]!;
  return { ...letter, nodeId: node, invocationId: invocationKey({ ...id, node }) };
}

/** Those that an earlier life of the run was redriving when it stopped. */
async function lettersOfEarlierLife(store: Store, { state, runId }: Journal): Promise<Map<string, DeadLetter>> {
  if (state.redriven.size === 0) return new Map();
  const letters = await store.deadLetters({ runId, status: "retrying", limit: Infinity });
  return new Map(letters.map((letter) => [letter.invocationId, letter]));
}

function visitOf({ invocationId }: DeadLetter): Visit {
  const { node, iteration } = invocationIdOf(invocationId);
  return { node, iteration };
}

/** What a run remembers of how it was started. */
type Start = Pick<RunState, "workflowId" | "input">;

/** Refuses to carry on a run as something that it is not: another workflow, or another input. */
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
}

/** Refuses to take a run, which has ended or is under way with one definition, for one with another. */
export function checkSameDefinition(runId: string, plan: Plan, had: Pick<Plan, "outline" | "fingerprint">): void {
  if (had.fingerprint === plan.fingerprint) return;
  throw new VersionMismatchError(
    `Run "${runId}" was started with another definition of workflow "${plan.definition.id}": ${outlineChanges(had.outline, plan.outline)}. ` +
      "Ask for it with the code that it was started with, or start it anew under another run id.",
  );
}
