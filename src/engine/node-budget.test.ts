import { expect, it } from "vitest";
import {
  BudgetExceededError,
  createEngine,
  MemoryStore,
  type NodeContext,
  resilientQueueRun,
  Workflow,
} from "../index.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { FaultyStore } from "../testing/faulty-store.ts";

/** A node that costs 0.4 dollars a call, and fails so many times first. */
function paid(limitUsd: number, failures: number, calls: number[] = []) {
  return new Workflow({ id: "w" })
    .addNode("ask", async (): Promise<{ text: string; usd: number }> => {
      calls.push(calls.length + 1);
      if (calls.length <= failures) throw Object.assign(new Error("cut off"), { usd: 0.4 });
      return { text: "answer", usd: 0.3 };
    })
    .configureRetry("ask", { maxAttempts: 5, initialDelayMs: 10_000, jitter: "none" })
    .configureBudget("ask", {
      limitUsd,
      estimate: 0.4,
      cost: (value) => (value as { usd: number }).usd,
      costOfFailure: (error) => (error as { usd?: number }).usd,
    });
}

it("each attempt reserves and settles, and the result says what was spent (C3.7, C5.5)", async () => {
  const runtime = fakeRuntime();
  const engine = createEngine({ store: new MemoryStore({ clock: runtime.clock }), runtime });
  const running = engine.run(paid(2, 2), undefined);
  for (let i = 0; i < 10; i++) await runtime.clock.advance(10_000);
  const { costUsd, agentSteps } = await running;
  expect(costUsd).toBeCloseTo(1.1, 9);
  expect(agentSteps[0]!.costUsd).toBeCloseTo(1.1, 9);
  await engine.close();
});

it("a node whose budget is spent fails, and no retry repeats it (C3.7, C5.6)", async () => {
  const runtime = fakeRuntime();
  const calls: number[] = [];
  const engine = createEngine({ store: new MemoryStore({ clock: runtime.clock }), runtime });
  const running = engine.run(paid(1, 9, calls), undefined);
  for (let i = 0; i < 10; i++) await runtime.clock.advance(10_000);
  const { status, error, costUsd, deadLetters } = await running;
  expect([status, calls.length, costUsd, deadLetters.length]).toEqual(["failed", 2, 0.8, 1]);
  expect(error!.cause).toMatchObject({ name: BudgetExceededError.name });
  await engine.close();
});

it("what was spent counts after a restart, and in a redrive (C6.3)", async () => {
  const runtime = fakeRuntime();
  const store = new MemoryStore({ clock: runtime.clock });
  const calls: number[] = [];
  const workflow = paid(1, 9, calls);
  const first = createEngine({ store: new FaultyStore(store), runtime });
  first.run(workflow, undefined, { runId: "r" }).catch(() => {});
  await runtime.clock.advance(5_000);
  await first.close();
  expect(calls.length).toBe(1);
  const second = createEngine({ store, runtime });
  const running = second.run(workflow, undefined, { runId: "r" });
  for (let i = 0; i < 10; i++) await runtime.clock.advance(10_000);
  const { deadLetters, costUsd } = await running;
  expect([calls.length, costUsd]).toEqual([2, 0.8]);
  // The money of a failed node is gone, although the redrive forgets its failure.
  const again = await second.deadLetters.redrive(deadLetters[0]!.id);
  expect([again.status, calls.length, again.costUsd]).toEqual(["failed", 2, 0.8]);
  await second.close();
});

it("a function spends by itself where the budget has no estimate, and counts without any (C5.2)", async () => {
  const left: number[] = [];
  const workflow = new Workflow({ id: "w" })
    .addNode("bounded", (_: unknown, { budget }: NodeContext) => {
      budget.charge(0.25);
      const reservation = budget.reserve(0.5);
      left.push(budget.remaining);
      reservation.settle(0.5);
      expect(() => budget.reserve(0.5)).toThrow(BudgetExceededError);
      left.push(budget.remaining);
    })
    .addNode("free", (_: unknown, { budget }: NodeContext) => {
      budget.charge(0.1);
      left.push(budget.remaining);
      expect(() => budget.charge(-1)).toThrow(/0 or more/);
    })
    .connect("bounded", "free")
    .configureBudget("bounded", { limitUsd: 1 });
  const run = await resilientQueueRun({ workflow, workflowInput: null, store: new MemoryStore() });
  expect(run.error).toBeUndefined();
  expect([left, run.totalCost, run.agentSteps.map(({ costUsd }) => costUsd)]).toEqual([
    [0.25, 0.25, Infinity],
    0.85,
    [0.75, 0.1],
  ]);
});

it("a budget of calls bounds all visits of a node in a run; runs have one each (C5.1)", async () => {
  const engine = createEngine({ store: new MemoryStore() });
  const workflow = new Workflow({ id: "w" })
    .addNode("again", (n: number) => n + 1)
    .connect("again", "again", undefined, { when: (n) => n < 5 })
    .configureBudget("again", { limitCalls: 3 });
  for (const runId of ["a", "b"]) {
    const { status, agentSteps, costUsd } = await engine.run(workflow, 0, { runId });
    expect([status, agentSteps.length, costUsd]).toEqual(["failed", 4, 0]);
  }
  await engine.close();
});

it("a budget that the usual call exceeds makes the cheaper one, where it is told to (C3.7, C5.2)", async () => {
  const models: string[] = [];
  const workflow = new Workflow({ id: "w" })
    .addNode("ask", (_: unknown, { degraded }: NodeContext) => void models.push(degraded ? "small" : "large"))
    .connect("ask", "ask", undefined, { when: () => models.length < 3 })
    .configureBudget("ask", { limitUsd: 1, onExhausted: "degrade", estimate: (call) => (call.degraded ? 0.1 : 0.6) });
  await workflow.execute(null, { store: new MemoryStore() });
  expect(models).toEqual(["large", "small", "small"]);
});

it("wrong options of a node's policies are found when the workflow is first used (C0.3, C5.1)", async () => {
  const options = { store: new MemoryStore() };
  const make = () => new Workflow({ id: "w" }).addNode("n", () => 1);
  await expect(make().configureBudget("n", {}).execute(undefined, options)).rejects.toThrow(
    /Node "n" of workflow "w": budget needs one of/,
  );
  await expect(make().configureBulkhead("n", { maxConcurrent: 0 }).execute(undefined, options)).rejects.toThrow(
    /bulkhead.maxConcurrent/,
  );
  await expect(make().configureRateLimit("n", { limits: {} }).execute(undefined, options)).rejects.toThrow(/limits/);
});

it("a bulkhead and a rate limit hold over all runs of the engine (C5.1)", async () => {
  const runtime = fakeRuntime();
  const engine = createEngine({ store: new MemoryStore({ clock: runtime.clock }), runtime });
  let working = 0;
  let most = 0;
  const workflow = new Workflow({ id: "w" })
    .addNode("n", async () => {
      most = Math.max(most, ++working);
      await runtime.clock.sleep(100);
      working--;
    })
    .configureBulkhead("n", { maxConcurrent: 2, maxQueue: 10 })
    .configureRateLimit("n", { limits: { requests: { limit: 4, intervalMs: 60_000 } }, maxWaitMs: 0 });
  const running = Array.from({ length: 6 }, () => engine.run(workflow, undefined));
  for (let i = 0; i < 10; i++) await runtime.clock.advance(100);
  const statuses = (await Promise.all(running)).map(({ status }) => status);
  expect([most, statuses.filter((status) => status === "completed").length]).toEqual([2, 4]);
  await engine.close();
});

it("a node says things as events (C5.2)", async () => {
  const runtime = fakeRuntime();
  const said: unknown[] = [];
  const engine = createEngine({
    store: new MemoryStore({ clock: runtime.clock }),
    runtime,
    onEvent: (event) => {
      if (event.type === "node.log") said.push([event.nodeId, event.level, event.message, event.fields]);
    },
  });
  const workflow = new Workflow({ id: "w" }).addNode("n", (_: unknown, { log }: NodeContext) => {
    log.info("begun", { items: 3 });
    log.warn("slow");
  });
  await engine.run(workflow, null);
  expect(said).toEqual([
    ["n", "info", "begun", { items: 3 }],
    ["n", "warn", "slow", undefined],
  ]);
  await engine.close();
});
