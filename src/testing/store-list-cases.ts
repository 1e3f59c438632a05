import { deepEqual, equal } from "node:assert/strict";
import type { DeadLetter, Store } from "../core/store.ts";
import { appendOf, claimOf, letterOf, type StoreCases } from "./store-bench.ts";

/** Dead letters, and what a store lists. */
export const LISTS: StoreCases = {
  "dead letters are stored with the record they belong to (C7.1)": async ({ store }) => {
    const letters = [letterOf("dl-1", { payload: '"in\0put"' }), letterOf("dl-2", { nodeId: "m" })];
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0, { deadLetters: letters }));
    deepEqual(await store.deadLetters(), letters.toReversed());
    deepEqual(await store.deadLetter("dl-1"), letters[0]);
    equal(await store.deadLetter("no such entry"), undefined);
  },

  "a dead letter that is written again changes and keeps its place (C7.2)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0, { deadLetters: [letterOf("dl-1"), letterOf("dl-2")] }));
    const changed = letterOf("dl-1", { status: "retrying", retryCount: 1, nextRetryAt: null });
    await store.append(appendOf("r", 1, 1, { deadLetters: [changed] }));
    deepEqual(await store.deadLetters(), [letterOf("dl-2"), changed]);
    deepEqual(await store.deadLetters({ status: "retrying" }), [changed]);
  },

  "dead letters are listed by workflow, node, run and status, the newest first (C7.2)": async ({ store }) => {
    const letters: DeadLetter[] = [];
    for (const runId of ["r", "s"]) {
      const workflowId = `w-${runId}`;
      await store.claim(claimOf(runId, { workflowId }));
      const pair = ["m", "n"].map((nodeId) => letterOf(`${runId}-${nodeId}`, { runId, workflowId, nodeId }));
      letters.push(...pair);
      await store.append(appendOf(runId, 1, 0, { deadLetters: pair }));
    }
    const ids = async (...filter: Parameters<Store["deadLetters"]>): Promise<string[]> =>
      (await store.deadLetters(...filter)).map(({ id }) => id);
    deepEqual(await ids(), ["s-n", "s-m", "r-n", "r-m"]);
    deepEqual(await ids({ workflowId: "w-r" }), ["r-n", "r-m"]);
    deepEqual(await ids({ runId: "s", nodeId: "m" }), ["s-m"]);
    deepEqual(await ids({ status: "pending", limit: 3 }), ["s-n", "s-m", "r-n"]);
    deepEqual(await ids({ limit: Infinity }), ["s-n", "s-m", "r-n", "r-m"]);
    deepEqual(await ids({ status: "succeeded" }), []);
    deepEqual(await ids({ runId: "no such run" }), []);
  },

  "runs are listed by workflow and status, the newest first (C10.5)": async ({ store }) => {
    for (const [i, runId] of ["a", "b", "c", "d"].entries())
      await store.claim(claimOf(runId, { workflowId: i % 2 === 0 ? "even" : "odd" }));
    await store.append(appendOf("a", 1, 0, { status: "completed" }));
    const ids = async (...filter: Parameters<Store["list"]>): Promise<string[]> =>
      (await store.list(...filter)).map(({ runId }) => runId);
    deepEqual(await ids(), ["d", "c", "b", "a"]);
    deepEqual(await ids({ limit: 2 }), ["d", "c"]);
    deepEqual(await ids({ limit: Infinity }), ["d", "c", "b", "a"]);
    deepEqual(await ids({ workflowId: "even" }), ["c", "a"]);
    deepEqual(await ids({ workflowId: "even", status: "running" }), ["c"]);
    deepEqual(await ids({ status: "cancelled" }), []);
    equal(await store.get("no such run"), undefined);
  },
};
