import { expect, test } from "vitest";
import { MemoryBlobs } from "../stores/memory-blobs.ts";
import { MemoryStore } from "../stores/memory.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { Workflow } from "../workflow.ts";
import { Engine } from "./engine.ts";

test("the history of a run tells what happened and when, with values and errors as they were (C6.6, C8.2)", async () => {
  const runtime = fakeRuntime();
  const { clock } = runtime;
  const engine = new Engine({ store: new MemoryStore({ clock }), runtime });
  const workflow = new Workflow({ id: "w" })
    .addNode("flaky", async (when: Date, { attempt }) => {
      await clock.sleep(10);
      if (attempt === 1) throw new TypeError("not yet");
      return new Map([["when", when]]);
    })
    .configureRetry("flaky", { initialDelayMs: 1000, jitter: "none" });
  const startedAt = clock.wallNow();
  const when = new Date(startedAt);
  const run = engine.run(workflow, when, { runId: "r" });
  await clock.advance(2000);
  await run;
  const history = (await engine.history("r"))!;
  expect(history.damage).toBeUndefined();
  expect(history.run).toMatchObject({ runId: "r", status: "completed" });
  const told = history.events.map(({ kind, at, record }) => [kind, at - startedAt, record]);
  expect(told).toEqual([
    ["run_started", 0, 0],
    ["invocation_started", 0, 0],
    ["attempt_failed", 10, 1],
    ["attempt_started", 1010, 2],
    ["invocation_completed", 1020, 3],
    ["run_completed", 1020, 3],
  ]);
  const [started, , failed, , completed] = history.events;
  expect(started).toMatchObject({ kind: "run_started", workflowId: "w", input: when });
  expect(started).not.toHaveProperty("outline");
  // What TypeScript knows of an event depends on its kind alone.
  if (failed?.kind !== "attempt_failed" || completed?.kind !== "invocation_completed") throw new Error("other kinds");
  const error: Error = failed.error;
  expect([error.name, error.message, failed.nodeId, failed.retryDelayMs]).toEqual([
    "TypeError",
    "not yet",
    "flaky",
    1000,
  ]);
  expect([completed.invocationId, completed.output]).toEqual(["flaky#0", new Map([["when", when]])]);
  expect(await engine.history("other")).toBeUndefined();
});

test("the history shows large values as they were, wherever they are kept (C6.6)", async () => {
  const engine = new Engine({ store: new MemoryStore(), blobs: new MemoryBlobs(), journaledBytes: 0 });
  const workflow = new Workflow({ id: "w" }).addNode("n", (n: number) => [n + 1]);
  await engine.run(workflow, 1, { runId: "r" });
  const { events } = (await engine.history("r"))!;
  expect(events.filter(({ kind }) => kind === "run_started" || kind === "invocation_completed")).toMatchObject([
    { input: 1 },
    { output: [2] },
  ]);
});

test("the history of a failed run names the node, and is told of a run that others carry out (C6.4)", async () => {
  const store = new MemoryStore();
  const workflow = new Workflow({ id: "w" }).addNode("n", () => {
    throw new Error("no");
  });
  await new Engine({ store }).run(workflow, undefined, { runId: "r" });
  const { events } = (await new Engine({ store }).history("r"))!;
  expect(events.at(-1)).toMatchObject({ kind: "run_failed", nodeId: "n", error: { message: "no" } });
});
