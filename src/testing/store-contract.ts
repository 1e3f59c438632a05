import { deepEqual, equal, ok } from "node:assert/strict";
import type { Append, Claim, DeadLetter, Store } from "../core/store.ts";
import { type ContractCase, rejection } from "./contract-case.ts";
import { FakeClock } from "./fake-clock.ts";

/** A place for runs that a test may fill and throw away. */
export interface StorePlace {
  /** A store on the place. Each further one sees the same runs, as another process would. */
  open(clock: FakeClock): Store | Promise<Store>;
  /** Called when the case is over and its stores are closed. */
  remove?(): void | Promise<void>;
}

/**
 * What every store must do, as cases for any test runner; `newPlace` gives each of them an empty place.
 *
 * @example
 * ```ts no-run
 * import { MemoryStore } from "holdfast";
 * import { storeContract } from "holdfast/testing";
 * import { it } from "vitest";
 *
 * const newPlace = () => {
 *   const store = new MemoryStore();
 *   return { open: () => store };
 * };
 * for (const { title, run } of storeContract(newPlace)) it(title, run);
 * ```
 */
export function storeContract(newPlace: () => StorePlace | Promise<StorePlace>): ContractCase[] {
  return Object.entries(CASES).map(([title, check]) => ({
    title,
    run: async () => {
      const place = await newPlace();
      const clock = new FakeClock();
      const opened: Store[] = [];
      const open = async (): Promise<Store> => {
        const store = await place.open(clock);
        opened.push(store);
        return store;
      };
      try {
        await check({ store: await open(), open, clock });
      } finally {
        for (const store of opened) await store.close();
        await place.remove?.();
      }
    },
  }));
}

interface Bench {
  store: Store;
  /** Another handle on the same place. */
  open: () => Promise<Store>;
  clock: FakeClock;
}

const LEASE_MS = 5000;

/** Any ids: none is a path, a key that means something, or the same as another (C0.7). */
const STRANGE_IDS = [
  "__proto__",
  "constructor",
  "../x",
  "a\0b",
  "a",
  "A",
  "🪸",
  "\ud83e",
  "\ud83f",
  "%_'\"\\u0041",
  "\\",
  " ",
  "x".repeat(512),
];

function claimOf(runId: string, more: Partial<Claim> = {}): Claim {
  return { runId, workflowId: "w", owner: "one", leaseMs: LEASE_MS, isDead: () => false, reopen: false, ...more };
}

function appendOf(runId: string, token: number, version: number, more: Partial<Append> = {}): Append {
  return { runId, token, version, body: bytes(`${runId} ${version}`), checksum: version + 1, ...more };
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function letterOf(id: string, more: Partial<DeadLetter> = {}): DeadLetter {
  const errorDetail = { name: "Error", message: "no", cause: { name: "Error", message: "deeper" } };
  return {
    ...{ id, timestamp: 1, workflowId: "w", runId: "r", nodeId: "n", invocationId: "n#0", error: "no", errorDetail },
    ...{ attempts: 1, retryCount: 0, maxRetries: 3, nextRetryAt: 5, status: "pending", payload: null },
    ...more,
  };
}

/** What a store says of a run, all of it: to see that nothing has changed. */
async function everything(store: Store, runId: string): Promise<unknown> {
  return { row: await store.get(runId), records: await store.read(runId), letters: await store.deadLetters() };
}

const CASES: Record<string, (bench: Bench) => Promise<void>> = {
  "a claim makes a run that is not there, and lists it as running (C6.4)": async ({ store, clock }) => {
    const now = clock.wallNow();
    const row = {
      ...{ runId: "r", workflowId: "w", status: "running", token: 1, owner: "one", leaseUntil: now + LEASE_MS },
      ...{ createdAt: now, updatedAt: now, version: 0, head: { version: 0, checksum: 0 } },
    };
    deepEqual(await store.claim(claimOf("r")), { ...row, formerOwner: null });
    deepEqual(await store.get("r"), row);
    deepEqual(await store.list(), [row]);
  },

  "the fencing token rises with each claim, also of the same owner (C6.4)": async ({ store }) => {
    const tokens = [];
    for (let i = 0; i < 3; i++) tokens.push((await store.claim(claimOf("r"))).token);
    await store.release("r", 3);
    tokens.push((await store.claim(claimOf("r", { owner: "two" }))).token);
    deepEqual(tokens, [1, 2, 3, 4]);
    equal((await store.claim(claimOf("other"))).token, 1);
  },

  "a run that a living holder has is refused to others, with how long the lease still lasts (C6.4)": async ({
    store,
    clock,
  }) => {
    await store.claim(claimOf("r"));
    await clock.advance(1000);
    const error = await rejection(store.claim(claimOf("r", { owner: "two" })), "RUN_IN_USE");
    equal((error as { retryAfterMs?: number }).retryAfterMs, LEASE_MS - 1000);
    equal((await store.get("r"))?.token, 1);
    await store.append(appendOf("r", 1, 0));
  },

  "a lease that has run out is taken over, and the claim says from whom (C6.4)": async ({ store, clock }) => {
    await store.claim(claimOf("r"));
    await clock.advance(LEASE_MS - 1);
    await rejection(store.claim(claimOf("r", { owner: "two" })), "RUN_IN_USE");
    await clock.advance(1);
    const { token, owner, formerOwner } = await store.claim(claimOf("r", { owner: "two" }));
    deepEqual({ token, owner, formerOwner }, { token: 2, owner: "two", formerOwner: "one" });
  },

  "the lease of an owner that is known to be dead is taken over at once (C6.4)": async ({ store }) => {
    await store.claim(claimOf("r"));
    const asked: string[] = [];
    const isDead = (owner: string): boolean => asked.push(owner) > 0;
    const { token, formerOwner } = await store.claim(claimOf("r", { owner: "two", isDead }));
    deepEqual({ token, formerOwner, asked }, { token: 2, formerOwner: "one", asked: ["one"] });
  },

  "a lease that was given back is free at once, and had no former owner (C6.4)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.release("r", 1);
    const { token, formerOwner } = await store.claim(claimOf("r", { owner: "two" }));
    deepEqual({ token, formerOwner }, { token: 2, formerOwner: null });
  },

  "giving back a lease that somebody else has taken since changes nothing (C6.4)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.claim(claimOf("r", { owner: "two", isDead: () => true }));
    await store.release("r", 1);
    await store.release("no such run", 1);
    equal((await store.get("r"))?.owner, "two");
    await store.append(appendOf("r", 2, 0));
  },

  "records come back in order, with their bytes and checksums (C6.1)": async ({ store }) => {
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    const bodies = [bytes("first"), new Uint8Array(0), all, new Uint8Array(1 << 20).fill(7)];
    await store.claim(claimOf("r"));
    for (const [i, body] of bodies.entries())
      await store.append(appendOf("r", 1, i, { body, checksum: 2 ** 32 - 1 - i }));
    const expected = bodies.map((body, seq) => ({ seq, body, checksum: 2 ** 32 - 1 - seq }));
    const read = await store.read("r");
    deepEqual(
      read.map((record) => ({ ...record, body: Uint8Array.from(record.body) })),
      expected,
    );
    ok(read.every(({ body }) => body instanceof Uint8Array));
    equal((await store.get("r"))?.version, 4);
    deepEqual(await store.read("no such run"), []);
  },

  "a write under the token of a former holder is LeaseLostError and stores nothing (C6.4)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0));
    await store.claim(claimOf("r", { owner: "two", isDead: () => true }));
    const before = await everything(store, "r");
    const stale = appendOf("r", 1, 1, { status: "failed", deadLetters: [letterOf("dl")] });
    const error = await rejection(store.append(stale), "LEASE_LOST");
    deepEqual({ ...error }, { ...error, runId: "r", token: 1 });
    await rejection(store.append(appendOf("r", 3, 1)), "LEASE_LOST");
    await rejection(store.setAside("r", 1, 0), "LEASE_LOST");
    deepEqual(await everything(store, "r"), before);
    // Also right after the present holder has written, and at the version that comes next.
    await store.append(appendOf("r", 2, 1));
    for (const token of [1, 3]) await rejection(store.append(appendOf("r", token, 2)), "LEASE_LOST");
    equal((await store.read("r")).length, 2);
  },

  "a write without a lease is LeaseLostError and stores nothing (C6.4)": async ({ store }) => {
    await rejection(store.append(appendOf("r", 1, 0)), "LEASE_LOST");
    await rejection(store.setAside("r", 1, 0), "LEASE_LOST");
    equal(await store.get("r"), undefined);
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0));
    await store.release("r", 1);
    const before = await everything(store, "r");
    await rejection(store.append(appendOf("r", 1, 1)), "LEASE_LOST");
    await rejection(store.setAside("r", 1, 0), "LEASE_LOST");
    deepEqual(await everything(store, "r"), before);
  },

  "a holder whose lease has run out may write as long as nobody has taken it (C6.4)": async ({ store, clock }) => {
    await store.claim(claimOf("r"));
    await clock.advance(LEASE_MS * 2);
    await store.append(appendOf("r", 1, 0));
    equal((await store.read("r")).length, 1);
  },

  "a write at another version than the journal has stores nothing (C6.1)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0));
    const before = await everything(store, "r");
    for (const version of [0, 2]) {
      const wrong = appendOf("r", 1, version, { status: "completed", deadLetters: [letterOf("dl")] });
      await rejection(store.append(wrong), "STORE_UNAVAILABLE");
    }
    deepEqual(await everything(store, "r"), before);
    await store.append(appendOf("r", 1, 1));
  },

  "a status is stored with its record, as is the checksum that the journal then ends with (C6.7)": async ({
    store,
    clock,
  }) => {
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0, { status: "running" }));
    await clock.advance(10);
    await store.append(appendOf("r", 1, 1));
    deepEqual((await store.get("r"))?.head, { version: 1, checksum: 1 });
    await store.append(appendOf("r", 1, 2, { status: "waiting", checksum: 4_000_000_000 }));
    const row = await store.get("r");
    deepEqual(row?.head, { version: 3, checksum: 4_000_000_000 });
    deepEqual([row?.status, row?.updatedAt, row?.owner], ["waiting", clock.wallNow(), "one"]);
  },

  "a status that ends the run gives its lease back (C6.4)": async ({ store }) => {
    for (const status of ["completed", "failed", "cancelled"] as const) {
      await store.claim(claimOf(status));
      await store.append(appendOf(status, 1, 0, { status }));
      const row = await store.get(status);
      deepEqual([row?.status, row?.owner, row?.leaseUntil], [status, null, 0]);
      await rejection(store.append(appendOf(status, 1, 1)), "LEASE_LOST");
    }
  },

  "a run that has ended is claimed without a lease, unless it is to be reopened (C6.9)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0, { status: "failed" }));
    const seen = await store.claim(claimOf("r", { owner: "two" }));
    deepEqual([seen.token, seen.owner, seen.status, seen.version], [1, null, "failed", 1]);
    await rejection(store.append(appendOf("r", 1, 1)), "LEASE_LOST");
    const reopened = await store.claim(claimOf("r", { owner: "two", reopen: true }));
    deepEqual([reopened.token, reopened.owner, reopened.formerOwner], [2, "two", null]);
    await rejection(store.claim(claimOf("r", { owner: "three", reopen: true })), "RUN_IN_USE");
    await store.append(appendOf("r", 2, 1, { status: "running" }));
    equal((await store.get("r"))?.status, "running");
  },

  "a renewal lengthens the leases of its owner and tells which are lost (C6.4)": async ({ store, clock }) => {
    for (const runId of ["kept", "taken", "released", "ended"]) await store.claim(claimOf(runId));
    await store.claim(claimOf("taken", { owner: "two", isDead: () => true }));
    await store.release("released", 1);
    await store.append(appendOf("ended", 1, 0, { status: "completed" }));
    await clock.advance(LEASE_MS - 1);
    const asked = ["kept", "taken", "released", "ended", "no such run"];
    deepEqual(await store.renew("one", asked, LEASE_MS), ["taken", "released", "ended", "no such run"]);
    await clock.advance(LEASE_MS - 1);
    await rejection(store.claim(claimOf("kept", { owner: "two" })), "RUN_IN_USE");
    await store.claim(claimOf("taken", { owner: "one" }));
    equal((await store.get("released"))?.leaseUntil, 0);
    deepEqual(await store.renew("one", [], LEASE_MS), []);
  },

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

  "damaged records are moved out of the journal, which goes on before them (C6.7)": async ({ store }) => {
    await store.claim(claimOf("r"));
    for (let i = 0; i < 4; i++) await store.append(appendOf("r", 1, i));
    await store.setAside("r", 1, 2);
    deepEqual(
      (await store.read("r")).map(({ seq }) => seq),
      [0, 1],
    );
    equal((await store.get("r"))?.version, 2);
    await rejection(store.append(appendOf("r", 1, 4)), "STORE_UNAVAILABLE");
    await store.append(appendOf("r", 1, 2, { body: bytes("anew") }));
    deepEqual(Uint8Array.from((await store.read("r"))[2]!.body), bytes("anew"));
  },

  "any text is an id, and each is another run, workflow and node (C0.7)": async ({ store }) => {
    for (const [i, id] of STRANGE_IDS.entries()) {
      const row = await store.claim(claimOf(id, { workflowId: id, owner: `owner ${i}` }));
      deepEqual([row.runId, row.workflowId, row.token], [id, id, 1]);
      const letter = letterOf(`dl-${i}`, { runId: id, workflowId: id, nodeId: id });
      await store.append(appendOf(id, 1, 0, { body: bytes(String(i)), deadLetters: [letter] }));
    }
    deepEqual(
      (await store.list()).map(({ runId }) => runId),
      STRANGE_IDS.toReversed(),
    );
    for (const [i, id] of STRANGE_IDS.entries()) {
      const row = await store.get(id);
      deepEqual([row?.runId, row?.workflowId, row?.owner, row?.version], [id, id, `owner ${i}`, 1]);
      deepEqual(
        (await store.read(id)).map(({ body }) => Uint8Array.from(body)),
        [bytes(String(i))],
      );
      deepEqual(
        (await store.list({ workflowId: id })).map(({ runId }) => runId),
        [id],
      );
      const found = await store.deadLetters({ runId: id, workflowId: id, nodeId: id });
      deepEqual(
        found.map((letter) => [letter.id, letter.nodeId]),
        [[`dl-${i}`, id]],
      );
      deepEqual(await store.renew(`owner ${i}`, [id], LEASE_MS), []);
    }
  },

  "what is handed out or handed in later changes nothing that is stored (C6.1)": async ({ store }) => {
    const body = bytes("kept");
    const letter = letterOf("dl");
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0, { body, deadLetters: [letter], status: "running" }));
    const before = structuredClone(await everything(store, "r"));
    body.fill(0);
    letter.errorDetail.message = "changed";
    const [record] = await store.read("r");
    record!.body.fill(0);
    (await store.get("r"))!.head.checksum = 99;
    (await store.list())[0]!.token = 99;
    (await store.deadLetters())[0]!.errorDetail.message = "changed";
    (await store.deadLetter("dl"))!.status = "succeeded";
    deepEqual(structuredClone(await everything(store, "r")), before);
  },

  "of many writes at once those that are refused leave the others alone (C6.4)": async ({ store }) => {
    const runs = Array.from({ length: 40 }, (_, i) => `r-${i}`);
    await Promise.all(runs.map((runId) => store.claim(claimOf(runId))));
    const outcomes = await Promise.allSettled(
      runs.flatMap((runId, i) => [
        store.append(appendOf(runId, i % 3 === 0 ? 9 : 1, 0, { deadLetters: [letterOf(`dl-${runId}`, { runId })] })),
        store.append(appendOf(runId, 1, 1)),
      ]),
    );
    for (const [i, runId] of runs.entries()) {
      const refused = i % 3 === 0;
      deepEqual(
        outcomes.slice(2 * i, 2 * i + 2).map(({ status }) => status === "rejected"),
        [refused, refused],
      );
      deepEqual(
        (await store.read(runId)).map(({ seq }) => seq),
        refused ? [] : [0, 1],
      );
      equal((await store.deadLetter(`dl-${runId}`)) === undefined, refused);
    }
  },

  "appends of one run that are on their way together are stored in order (C6.1)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.append(appendOf("r", 1, i))));
    const read = await store.read("r");
    deepEqual(
      read.map(({ seq, checksum }) => [seq, checksum]),
      Array.from({ length: 100 }, (_, i) => [i, i + 1]),
    );
  },

  "two handles on one place see and fence each other (C6.4)": async ({ store, open, clock }) => {
    const other = await open();
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0));
    await rejection(other.claim(claimOf("r", { owner: "two" })), "RUN_IN_USE");
    await clock.advance(LEASE_MS);
    const { token, version } = await other.claim(claimOf("r", { owner: "two" }));
    deepEqual([token, version], [2, 1]);
    await rejection(store.append(appendOf("r", 1, 1)), "LEASE_LOST");
    await other.append(appendOf("r", 2, 1));
    deepEqual(await store.renew("one", ["r"], LEASE_MS), ["r"]);
    deepEqual((await store.read("r")).length, 2);
    deepEqual(await store.list(), await other.list());
  },

  "a run that goes back and forth between two handles is never written by the wrong one (C6.4)": async ({
    store,
    open,
  }) => {
    const handles = { one: store, two: await open() };
    const isDead = (): boolean => true;
    for (let i = 0; i < 6; i++) {
      const [owner, former] = i % 2 === 0 ? (["one", "two"] as const) : (["two", "one"] as const);
      const { token, version } = await handles[owner].claim(claimOf("r", { owner, isDead }));
      deepEqual([token, version], [i + 1, 2 * i]);
      await handles[owner].append(appendOf("r", token, version));
      await rejection(handles[former].append(appendOf("r", token - 1, version)), "LEASE_LOST");
      await rejection(handles[former].append(appendOf("r", token - 1, version + 1)), "LEASE_LOST");
      await handles[owner].append(appendOf("r", token, version + 1));
    }
    equal((await store.read("r")).length, 12);
  },

  "of two claims at the same time one gets the run (C6.4)": async ({ store, open }) => {
    const other = await open();
    for (let i = 0; i < 5; i++) {
      const outcomes = await Promise.allSettled([
        store.claim(claimOf(`r-${i}`, { owner: "one" })),
        other.claim(claimOf(`r-${i}`, { owner: "two" })),
      ]);
      equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
    }
  },

  "a store that is closed refuses everything, and closing it again does nothing (C6.10)": async ({ store }) => {
    await store.claim(claimOf("r"));
    await store.close();
    await store.close();
    const calls: (() => Promise<unknown>)[] = [
      () => store.claim(claimOf("r")),
      () => store.append(appendOf("r", 1, 0)),
      () => store.renew("one", ["r"], LEASE_MS),
      () => store.release("r", 1),
      () => store.setAside("r", 1, 0),
      () => store.get("r"),
      () => store.read("r"),
      () => store.list(),
      () => store.deadLetters(),
      () => store.deadLetter("dl"),
    ];
    for (const call of calls) await rejection(call(), "STORE_UNAVAILABLE");
  },

  "writes that were on their way when the store is closed are stored (C6.1)": async ({ store }) => {
    await store.claim(claimOf("r"));
    const appended = store.append(appendOf("r", 1, 0));
    await store.close();
    await appended;
  },
};
