import { deepEqual, equal } from "node:assert/strict";
import type { DeadLetter, Store } from "../core/store.ts";
import { rejection } from "./contract-case.ts";
import { appendOf, claimOf, letterOf, type StoreCases } from "./store-bench.ts";

async function runIds(store: Store, filter?: Parameters<Store["list"]>[0]): Promise<string> {
  return (await store.list(filter)).map(({ runId }) => runId).join(" ");
}

async function letterIds(store: Store, filter?: Parameters<Store["deadLetters"]>[0]): Promise<string> {
  return (await store.deadLetters(filter)).map(({ id }) => id).join(" ");
}

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

  "runs are listed by several statuses at once, each run in its place (C10.5)": async ({ store }) => {
    const statuses = ["completed", "waiting", "running", "failed", "cancelled", "completed"] as const;
    for (const [i, status] of statuses.entries()) {
      await store.claim(claimOf(`${i}`, { workflowId: i === 3 ? "other" : "w" }));
      await store.append(appendOf(`${i}`, 1, 0, { status }));
    }
    equal(await runIds(store, { status: ["completed", "failed", "cancelled"] }), "5 4 3 0");
    equal(await runIds(store, { status: ["running", "waiting"] }), "2 1");
    equal(await runIds(store, { status: ["waiting", "waiting"] }), "1");
    equal(await runIds(store, { status: ["failed", "completed"], workflowId: "w" }), "5 0");
    equal(await runIds(store, { status: ["failed", "completed"], limit: 2 }), "5 3");
    equal(await runIds(store, { status: [] }), "");
  },

  "runs are listed by when they were created, the first instant included and the last not (C10.5)": async ({
    store,
    clock,
  }) => {
    const start = clock.wallNow();
    for (const runId of ["a", "b", "c"]) {
      await store.claim(claimOf(runId));
      await clock.advance(10);
    }
    await store.append(appendOf("b", 1, 0, { status: "completed" }));
    equal(await runIds(store, { createdFrom: start + 10 }), "c b");
    equal(await runIds(store, { createdBefore: start + 10 }), "a");
    equal(await runIds(store, { createdFrom: start, createdBefore: start + 20 }), "b a");
    equal(await runIds(store, { createdFrom: start + 1, createdBefore: start + 21, status: "running" }), "c");
    equal(await runIds(store, { createdFrom: start + 21 }), "");
  },

  "a list goes on after its last run, also among runs of one instant and when that run has ended since (C10.5)":
    async ({ store, clock }) => {
      for (const [i, runId] of ["a", "b", "c", "d", "e"].entries()) {
        if (i === 3) await clock.advance(1);
        await store.claim(claimOf(runId, { workflowId: runId === "b" ? "other" : "w" }));
      }
      equal(await runIds(store, { limit: 2 }), "e d");
      equal(await runIds(store, { limit: 2, olderThan: "d" }), "c b");
      await store.append(appendOf("b", 1, 0, { status: "completed" }));
      equal(await runIds(store, { limit: 2, olderThan: "b" }), "a");
      equal(await runIds(store, { olderThan: "b", status: "running" }), "a");
      equal(await runIds(store, { olderThan: "e", workflowId: "w" }), "d c a");
      equal(await runIds(store, { olderThan: "a" }), "");
      await rejection(store.list({ olderThan: "no such run" }), "NOT_FOUND");
    },

  "waiting runs that are due are listed before an instant, the longest due first (C6.3)": async ({ store, clock }) => {
    const now = clock.wallNow();
    for (const [runId, wakeAt] of Object.entries({
      late: 30,
      early: 10,
      later: 31,
      signal: null,
      same: 10,
      past: -5,
    })) {
      await store.claim(claimOf(runId, { workflowId: runId === "same" ? "other" : "w" }));
      await store.append(appendOf(runId, 1, 0, { status: "waiting", wakeAt: wakeAt === null ? null : now + wakeAt }));
    }
    await store.claim(claimOf("running"));
    await store.append(appendOf("running", 1, 0, { status: "running", wakeAt: now }));
    equal(await runIds(store, { wakesBefore: now + 31 }), "past early same late");
    equal(await runIds(store, { wakesBefore: now + 30 }), "past early same");
    equal(await runIds(store, { wakesBefore: Infinity, limit: 2 }), "past early");
    equal(await runIds(store, { wakesBefore: Infinity, limit: Infinity }), "past early same late later");
    equal(await runIds(store, { wakesBefore: Infinity, workflowId: "other" }), "same");
    equal(
      await runIds(store, { wakesBefore: now + 11, workflowId: "w", status: ["running", "waiting"] }),
      "past early",
    );
    equal(await runIds(store, { wakesBefore: Infinity, status: "running" }), "");
    equal(await runIds(store, { wakesBefore: Infinity, createdFrom: now + 1 }), "");
    await rejection(store.list({ wakesBefore: now, olderThan: "early" }), "CONFIG");
    // Claimed, it is due until its holder writes that it runs: a holder that dies before leaves it to others.
    await store.claim(claimOf("early"));
    equal((await store.list({ wakesBefore: now + 10 + 1 }))[1]?.owner, "one");
    await store.append(appendOf("early", 2, 1, { status: "running" }));
    await store.claim(claimOf("past"));
    await store.append(appendOf("past", 2, 1, { status: "cancelled" }));
    equal(await runIds(store, { wakesBefore: now + 30 }), "same");
  },

  "dead letters are listed by the code of their error and by when they were entered (C7.2)": async ({ store }) => {
    await store.claim(claimOf("r"));
    const codes = ["TIMEOUT", undefined, "timeout", "TIMEOUT", 'a"b\\'];
    const deadLetters = codes.map((code, i) =>
      letterOf(`${i}`, {
        timestamp: 10 * i,
        errorDetail: { name: "Error", message: "no", ...(code !== undefined && { code }) },
      }),
    );
    await store.append(appendOf("r", 1, 0, { deadLetters }));
    equal(await letterIds(store, { errorCode: "TIMEOUT" }), "3 0");
    equal(await letterIds(store, { errorCode: 'a"b\\' }), "4");
    equal(await letterIds(store, { errorCode: "no such code" }), "");
    equal(await letterIds(store, { enteredFrom: 10, enteredBefore: 40 }), "3 2 1");
    equal(await letterIds(store, { enteredBefore: 10 }), "0");
    equal(await letterIds(store, { enteredFrom: 31 }), "4");
    equal(await letterIds(store, { errorCode: "TIMEOUT", enteredFrom: 1, status: "pending", nodeId: "n" }), "3");
  },

  "a list goes on after its last dead letter, also among those of one instant (C7.2)": async ({ store }) => {
    await store.claim(claimOf("r"));
    const deadLetters = ["a", "b", "c", "d"].map((id, i) =>
      letterOf(id, { timestamp: i < 3 ? 5 : 6, status: i === 1 ? "retrying" : "pending" }),
    );
    await store.append(appendOf("r", 1, 0, { deadLetters }));
    equal(await letterIds(store, { limit: 2 }), "d c");
    equal(await letterIds(store, { limit: 2, olderThan: "c" }), "b a");
    equal(await letterIds(store, { olderThan: "d", status: "pending" }), "c a");
    equal(await letterIds(store, { olderThan: "b", runId: "r" }), "a");
    equal(await letterIds(store, { olderThan: "a" }), "");
    await rejection(store.deadLetters({ olderThan: "no such entry" }), "NOT_FOUND");
  },

  "dead letters are counted by status, those of one workflow or all (C7.2)": async ({ store }) => {
    const none = { pending: 0, retrying: 0, succeeded: 0, permanent_failure: 0 };
    deepEqual({ ...(await store.deadLetterCounts()) }, none);
    for (const [i, workflowId] of ["w", "x"].entries()) {
      await store.claim(claimOf(workflowId, { workflowId }));
      const statuses = i === 0 ? (["pending", "pending", "succeeded"] as const) : (["pending", "retrying"] as const);
      const more = { runId: workflowId, workflowId };
      const deadLetters = statuses.map((status, n) => letterOf(`${workflowId}-${n}`, { ...more, status }));
      await store.append(appendOf(workflowId, 1, 0, { deadLetters }));
    }
    deepEqual({ ...(await store.deadLetterCounts()) }, { ...none, pending: 3, retrying: 1, succeeded: 1 });
    deepEqual({ ...(await store.deadLetterCounts("x")) }, { ...none, pending: 1, retrying: 1 });
    deepEqual({ ...(await store.deadLetterCounts("no such workflow")) }, none);
  },
};
