import { deepEqual, equal } from "node:assert/strict";
import type { Store } from "../core/store.ts";
import { rejection } from "./contract-case.ts";
import { appendOf, claimOf, everything, signalOf, type StoreCases } from "./store-bench.ts";

async function idsOf(store: Store, of: Parameters<Store["signals"]>[0]): Promise<string> {
  return (await store.signals(of)).map(({ id }) => id).join(" ");
}

/** What runs are told. */
export const SIGNALS: StoreCases = {
  "a signal is kept as it was sent, in the order in which it came, for the run it is for (C5.2)": async ({ store }) => {
    for (const runId of ["r", "s"]) await store.claim(claimOf(runId));
    const sent = ["z", "a", "m\0\ud83e'\"", "b"].map((id, i) =>
      signalOf("r", id, { at: 100 - i, name: `of ${id}`, payload: `{"text":"\\u0000 '\\"🪸${i}"}` }),
    );
    for (const signal of sent) await store.signal(signal);
    await store.signal(signalOf("s", "a"));
    deepEqual(await store.signals({ runId: "r" }), sent);
    deepEqual(await store.signals({ runId: "s" }), [signalOf("s", "a")]);
    deepEqual(await store.signals({ runId: "no such run" }), []);
    // What is handed out is nobody else's.
    (await store.signals({ runId: "s" }))[0]!.payload = "changed";
    deepEqual(await store.signals({ runId: "s" }), [signalOf("s", "a")]);
  },

  "a signal that is sent twice under one id is kept once, as it was first (C5.2)": async ({ store, open }) => {
    for (const runId of ["r", "s"]) await store.claim(claimOf(runId));
    await store.signal(signalOf("r", "one"));
    const other = await open();
    await Promise.all([
      store.signal(signalOf("r", "one", { payload: "2", at: 9 })),
      other.signal(signalOf("r", "one", { payload: "3" })),
      other.signal(signalOf("r", "two")),
      other.signal(signalOf("s", "one", { payload: "4" })),
    ]);
    deepEqual(await store.signals({ runId: "r" }), [signalOf("r", "one"), signalOf("r", "two")]);
    deepEqual(await store.signals({ runId: "s" }), [signalOf("s", "one", { payload: "4" })]);
  },

  "a run that has failed keeps its signals and takes new ones, for a redrive (C5.2, C7.2)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.signal(signalOf("r", "before"));
    await store.append(appendOf("r", 1, 0, { status: "failed" }));
    await store.signal(signalOf("r", "after"));
    deepEqual(await store.signals({ runId: "r" }), [signalOf("r", "before"), signalOf("r", "after")]);
    deepEqual(await store.list({ wakesBefore: Infinity }), []);
    const { token } = await store.claim(claimOf("r", { reopen: true }));
    await store.append(appendOf("r", token, 1, { status: "running", signalsTaken: ["before"] }));
    deepEqual(await store.signals({ runId: "r" }), [signalOf("r", "after")]);
    await store.append(appendOf("r", token, 2, { status: "failed" }));
    // They go with their run.
    await store.prune({ keep: 0 });
    deepEqual(await store.signals({ runId: "r" }), []);
  },

  "a signal that nobody will take is NotFoundError: of no run, or of one that is over (C5.2)": async ({ store }) => {
    await rejection(store.signal(signalOf("r", "s")), "NOT_FOUND");
    equal(await store.get("r"), undefined);
    for (const status of ["completed", "cancelled"] as const) {
      await store.claim(claimOf(status));
      await store.append(appendOf(status, 1, 0, { status }));
      const before = await everything(store, status);
      const error = await rejection(store.signal(signalOf(status, "s")), "NOT_FOUND");
      equal(error.message.includes(status), true);
      deepEqual(await everything(store, status), before);
    }
  },

  "a signal is taken with the record that takes it in, and with no other (C5.2)": async ({ store }) => {
    for (const runId of ["r", "s"]) {
      await store.claim(claimOf(runId));
      for (const id of ["a", "b", "c"]) await store.signal(signalOf(runId, id));
    }
    const before = await everything(store, "r");
    await rejection(store.append(appendOf("r", 1, 7, { signalsTaken: ["a"] })), "STORE_UNAVAILABLE");
    await rejection(store.append(appendOf("r", 9, 0, { signalsTaken: ["a"] })), "LEASE_LOST");
    deepEqual(await everything(store, "r"), before);
    await store.append(appendOf("r", 1, 0, { signalsTaken: ["b", "no such signal"] }));
    equal(await idsOf(store, { runId: "r" }), "a c");
    equal(await idsOf(store, { runId: "s" }), "a b c");
    await store.append(appendOf("r", 1, 1, { signalsTaken: ["c", "a"] }));
    equal(await idsOf(store, { runId: "r" }), "");
  },

  "signals wait for a run that waits, and those that it has not taken go when it ends (C5.2)": async ({ store }) => {
    for (const runId of ["r", "s"]) await store.claim(claimOf(runId));
    await store.signal(signalOf("s", "of another"));
    await store.signal(signalOf("r", "early"));
    await store.append(appendOf("r", 1, 0, { status: "waiting" }));
    await store.signal(signalOf("r", "late"));
    equal(await idsOf(store, { runId: "r" }), "early late");
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 2, 1, { status: "running", signalsTaken: ["early"] }));
    await store.append(appendOf("r", 2, 2, { status: "completed" }));
    equal(await idsOf(store, { runId: "r" }), "");
    equal(await idsOf(store, { runId: "s" }), "of another");
    await store.claim(claimOf("r", { reopen: true }));
    await store.append(appendOf("r", 3, 3, { status: "running" }));
    equal(await idsOf(store, { runId: "r" }), "");
  },

  "a signal makes a run due that waits, at once and once (C5.2)": async ({ store, open, clock }) => {
    const due = async (): Promise<[string, number | null][]> =>
      (await store.list({ wakesBefore: Infinity })).map(({ runId, wakeAt }) => [runId, wakeAt]);
    const start = clock.wallNow();
    for (const [runId, wakeAt] of [
      ["timer", start + 1000],
      ["none", null],
      ["past", start],
    ] as const) {
      await store.claim(claimOf(runId));
      await store.append(appendOf(runId, 1, 0, { status: "waiting", wakeAt }));
    }
    await store.claim(claimOf("running"));
    await clock.advance(10);
    const other = await open();
    for (const runId of ["none", "timer", "past", "running"]) await other.signal(signalOf(runId, "a"));
    deepEqual(await due(), [
      ["past", start],
      ["timer", start + 10],
      ["none", start + 10],
    ]);
    // Whoever has looked at a signal, and leaves it to a later node, waits on undisturbed, also when it is told again.
    for (const runId of ["timer", "none"]) {
      await store.claim(claimOf(runId));
      await store.append(appendOf(runId, 2, 1, { status: "waiting", wakeAt: null, wakeOn: ["another name"] }));
      await other.signal(signalOf(runId, "a"));
    }
    deepEqual(await due(), [["past", start]]);
    equal(await idsOf(store, { runId: "timer" }), "a");
    equal((await store.get("running"))?.wakeAt, null);
  },

  "a run that waits for a signal which has come already is due at once (C5.2)": async ({ store, clock }) => {
    const now = clock.wallNow();
    const wakeAtAfter = async (runId: string, more: Parameters<typeof appendOf>[3]): Promise<number | null> => {
      await store.claim(claimOf(runId));
      for (const id of ["a", "b"]) await store.signal(signalOf(runId, id, { name: id }));
      await store.append(appendOf(runId, 1, 0, { status: "waiting", ...more }));
      return (await store.get(runId))!.wakeAt;
    };
    equal(await wakeAtAfter("1", { wakeOn: ["c", "b"] }), now);
    equal(await wakeAtAfter("2", { wakeOn: ["a"], wakeAt: now + 5 }), now);
    equal(await wakeAtAfter("3", { wakeOn: ["a"], wakeAt: now - 5 }), now - 5);
    equal(await wakeAtAfter("4", { wakeOn: ["a"], wakeAt: now + 5, signalsTaken: ["a"] }), now + 5);
    equal(await wakeAtAfter("5", { wakeOn: ["c"] }), null);
    equal(await wakeAtAfter("6", { wakeOn: [] }), null);
    equal(await wakeAtAfter("7", { wakeOn: ["a"], status: "running" }), null);
    equal(await wakeAtAfter("8", { wakeOn: ["a"], status: "completed" }), null);
  },

  "the signals of all runs that an owner holds come at once, oldest first (C5.2)": async ({ store }) => {
    for (const runId of ["r", "s", "ended"]) await store.claim(claimOf(runId));
    await store.claim(claimOf("t", { owner: "two" }));
    for (const [runId, id] of [
      ["s", "1"],
      ["r", "2"],
      ["t", "3"],
      ["s", "4"],
      ["ended", "5"],
    ] as const)
      await store.signal(signalOf(runId, id));
    await store.append(appendOf("ended", 1, 0, { status: "completed" }));
    equal(await idsOf(store, { owner: "one" }), "1 2 4");
    equal(await idsOf(store, { owner: "two" }), "3");
    equal(await idsOf(store, { owner: "nobody" }), "");
    await store.release("r", 1);
    await store.claim(claimOf("s", { owner: "two", isDead: () => true }));
    equal(await idsOf(store, { owner: "one" }), "");
    equal(await idsOf(store, { owner: "two" }), "1 3 4");
  },
};
