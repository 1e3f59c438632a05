import { expect, it } from "vitest";
import { createEngine, MemoryStore, type NodeContext, Workflow } from "../index.ts";

function order(calls: string[]) {
  const node =
    (id: string) =>
    (input: unknown, { idempotencyKey }: NodeContext): string => {
      calls.push(`${id} ${idempotencyKey}`);
      return `${id}(${typeof input === "object" ? JSON.stringify(input) : String(input)})`;
    };
  return new Workflow({ id: "order" })
    .addNode("a", node("a"))
    .addNode("b", node("b"))
    .addNode("c", node("c"))
    .addNode("d", node("d"))
    .connect("a", "b")
    .connect("a", "c")
    .connect("b", "d")
    .connect("c", "d");
}

const called = (calls: string[]): string[] => calls.map((call) => call.split(" ")[0]!).sort();

it("a fork does a node and all that follows anew, and takes the rest over (C6.9)", async () => {
  const calls: string[] = [];
  const engine = createEngine({ store: new MemoryStore() });
  const before = await engine.run(order(calls), "x", { runId: "old" });
  const keys = new Set(calls.splice(0).map((call) => call.split(" ")[1]));
  const fork = await engine.fork(order(calls), "old", { fromNode: "b", runId: "new" });
  expect(fork.runId).toBe("new");
  expect((await fork.result).output).toBe(before.output);
  expect(called(calls)).toEqual(["b", "d"]);
  // It is a new run, so its keys are new.
  expect(calls.some((call) => keys.has(call.split(" ")[1]))).toBe(false);
  expect((await engine.history("new"))!.events[0]).toMatchObject({ fork: { runId: "old", node: "b" } });
  // The old one is as it was, and the new one is a run like any other.
  expect((await engine.run(order(calls), "x", { runId: "old" })).output).toBe(before.output);
  expect((await engine.run(order(calls), "x", { runId: "new" })).output).toBe(before.output);
  expect(called(calls)).toEqual(["b", "d"]);
});

it("another input takes the place of what the node had got (C6.9)", async () => {
  const calls: string[] = [];
  const engine = createEngine({ store: new MemoryStore() });
  await engine.run(order(calls), "x", { runId: "old" });
  const { result } = await engine.fork(order(calls), "old", { fromNode: "c", input: new Map([["k", 1]]) });
  expect((await result).output).toBe('d({"b":"b(a(x))","c":"c({})"})');
  const whole = await engine.fork(order(calls), "old", { fromNode: "a", input: "y" });
  expect((await whole.result).output).toBe('d({"b":"b(a(y))","c":"c(a(y))"})');
});

it("a failed run is forked with mended code; what failed is tried again (C6.9, C5.10)", async () => {
  const calls: string[] = [];
  const engine = createEngine({ store: new MemoryStore() });
  const broken = order(calls).addNode("e", (): string => {
    throw new Error("a bug");
  });
  expect((await engine.run(broken, "x", { runId: "old" })).status).toBe("failed");
  calls.length = 0;
  const mended = order(calls).addNode("e", () => "mended");
  const { result } = await engine.fork(mended, "old", { fromNode: "d" });
  expect((await result).output).toMatchObject({ e: "mended" });
  // Its other nodes had not begun when it failed.
  expect(called(calls)).toEqual(["b", "c", "d"]);
});

it("a visit that a backup has served stays served by it (C5.4, C6.9)", async () => {
  const workflow = new Workflow({ id: "w" })
    .addNode("main", (_: number): string => {
      throw new Error("down");
    })
    .addNode("backup", (n: number) => `backup ${n}`)
    .addNode("end", (text: string) => `${text}!`)
    .connect("main", "end")
    .addFallback("main", "backup");
  const engine = createEngine({ store: new MemoryStore() });
  await engine.run(workflow, 1, { runId: "old" });
  const { result } = await engine.fork(workflow, "old", { fromNode: "end" });
  expect(await result).toMatchObject({ output: "backup 1!", degraded: true });
});

it("a fork that dies right after its start goes on like any run (C6.2, C6.9)", async () => {
  const calls: string[] = [];
  const store = new MemoryStore();
  const engine = createEngine({ store });
  await engine.run(order(calls), "x", { runId: "old" });
  calls.length = 0;
  const forked = await engine.fork(order(calls), "old", { fromNode: "d", runId: "new" });
  await forked.result;
  const first = await store.read("new");
  const { events } = (await engine.history("new"))!;
  // All that is taken over comes with the start, so that no fork is ever half there.
  expect(events.filter(({ record }) => record === 0).map(({ kind }) => kind)).toEqual([
    "run_started",
    ...["a", "b", "c"].flatMap(() => ["invocation_started", "invocation_completed"]),
    "invocation_started",
  ]);
  expect(first.length).toBeGreaterThan(1);
});

it("says what cannot be forked (C0.5, C6.9)", async () => {
  const engine = createEngine({ store: new MemoryStore() });
  await engine.run(order([]), "x", { runId: "old" });
  await expect(engine.fork(order([]), "old", { fromNode: "z" })).rejects.toThrow(
    /"z", which is no node. There are: "a"/,
  );
  await expect(engine.fork(order([]), "nobody", { fromNode: "a" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(engine.fork(order([]), "old", { fromNode: "a", runId: "old" })).rejects.toMatchObject({
    code: "RUN_IN_USE",
  });
  const other = new Workflow({ id: "other" }).addNode("a", () => 1);
  await expect(engine.fork(other, "old", { fromNode: "a" })).rejects.toThrow(/belongs to workflow "order"/);
});
