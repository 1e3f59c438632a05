import { codeOf, NotFoundError } from "../core/errors.ts";
import type { Clock } from "../core/clock.ts";
import type { RunRow, Store } from "../core/store.ts";
import { isDead } from "./owner.ts";
import type { RunHandle } from "./run.ts";
import type { Runnable } from "./runnable.ts";

/** What became of the runs that had not ended. Each of them is in one of these lists. */
export interface Recovery {
  /** Runs that go on here, or wait for their turn. */
  resumed: RunHandle[];
  /** Runs that another engine is carrying out. If it has died, they can be recovered when its lease is over. */
  elsewhere: RunRow[];
  /** Runs of workflows that this engine does not know. They stay as they are: give it the workflows, and try again. */
  unknown: RunRow[];
  /** Runs that could not be taken up, and why: their workflow has changed, or their journal is damaged. */
  failed: { run: RunRow; error: unknown }[];
}

/** What recovering needs of an engine. */
export interface RecoveryPort {
  readonly store: Store;
  readonly clock: Clock;
  /** Whether a run is under way in this engine. */
  isUnderWay(runId: string): boolean;
  workflow(id: string): Runnable | undefined;
  /** Resolves once the run is known to go on here. */
  resume(workflow: Runnable, runId: string): Promise<RunHandle>;
}

/**
 * Takes over every run that has not ended and that nobody carries out, but for those that wait and are not due. A run
 * whose start was never stored is none: whoever asked for it was not told that it had begun.
 */
export async function recoverRuns(port: RecoveryPort): Promise<Recovery> {
  const { store, clock } = port;
  const now = clock.wallNow();
  const unfinished = [
    ...(await store.list({ status: "running", limit: Infinity })),
    ...(await store.list({ wakesBefore: now + 1, limit: Infinity })).reverse(),
  ];
  const rows = unfinished.filter(
    ({ runId, version, head }) => (version > 0 || head.version > 0) && !port.isUnderWay(runId),
  );
  const recovery: Recovery = { resumed: [], elsewhere: [], unknown: [], failed: [] };
  // Those that began first go on first.
  await Promise.all(rows.reverse().map((run) => recoverRun(port, run, now, recovery)));
  return recovery;
}

async function recoverRun(port: RecoveryPort, run: RunRow, now: number, recovery: Recovery): Promise<void> {
  if (run.owner !== null && run.leaseUntil > now && !isDead(run.owner)) return void recovery.elsewhere.push(run);
  const workflow = port.workflow(run.workflowId);
  if (workflow === undefined) return void recovery.unknown.push(run);
  try {
    recovery.resumed.push(await port.resume(workflow, run.runId));
  } catch (error) {
    // Somebody was faster: he carries it out, or retention has taken it away after its end.
    if (codeOf(error) === "RUN_IN_USE") recovery.elsewhere.push(run);
    else if (!(error instanceof NotFoundError)) recovery.failed.push({ run, error });
  }
}
