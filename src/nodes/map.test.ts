import { expect, it } from "vitest";
import { createEngine, MemoryStore, RetryPolicy, Workflow } from "../index.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { map } from "./map.ts";

function world() {
  const runtime = fakeRuntime();
  return { runtime, engine: createEngine({ store: new MemoryStore({ clock: runtime.clock }), runtime }) };
}

it("gives the results in the order of the items, with at most so many at the same time (C5.2)", async () => {
  const { engine, runtime } = world();
  let working = 0;
  let most = 0;
  const workflow = new Workflow({ id: "w" }).addNode(
    "n",
    map({
      items: (input: { numbers: number[] }) => input.numbers,
      run: async (n, { index }) => {
        most = Math.max(most, ++working);
        await runtime.clock.sleep(10 - index);
        working--;
        return n * n;
      },
      concurrency: 3,
    }),
  );
  const running = engine.run(workflow, { numbers: [1, 2, 3, 4, 5, 6, 7] });
  await runtime.clock.advance(100);
  expect((await running).output).toEqual([1, 4, 9, 16, 25, 36, 49]);
  expect(most).toBe(3);
  await engine.close();
});

it("does only what is left when the node is tried again or redriven, with the same keys (C5.2, C6.1)", async () => {
  const { engine, runtime } = world();
  const keys = new Map<string, Set<string>>();
  const calls: string[] = [];
  let mended = false;
  const workflow = new Workflow({ id: "w" })
    .addNode(
      "n",
      map({
        run: (item: string, { idempotencyKey }) => {
          calls.push(item);
          keys.set(item, (keys.get(item) ?? new Set()).add(idempotencyKey));
          if (item === "b" && !mended) throw new Error("not yet");
          return item.toUpperCase();
        },
        concurrency: 1,
      }),
    )
    .configureRetry("n", { maxAttempts: 2, initialDelayMs: 1 });
  const running = engine.run(workflow, ["a", "b", "c"]);
  await runtime.clock.advance(10);
  const { status, deadLetters } = await running;
  expect([status, calls]).toEqual(["failed", ["a", "b", "b"]]);
  mended = true;
  expect((await engine.deadLetters.redrive(deadLetters[0]!.id)).output).toEqual(["A", "B", "C"]);
  expect(calls).toEqual(["a", "b", "b", "b", "c"]);
  expect([...keys.values()].map((set) => set.size)).toEqual([1, 1, 1]);
  expect(new Set([...keys.values()].flatMap((set) => [...set])).size).toBe(3);
  await engine.close();
});

it("an item that fails ends the node, once those under way are kept (C5.2, C5.6)", async () => {
  const { engine, runtime } = world();
  const calls: number[] = [];
  const workflow = new Workflow({ id: "w" }).addNode(
    "n",
    map({
      run: async (n: number) => {
        calls.push(n);
        if (n === 1) throw new Error("one is bad");
        await runtime.clock.sleep(50);
        return n;
      },
      concurrency: 2,
    }),
  );
  const running = engine.run(workflow, [1, 2, 3, 4]);
  await runtime.clock.advance(100);
  const { status, error, runId } = await running;
  expect([status, calls]).toEqual(["failed", [1, 2]]);
  expect(String(error)).toContain("one is bad");
  const history = await engine.history(runId);
  expect(history!.events.filter(({ kind }) => kind === "step_completed")).toHaveLength(1);
  await engine.close();
});

it("collects what fails as results where it is asked to (C5.2)", async () => {
  const { engine } = world();
  const workflow = new Workflow({ id: "w" }).addNode(
    "n",
    map({
      run: (n: number) => {
        if (n === 2) throw new RangeError("two is bad");
        return n;
      },
      onItemFailure: "collect",
    }),
  );
  const { output } = await engine.run(workflow, [1, 2, 3]);
  expect(output).toEqual([
    { ok: true, value: 1 },
    { ok: false, error: new RangeError("two is bad") },
    { ok: true, value: 3 },
  ]);
  await engine.close();
});

it("guards each item by itself (C5.2)", async () => {
  const { engine, runtime } = world();
  let tries = 0;
  const workflow = new Workflow({ id: "w" }).addNode(
    "n",
    map({
      run: (n: number) => {
        if (n === 2 && ++tries < 3) throw new Error("not yet");
        return n;
      },
      policy: new RetryPolicy({ maxAttempts: 3, initialDelayMs: 1 }, runtime),
    }),
  );
  const running = engine.run(workflow, [1, 2]);
  await runtime.clock.advance(100);
  expect(await running).toMatchObject({ output: [1, 2], agentSteps: [{ attempts: 1 }] });
  await engine.close();
});

it("a cancelled map collects no failures (C0.8)", async () => {
  const { engine } = world();
  const workflow = new Workflow({ id: "w" }).addNode(
    "n",
    map({
      run: (_: number, { signal }) =>
        new Promise<never>((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
      onItemFailure: "collect",
    }),
  );
  const { result } = await engine.start(workflow, [1, 2], { runId: "r" });
  await engine.cancel("r", "enough");
  expect((await result).status).toBe("cancelled");
  await engine.close();
});

it("says what is no list of items, and what is no policy (C0.3, C5.2)", async () => {
  const { engine } = world();
  const workflow = new Workflow({ id: "w" }).addNode("n", map({ run: (n: number) => n }));
  const { error } = await engine.run(workflow, "text" as never);
  expect(String(error)).toContain('The items of map node "n" must be an array, got "text"');
  expect(() => map({ run: (n: number) => n, policy: {} as never })).toThrow(/map.policy must be a policy/);
  expect(() => map({ run: undefined as never })).toThrow(/map.run must be a function/);
  expect(() => map({ run: (n: number) => n, concurrency: 0 })).toThrow(/concurrency/);
  await engine.close();
});
