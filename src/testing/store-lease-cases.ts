import { deepEqual, equal } from "node:assert/strict";
import { rejection } from "./contract-case.ts";
import { appendOf, claimOf, everything, LEASE_MS, letterOf, type StoreCases } from "./store-bench.ts";

/** Who may write a run: claims, fencing tokens, renewals. */
export const LEASES: StoreCases = {
  "a claim makes a run that is not there, and lists it as running (C6.4)": async ({ store, clock }) => {
    const now = clock.wallNow();
    const row = {
      ...{ runId: "r", workflowId: "w", status: "running", token: 1, owner: "one", leaseUntil: now + LEASE_MS },
      ...{
        createdAt: now,
        updatedAt: now,
        wakeAt: null,
        version: 0,
        snapshot: null,
        head: { version: 0, checksum: 0 },
      },
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

  "a status with which the run ends or waits gives its lease back (C6.4)": async ({ store }) => {
    for (const status of ["completed", "failed", "cancelled", "waiting"] as const) {
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

  "a run that waits keeps when it goes on, until it does, and is claimed as it stands (C6.3)": async ({
    store,
    clock,
  }) => {
    const wakeAt = clock.wallNow() + 86_400_000;
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 1, 0, { status: "running", wakeAt }));
    equal((await store.get("r"))?.wakeAt, null);
    await store.append(appendOf("r", 1, 1, { status: "waiting", wakeAt }));
    deepEqual((await store.list({ status: "waiting" }))[0]?.wakeAt, wakeAt);
    const claimed = await store.claim(claimOf("r", { owner: "two" }));
    deepEqual([claimed.status, claimed.wakeAt, claimed.owner, claimed.token], ["waiting", wakeAt, "two", 2]);
    await store.append(appendOf("r", 2, 2));
    deepEqual([(await store.get("r"))?.status, (await store.get("r"))?.wakeAt], ["waiting", wakeAt]);
    await store.append(appendOf("r", 2, 3, { status: "running" }));
    deepEqual([(await store.get("r"))?.status, (await store.get("r"))?.wakeAt], ["running", null]);
    await store.append(appendOf("r", 2, 4, { status: "waiting" }));
    deepEqual([(await store.get("r"))?.status, (await store.get("r"))?.wakeAt], ["waiting", null]);
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 3, 5, { status: "waiting", wakeAt }));
    await store.claim(claimOf("r"));
    await store.append(appendOf("r", 4, 6, { status: "completed", wakeAt }));
    equal((await store.get("r"))?.wakeAt, null);
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
};
