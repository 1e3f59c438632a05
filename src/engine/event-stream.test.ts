import { expect, test } from "vitest";
import type { HoldfastEvent } from "../core/events.ts";
import { MemoryStore } from "../stores/memory.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { Workflow } from "../workflow.ts";
import { Engine } from "./engine.ts";

const double = new Workflow({ id: "double" }).addNode("n", (n: number) => n * 2);

function newEngine(): { engine: Engine; runtime: FakeRuntime } {
  const runtime = fakeRuntime();
  return { engine: new Engine({ store: new MemoryStore({ clock: runtime.clock }), runtime }), runtime };
}

test("events come one after the other, those of before the first question too, and end with the engine (C8.2)", async () => {
  const { engine } = newEngine();
  const stream = engine.events();
  await engine.run(double, 21, { runId: "r" });
  await engine.close();
  const told: string[] = [];
  for await (const event of stream) told.push(event.type);
  expect(told).toEqual(["run.started", "node.started", "node.completed", "run.completed"]);
  expect(() => engine.events()).toThrow(/engine is closed/);
});

test("a reader who waits gets each event as it comes, and nothing is left waiting at the end (C8.2)", async () => {
  const { engine, runtime } = newEngine();
  const stream = engine.events();
  const answers = [stream.next(), stream.next(), stream.next()];
  runtime.events.emit?.("run.started", { runId: "1", workflowId: "w" });
  runtime.events.emit?.("run.started", { runId: "2", workflowId: "w" });
  await engine.close();
  const results = await Promise.all(answers);
  expect(results.map(({ done, value }) => (done ? "end" : (value as { runId: string }).runId))).toEqual([
    "1",
    "2",
    "end",
  ]);
});

test("a reader who is too slow is told how many of the oldest he has missed (C8.2)", async () => {
  const { engine, runtime } = newEngine();
  const stream = engine.events({ buffer: 2 });
  for (let n = 1; n <= 5; n++) runtime.events.emit?.("run.started", { runId: `${n}`, workflowId: "w" });
  const told: HoldfastEvent[] = [];
  for (let n = 0; n < 3; n++) told.push((await stream.next()).value as HoldfastEvent);
  expect(told).toMatchObject([
    { type: "events.dropped", count: 3, seq: 3 },
    { type: "run.started", runId: "4" },
    { type: "run.started", runId: "5" },
  ]);
  runtime.events.emit?.("run.started", { runId: "6", workflowId: "w" });
  expect((await stream.next()).value).toMatchObject({ runId: "6" });
  expect(() => engine.events({ buffer: 0 })).toThrow(/engine\.events\.buffer/);
});

test("a reader who leaves is no burden any more (C8.2)", async () => {
  const { engine, runtime } = newEngine();
  const stream = engine.events();
  runtime.events.emit?.("run.started", { runId: "1", workflowId: "w" });
  for await (const event of stream) {
    expect(event.type).toBe("run.started");
    break;
  }
  expect(runtime.events.emit).toBeNull();
  expect(await stream.next()).toEqual({ value: undefined, done: true });
});
