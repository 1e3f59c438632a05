import type { Timer } from "../core/clock.ts";
import { storedError } from "../core/errors.ts";
import { invocationKey } from "../workflow/invocation-id.ts";
import { sleeps } from "../workflow/plan.ts";
import type { Activation } from "../workflow/ready.ts";
import { type Invocation, isOpen } from "../workflow/run-state.ts";
import { asksForCompensation } from "./cancellation.ts";
import { compensate } from "./compensation.ts";
import { enteredDeadLetter, payloadOf } from "./dead-letter.ts";
import { Inbox } from "./inbox.ts";
import { cancelInnerRuns } from "./inner-runs.ts";
import type { InvocationEnd } from "./invocation-end.ts";
import { invokeNode } from "./invoke-node.ts";
import type { ActiveRun } from "./run.ts";
import { getUp, type Settled, Sleepers } from "./sleepers.ts";

/** A run that only waits, and for longer than this, gives its lease and its slot back meanwhile. */
const PARK_MS = 2000;

/**
 * Walks a run to its end: stages what has settled and what starts because of it, commits both as one record, launches,
 * waits until something settles, and looks again. What settles while a commit is under way shares the next one.
 *
 * Resolves when the run has ended, or is parked since only time or a signal leads on; rejects when it had to stop, after
 * which it can be resumed.
 */
export async function walk(run: ActiveRun): Promise<void> {
  const { journal, readiness, plan } = run;
  // How long a node waits may follow from its input, and is worked out while events are staged, with no time to read.
  if (journal.isNoted && [...plan.nodes.values()].some(({ definition }) => sleeps(definition.run)))
    await journal.load(journal.state.ended);
  const { signal } = run.scope;
  const { clock } = run.settings.runtime;
  const inbox = new Inbox<Settled>();
  const put = (end: Settled): void => inbox.put(end);
  const putEnd = (end: InvocationEnd): void => inbox.put({ end });
  const fail = (error: unknown): void => inbox.fail(error);
  const nudge = (): void => inbox.nudge();
  signal.addEventListener("abort", nudge);
  journal.onBroken = fail;
  run.mailbox.onSignal = nudge;
  let alarm: Timer | null = null;

  const sleepers = new Sleepers(run);
  const { interrupted, ready } = pickUp(run, sleepers);
  // A redrive goes on beside nodes that failed before it: each of them has a dead letter, and a redrive, of its own.
  const failedBefore = run.redriving.size > 0 ? readiness.failed.length : 0;
  // A node that no backup could save ends the run, once those that are working have been waited for and kept.
  const mayGoOn = (): boolean =>
    readiness.failed.length === failedBefore && !signal.aborted && journal.state.cancelReason === null;
  let working = 0;
  let settled: Settled[] = [];
  try {
    for (;;) {
      for (const { end, signalTaken } of settled) {
        // Read before anything is staged: the entry belongs into the same record as the failure.
        const payload = end.kind === "invocation_failed" ? await payloadOf(run, end.id) : null;
        ready.push(...stageEnded(run, end, payload));
        if (signalTaken !== undefined) journal.takeSignal(signalTaken);
      }
      const awake = mayGoOn() ? sleepers.wake() : [];
      working += awake.length;

      const starting: Launch[] = [];
      while (working < plan.definition.concurrency && mayGoOn()) {
        const launch = interrupted.shift() ?? stageStarted(run, ready.shift());
        if (launch === undefined) break;
        if (sleepers.takes(launch.invocation)) {
          await sleepers.layDown(launch.invocation);
          continue;
        }
        starting.push(launch);
        working++;
      }
      if (signal.aborted) await stageCancelled(run);
      else if (working === 0 && journal.state.cancelReason === null) {
        if (sleepers.size === 0 || !mayGoOn()) stageRunEnd(run);
        else if (sleepers.wakeAt - clock.wallNow() > PARK_MS) stageWaiting(run, sleepers.wakeAt);
      }

      await journal.commit();
      if (journal.state.status !== "running") return;
      if (journal.state.cancelReason !== null && working === 0) return await compensate(run);
      if (!signal.aborted) {
        // These reject only where we are wrong, and then the run must stop rather than wait for ever.
        for (const sleeper of awake) getUp(run, sleeper).then(put, fail);
        for (const { invocation, isNew } of starting) invokeNode(run, invocation, isNew).then(putEnd, fail);
      }
      // Where nobody may wake any more, an alarm for one whose time has come would ring for ever.
      const wakeAt = mayGoOn() ? sleepers.wakeAt : Infinity;
      if (wakeAt !== Infinity) alarm = clock.timer(Math.max(0, wakeAt - clock.wallNow()), nudge);
      settled = await inbox.take();
      alarm?.cancel();
      working -= settled.length;
      // Nodes that fail because they are told to stop have not failed (C0.8).
      if (signal.aborted) settled = settled.filter(({ end }) => end.kind === "invocation_completed");
    }
  } finally {
    alarm?.cancel();
    signal.removeEventListener("abort", nudge);
    journal.onBroken = () => {};
    run.mailbox.onSignal = () => {};
  }
}

interface Launch {
  invocation: Invocation;
  isNew: boolean;
}

/** What an earlier life of the run left open, and what is ready beside it; for a new run its first nodes. */
function pickUp(run: ActiveRun, sleepers: Sleepers): { interrupted: Launch[]; ready: Activation[] } {
  const interrupted: Launch[] = [];
  const ready = run.readiness.atStart();
  const { invocations, ended } = run.journal.state;
  for (const key of ended) ready.push(...run.readiness.afterEnd(invocations.get(key)!));
  for (const invocation of invocations.values()) {
    if (!isOpen(invocation)) continue;
    if (invocation.status === "sleeping") sleepers.keep(invocation);
    else interrupted.push({ invocation, isNew: false });
  }
  return { interrupted, ready };
}

function stageStarted(run: ActiveRun, activation: Activation | undefined): Launch | undefined {
  if (activation === undefined) return undefined;
  const { id } = activation;
  run.journal.stage({ kind: "invocation_started", ...activation, at: run.settings.runtime.clock.wallNow() });
  return { invocation: run.journal.state.invocations.get(invocationKey(id))!, isNew: true };
}

/** Stages an end with the dead letter that it enters or settles; gives what it makes ready. */
function stageEnded(run: ActiveRun, end: InvocationEnd, payload: string | null): Activation[] {
  const { journal, readiness } = run;
  journal.stage(end);
  const ready = readiness.afterEnd(journal.state.invocations.get(invocationKey(end.id))!);
  const visit = { node: end.id.node, iteration: end.id.iteration };
  const redriven = run.redriving.get(invocationKey(visit));
  if (end.kind === "invocation_failed" && !ready.some(({ id }) => id.backup !== undefined))
    journal.keep(enteredDeadLetter(run, visit, payload));
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

function stageWaiting(run: ActiveRun, wakeAt: number): void {
  const at = run.settings.runtime.clock.wallNow();
  run.journal.stage({ kind: "run_waiting", wakeAt: wakeAt === Infinity ? null : wakeAt, at });
}

async function stageCancelled(run: ActiveRun): Promise<void> {
  const { journal, scope, settings } = run;
  if (journal.state.cancelReason !== null) return;
  const { reason } = scope.signal;
  // A run that only stops leaves what it has begun to whoever goes on with it.
  if (!journal.isBroken) await cancelInnerRuns(run, reason);
  const kind = asksForCompensation(reason) ? "run_cancelling" : "run_cancelled";
  journal.stage({ kind, reason: storedError(reason), at: settings.runtime.clock.wallNow() });
}
