import { deepEqual, equal } from "node:assert/strict";
import type { DeadLetter, RunStatus, Store } from "../core/store.ts";
import { rejection } from "./contract-case.ts";
import type { FakeClock } from "./fake-clock.ts";
import { appendOf, claimOf, everything, LEASE_MS, letterOf, signalOf, type StoreCases } from "./store-bench.ts";

const DISCARDED: Partial<DeadLetter> = { status: "permanent_failure", discarded: { reason: "old", at: 1 } };

/** Runs that end one after the other, ten milliseconds apart. */
async function endRuns(
  store: Store,
  clock: FakeClock,
  runs: readonly [string, RunStatus, workflow?: string][],
): Promise<void> {
  for (const [runId, , workflowId = "w"] of runs) await store.claim(claimOf(runId, { workflowId }));
  for (const [runId, status] of runs) {
    await clock.advance(10);
    await store.append(appendOf(runId, 1, 0, { status }));
  }
}

async function left(store: Store): Promise<string> {
  return (await store.list()).map(({ runId }) => runId).join(" ");
}

/** What may go, and what must stay. */
export const RETENTION: StoreCases = {
  "runs that ended before an instant are deleted, and none that goes on (C6.9)": async ({ store, clock }) => {
    const start = clock.wallNow();
    await endRuns(store, clock, [
      ["b", "completed"],
      ["open", "running"],
      ["a", "failed"],
      ["parked", "waiting"],
      ["c", "cancelled"],
      ["young", "completed"],
    ]);
    deepEqual(await store.prune({}), []);
    deepEqual(await store.prune({ endedBefore: start + 10 }), []);
    deepEqual(await store.prune({ endedBefore: start + 60 }), ["b", "a", "c"]);
    equal(await left(store), "young parked open");
    deepEqual(await store.prune({ endedBefore: start + 60 }), []);
    deepEqual(await store.prune({ endedBefore: Infinity }), ["young"]);
  },

  "a dry run says which runs would go, all of them where it is not limited, and deletes none (C6.9)": async ({
    store,
    clock,
  }) => {
    await endRuns(store, clock, [
      ["a", "completed"],
      ["open", "running"],
      ["b", "failed"],
      ["c", "cancelled"],
    ]);
    const before = await everything(store, "a");
    deepEqual(await store.prune({ keep: 1, dryRun: true }), ["a", "b"]);
    deepEqual(await store.prune({ keep: 0, dryRun: true, limit: 1 }), ["a"]);
    deepEqual(await store.prune({ endedBefore: Infinity, dryRun: true, limit: Infinity }), ["a", "b", "c"]);
    deepEqual(await store.prune({ dryRun: true }), []);
    equal(await left(store), "c b open a");
    deepEqual(await everything(store, "a"), before);
    deepEqual(await store.prune({ keep: 0, dryRun: false, limit: Infinity }), ["a", "b", "c"]);
  },

  "of each workflow the newest ended runs are kept, as many as are asked for (C6.9)": async ({ store, clock }) => {
    await endRuns(store, clock, [
      ["v1", "completed", "v"],
      ["w1", "completed"],
      ["w2", "failed"],
      ["open", "running"],
      ["w3", "completed"],
      ["v2", "completed", "v"],
    ]);
    deepEqual(await store.prune({ keep: 3 }), []);
    deepEqual(await store.prune({ keep: 2, workflowId: "v" }), []);
    deepEqual(await store.prune({ keep: 1, workflowId: "v" }), ["v1"]);
    deepEqual(await store.prune({ keep: 1 }), ["w1", "w2"]);
    equal(await left(store), "v2 w3 open");
    deepEqual(await store.prune({ keep: 0, workflowId: "no such workflow" }), []);
    deepEqual(await store.prune({ keep: 0 }), ["w3", "v2"]);
    equal(await left(store), "open");
  },

  "a run goes for its age or for its place, whichever comes first (C6.9)": async ({ store, clock }) => {
    const start = clock.wallNow();
    const runs = ["1", "2", "3", "4"].map((id): [string, RunStatus] => [id, "completed"]);
    await endRuns(store, clock, [...runs, ["x", "completed", "x"]]);
    deepEqual(await store.prune({ keep: 3, endedBefore: start + 30 }), ["1", "2"]);
    deepEqual(await store.prune({ keep: 1, endedBefore: start }), ["3"]);
    equal(await left(store), "x 4");
  },

  "runs are newer that were created later, whenever they have ended (C6.9)": async ({ store, clock }) => {
    const start = clock.wallNow();
    // Two in one instant.
    for (const [i, runId] of ["c", "a", "b", "d"].entries()) {
      if (i !== 2) await clock.advance(10);
      await store.claim(claimOf(runId));
    }
    for (const runId of ["b", "d", "a", "c"]) {
      await clock.advance(10);
      await store.append(appendOf(runId, 1, 0, { status: runId === "a" ? "failed" : "completed" }));
    }
    deepEqual(await store.prune({ keep: 3 }), ["c"]);
    // The second and the last have ended by then.
    deepEqual(await store.prune({ endedBefore: start + 51 }), ["b", "d"]);
    deepEqual(await store.prune({ keep: 0 }), ["a"]);
  },

  "no more runs go at once than are asked for, the oldest of all workflows first (C6.9)": async ({ store, clock }) => {
    await endRuns(store, clock, [
      ["1", "completed", "z"],
      ["2", "completed", "a"],
      ["3", "completed", "z"],
      ["4", "completed", "a"],
    ]);
    deepEqual(await store.prune({ endedBefore: Infinity, limit: 3 }), ["1", "2", "3"]);
    deepEqual(await store.prune({ keep: 0, limit: 3 }), ["4"]);
  },

  "a run with a dead letter that is not settled stays, and those that ended after it go (C7.3)": async ({
    store,
    clock,
  }) => {
    const letters: Record<string, Partial<DeadLetter>> = {
      pending: {},
      retrying: { status: "retrying" },
      quarantined: { status: "permanent_failure" },
      discarded: DISCARDED,
      succeeded: { status: "succeeded" },
    };
    for (const [runId, letter] of Object.entries(letters)) {
      await store.claim(claimOf(runId));
      await clock.advance(1);
      const deadLetters = [letterOf(`dl-${runId}`, { ...letter, runId })];
      await store.append(appendOf(runId, 1, 0, { status: "failed", deadLetters }));
    }
    await endRuns(store, clock, [["clean", "completed"]]);
    deepEqual(await store.prune({ keep: 0, limit: 2 }), ["discarded", "succeeded"]);
    deepEqual(await store.prune({ keep: 0 }), ["clean"]);
    equal(await left(store), "quarantined retrying pending");
    const [seen] = await store.deadLetters({ runId: "pending" });
    const { token, version } = await store.claim(claimOf("pending", { reopen: true }));
    const settled = [{ ...seen!, ...DISCARDED }];
    await store.append(appendOf("pending", token, version, { status: "failed", deadLetters: settled }));
    await clock.advance(1);
    deepEqual(await store.prune({ endedBefore: Infinity }), ["pending"]);
  },

  "an ended run that somebody has claimed stays as long as the lease lasts (C6.4)": async ({ store, clock }) => {
    await endRuns(store, clock, [["r", "failed"]]);
    await store.claim(claimOf("r", { reopen: true }));
    deepEqual(await store.prune({ keep: 0 }), []);
    await store.append(appendOf("r", 2, 1));
    await clock.advance(LEASE_MS - 1);
    deepEqual(await store.prune({ keep: 0 }), []);
    await clock.advance(1);
    deepEqual(await store.prune({ keep: 0 }), ["r"]);
    // Whoever had it finds out, also when another run has come in its place.
    await store.claim(claimOf("next"));
    await rejection(store.append(appendOf("r", 2, 2)), "LEASE_LOST");
    deepEqual(await store.read("next"), []);
  },

  "a run that is deleted leaves nothing, also to a run that is given its id (C6.9)": async ({ store, open, clock }) => {
    const other = await open();
    await endRuns(store, clock, [["kept", "running"]]);
    await store.claim(claimOf("r"));
    const deadLetters = [letterOf("dl", { status: "succeeded" })];
    for (let i = 0; i < 3; i++) await store.append(appendOf("r", 1, i, { deadLetters, snapshotAfter: i }));
    await store.setAside("r", 1, 2);
    await store.signal(signalOf("r", "s"));
    await store.signal(signalOf("kept", "s"));
    await store.append(appendOf("r", 1, 2, { status: "completed" }));
    deepEqual(await store.prune({ keep: 0 }), ["r"]);
    for (const handle of [store, other]) {
      equal(await handle.get("r"), undefined);
      deepEqual(
        [await handle.read("r"), await handle.deadLetters(), await handle.deadLetter("dl")],
        [[], [], undefined],
      );
      equal((await handle.deadLetterCounts()).succeeded, 0);
    }
    await store.release("r", 1);
    const { token, version, snapshot, head } = await other.claim(claimOf("r"));
    deepEqual([token, version, snapshot, head], [1, 0, null, { version: 0, checksum: 0 }]);
    deepEqual(await store.signals({ owner: "one" }), [signalOf("kept", "s")]);
    deepEqual((await store.read("kept")).length, 1);
    await other.append(appendOf("r", 1, 0));
  },

  "of dead letters only settled ones are deleted, those entered before an instant (C7.3)": async ({ store }) => {
    for (const workflowId of ["w", "x"]) {
      await store.claim(claimOf(workflowId, { workflowId }));
      const of = (id: string, more: Partial<DeadLetter>): DeadLetter =>
        letterOf(`${workflowId}-${id}`, { runId: workflowId, workflowId, timestamp: 10, ...more });
      const deadLetters = [
        of("pending", {}),
        of("retrying", { status: "retrying" }),
        of("quarantined", { status: "permanent_failure" }),
        of("discarded", DISCARDED),
        of("succeeded", { status: "succeeded" }),
        of("young", { status: "succeeded", timestamp: 20 }),
      ];
      await store.append(appendOf(workflowId, 1, 0, { deadLetters }));
    }
    const leftOf = async (workflowId: string): Promise<string> =>
      (await store.deadLetters({ workflowId })).map(({ id }) => id.slice(2)).join(" ");
    equal(await store.pruneDeadLetters(10), 0);
    equal(await store.pruneDeadLetters(20, "no such workflow"), 0);
    equal(await store.pruneDeadLetters(20, "w"), 2);
    equal(await leftOf("w"), "young quarantined retrying pending");
    equal(await leftOf("x"), "young succeeded discarded quarantined retrying pending");
    equal(await store.pruneDeadLetters(Infinity), 4);
    for (const workflowId of ["w", "x"]) equal(await leftOf(workflowId), "quarantined retrying pending");
  },
};
