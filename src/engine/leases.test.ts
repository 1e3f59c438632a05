import { beforeEach, expect, it } from "vitest";
import { MemoryStore } from "../stores/memory.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { Journal } from "./journal.ts";
import { Leases } from "./leases.ts";

const OWNER = "me";
const LEASE_MS = 3000;

/** Counts renewals, and lets a test answer them late. */
class CountingStore extends MemoryStore {
  renewals: string[][] = [];
  late: Promise<void> | undefined;
  unreachable = false;

  override async renew(owner: string, runIds: readonly string[], leaseMs: number): Promise<string[]> {
    this.renewals.push([...runIds]);
    await this.late;
    if (this.unreachable) throw new Error("unreachable");
    return super.renew(owner, runIds, leaseMs);
  }
}

let runtime: FakeRuntime;
let store: CountingStore;
let leases: Leases;

beforeEach(() => {
  runtime = fakeRuntime();
  store = new CountingStore({ clock: runtime.clock });
  leases = new Leases(store, runtime, OWNER, LEASE_MS, () => {});
});

function journalOf(runId: string): Promise<Journal> {
  return Journal.open(store, runtime, {
    ...{ runId, workflowId: "w", owner: OWNER, leaseMs: LEASE_MS, isDead: () => false, reopen: false },
  });
}

it("all leases that are held are renewed together, three times as often as they run out (C6.4)", async () => {
  leases.hold(await journalOf("a"));
  leases.hold(await journalOf("b"));
  await runtime.clock.advance(LEASE_MS);
  expect(store.renewals).toEqual([
    ["a", "b"],
    ["a", "b"],
    ["a", "b"],
  ]);
  expect((await store.get("a"))?.leaseUntil).toBe(runtime.clock.wallNow() + LEASE_MS);
});

it("nothing is renewed, and no timer runs, while nothing is held (C0.4)", async () => {
  const journal = await journalOf("a");
  leases.hold(journal);
  leases.drop(journal);
  await runtime.clock.advance(10 * LEASE_MS);
  expect(store.renewals).toEqual([]);
});

it("the heartbeat does not keep the process alive (C0.4)", async () => {
  leases.hold(await journalOf("a"));
  expect(runtime.clock.pendingTimers).toBe(0);
});

it("a run that is held while a renewal is on its way does not double the heartbeat (C6.4)", async () => {
  let answer!: () => void;
  store.late = new Promise((resolve) => (answer = resolve));
  const first = await journalOf("a");
  leases.hold(first);
  await runtime.clock.advance(LEASE_MS / 3);
  leases.drop(first);
  leases.hold(await journalOf("b"));
  answer();
  await runtime.clock.advance(LEASE_MS);
  expect(store.renewals).toEqual([["a"], ["b"], ["b"], ["b"]]);
});

it("a store that cannot be reached is asked again at the next beat (C6.10)", async () => {
  const journal = await journalOf("a");
  leases.hold(journal);
  store.unreachable = true;
  await runtime.clock.advance(LEASE_MS / 3);
  store.unreachable = false;
  await runtime.clock.advance(LEASE_MS / 3);
  expect(store.renewals).toHaveLength(2);
  await journal.record({ kind: "run_started", workflowId: "w", outline: "", fingerprint: "", input: "1", at: 0 });
});

it("a run whose lease is gone is told, and no other (C6.4)", async () => {
  const [lost, kept] = [await journalOf("lost"), await journalOf("kept")];
  const told: string[] = [];
  lost.onBroken = () => told.push("lost");
  kept.onBroken = () => told.push("kept");
  leases.hold(lost);
  leases.hold(kept);
  const claim = { workflowId: "w", owner: "thief", leaseMs: LEASE_MS, isDead: () => true, reopen: false };
  await store.claim({ ...claim, runId: "lost" });
  await runtime.clock.advance(LEASE_MS / 3);
  expect(told).toEqual(["lost"]);
  const start = { kind: "run_started", workflowId: "w", outline: "", fingerprint: "", input: "1", at: 0 } as const;
  await expect(lost.record(start)).rejects.toMatchObject({ code: "LEASE_LOST" });
  await kept.record(start);
});
