import { expect, it } from "vitest";
import { createEngine, MemoryStore, Workflow } from "../index.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { FaultyStore } from "../testing/faulty-store.ts";

const RECOVERY_MS = 60_000;

/** A node whose breaker opens with its second failure, and which is tried again each second. */
function fragile(calls: number[], runtime: FakeRuntime, heal = Infinity) {
  return new Workflow({ id: "w" })
    .addNode("ask", () => {
      calls.push(runtime.clock.wallNow());
      if (calls.length < heal) throw new Error("down");
      return "answer";
    })
    .configureRetry("ask", { maxAttempts: 200, strategy: "fixed", initialDelayMs: 1000, jitter: "none" })
    .configureCircuitBreaker("ask", { failureThreshold: 2, recoveryTimeoutMs: RECOVERY_MS });
}

/** Carries a run out for a while, closes its engine, and carries it on in another one. */
async function restarted(aliveMs: number, heal: number) {
  const runtime = fakeRuntime();
  const begun = runtime.clock.wallNow();
  const store = new MemoryStore({ clock: runtime.clock });
  const calls: number[] = [];
  const first = createEngine({ store: new FaultyStore(store), runtime });
  first.run(fragile(calls, runtime, heal), undefined, { runId: "r" }).catch(() => {});
  for (let ms = 0; ms < aliveMs; ms += 500) await runtime.clock.advance(500);
  await first.close();
  const second = createEngine({ store, runtime });
  const workflow = fragile(calls, runtime, heal);
  const running = second.run(workflow, undefined, { runId: "r" });
  for (let ms = 0; ms < 3 * RECOVERY_MS; ms += 500) await runtime.clock.advance(500);
  const { output } = await running;
  await second.close();
  return { output, calls: calls.map((at) => at - begun) };
}

it("a breaker that was open stays open for the rest of its time after a restart (C6.3)", async () => {
  // The second failure opens it at 1000 ms, and the process ends before the next try is refused.
  const { output, calls } = await restarted(1500, 3);
  expect([output, calls.length]).toEqual(["answer", 3]);
  expect(calls[2]! - calls[1]!).toBeGreaterThanOrEqual(RECOVERY_MS);
  expect(calls[2]! - calls[1]!).toBeLessThan(RECOVERY_MS + 3000);
});

it("one whose time was up in the meantime, or that had closed again, refuses nobody (C6.3)", async () => {
  const { calls } = await restarted(RECOVERY_MS + 5000, 4);
  // Its probe at about 61 s fails, so it is open again; the restart changes nothing of that.
  expect(calls.length).toBe(4);
  expect(calls[3]! - calls[2]!).toBeGreaterThanOrEqual(RECOVERY_MS);
});

it("a node that has succeeded since leaves no opening behind (C6.3)", async () => {
  const runtime = fakeRuntime();
  const store = new MemoryStore({ clock: runtime.clock });
  const calls: number[] = [];
  const door = new Promise<never>(() => {});
  const make = () =>
    fragile(calls, runtime, 3)
      .addNode("wait", () => door)
      .connect("ask", "wait");
  const first = createEngine({ store: new FaultyStore(store), runtime });
  first.run(make(), undefined, { runId: "r" }).catch(() => {});
  for (let ms = 0; ms < RECOVERY_MS + 5000; ms += 500) await runtime.clock.advance(500);
  await first.close();
  const changes: unknown[] = [];
  const second = createEngine({
    store,
    runtime,
    onEvent: (event) => {
      if (event.type === "breaker.changed") changes.push(event.to);
    },
  });
  second.run(make(), undefined, { runId: "r" }).catch(() => {});
  await runtime.clock.advance(10);
  expect([calls.length, changes]).toEqual([3, []]);
  await second.close();
});
