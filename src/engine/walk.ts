import { storedError } from "../core/errors.ts";
import { invocationKey } from "../workflow/invocation-id.ts";
import type { Activation } from "../workflow/ready.ts";
import { type Invocation, isOpen } from "../workflow/run-state.ts";
import { enteredDeadLetter } from "./dead-letter.ts";
import { Inbox } from "./inbox.ts";
import { type InvocationEnd, invokeNode } from "./invoke-node.ts";
import type { ActiveRun } from "./run.ts";

/**
 * Walks a run to its end: stages what has settled and what starts because of it, commits both as one record, launches,
 * waits until something settles, and looks again. What settles while a commit is under way shares the next one.
 *
 * Resolves when the run has ended; rejects when it had to stop, after which it can be resumed.
 */
export async function walk(run: ActiveRun): Promise<void> {
  const { journal, readiness, plan } = run;
  const { signal } = run.scope;
  const { clock } = run.settings.runtime;
  const inbox = new Inbox<InvocationEnd>();
  const onAbort = (): void => inbox.nudge();
  signal.addEventListener("abort", onAbort);
  journal.onBroken = (error) => inbox.fail(error);

  const { interrupted, ready } = pickUp(run);
  // A redrive goes on beside nodes that failed before it: each of them has a dead letter, and a redrive, of its own.
  const failedBefore = run.redriving.size > 0 ? readiness.failed.length : 0;
  let working = 0;
  let settled: InvocationEnd[] = [];
  try {
    for (;;) {
      working -= settled.length;
      for (const end of settled) ready.push(...stageEnded(run, end));

      const starting: Launch[] = [];
      // A node that no backup could save ends the run, once those that are working have been waited for and kept.
      while (working < plan.definition.concurrency && readiness.failed.length === failedBefore && !signal.aborted) {
        const launch = interrupted.shift() ?? stageStarted(run, ready.shift());
        if (launch === undefined) break;
        starting.push(launch);
        working++;
      }
      if (signal.aborted)
        journal.stage({ kind: "run_cancelled", reason: storedError(signal.reason), at: clock.wallNow() });
      else if (working === 0) stageRunEnd(run);

      await journal.commit();
      if (journal.state.status !== "running") return;
      for (const { invocation, isNew } of signal.aborted ? [] : starting) {
        // It rejects only where we are wrong, and then the run must stop rather than wait for ever.
        invokeNode(run, invocation, isNew).then(
          (end) => inbox.put(end),
          (error: unknown) => inbox.fail(error),
        );
      }
      settled = await inbox.take();
      // Nodes that fail because they are told to stop have not failed (C0.8).
      if (signal.aborted) settled = settled.filter((end) => end.kind === "invocation_completed");
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    journal.onBroken = () => {};
  }
}

interface Launch {
  invocation: Invocation;
  isNew: boolean;
}

/** What an earlier life of the run left open, and what is ready beside it; for a new run its first nodes. */
function pickUp(run: ActiveRun): { interrupted: Launch[]; ready: Activation[] } {
  const interrupted: Launch[] = [];
  const ready = run.readiness.atStart();
  const { invocations, ended } = run.journal.state;
  for (const key of ended) ready.push(...run.readiness.afterEnd(invocations.get(key)!));
  for (const invocation of invocations.values()) if (isOpen(invocation)) interrupted.push({ invocation, isNew: false });
  return { interrupted, ready };
}

function stageStarted(run: ActiveRun, activation: Activation | undefined): Launch | undefined {
  if (activation === undefined) return undefined;
  const { id } = activation;
  run.journal.stage({ kind: "invocation_started", ...activation, at: run.settings.runtime.clock.wallNow() });
  return { invocation: run.journal.state.invocations.get(invocationKey(id))!, isNew: true };
}

/** Stages an end with the dead letter that it enters or settles; gives what it makes ready. */
function stageEnded(run: ActiveRun, end: InvocationEnd): Activation[] {
  const { journal, readiness } = run;
  journal.stage(end);
  const ready = readiness.afterEnd(journal.state.invocations.get(invocationKey(end.id))!);
  const visit = { node: end.id.node, iteration: end.id.iteration };
  const redriven = run.redriving.get(invocationKey(visit));
  if (end.kind === "invocation_failed" && !ready.some(({ id }) => id.backup !== undefined))
    journal.keep(enteredDeadLetter(run, visit));
  else if (end.kind === "invocation_completed" && redriven !== undefined) {
    journal.keep({ ...redriven, status: "succeeded", nextRetryAt: null });
  }
  return ready;
}

function stageRunEnd(run: ActiveRun): void {
  const at = run.settings.runtime.clock.wallNow();
  const [failed] = run.readiness.failed;
  if (failed === undefined) return run.journal.stage({ kind: "run_completed", at });
  const invocation = run.journal.state.invocations.get(invocationKey(failed));
  if (invocation?.status !== "failed") throw new Error(`Node visit ${invocationKey(failed)} has not failed.`);
  const { node, iteration } = failed;
  run.journal.stage({ kind: "run_failed", node, ...(iteration > 0 && { iteration }), error: invocation.error, at });
}
