import { expect, it } from "vitest";
import { createEngine } from "./default-engine.ts";
import { resilientQueueRun } from "./entry-points.ts";
import { MemoryStore } from "./stores/memory.ts";
import { FaultyStore } from "./testing/faulty-store.ts";
import { Workflow } from "./workflow.ts";

function degradable() {
  return new Workflow({ id: "w" })
    .addNode("model", (_: string): string => {
      throw new Error("model is down");
    })
    .addNode("rules", (text: string) => text.toUpperCase())
    .addNode("count", (text: string) => text.length)
    .connect("model", "count")
    .addFallback("model", "rules");
}

it("the result of a run that went well has these fields (C5.5, C10.3)", async () => {
  const workflow = new Workflow({ id: "w" }).addNode("a", (n: number) => n + 1);
  const result = await resilientQueueRun({ workflow, workflowInput: 1, store: new MemoryStore() });
  expect(result).toEqual({
    ...{ success: true, finalWorkflowOutput: 2, totalTime: expect.any(Number), totalCost: 0 },
    ...{ checkpointUsed: false, degraded: false, deadLetters: [] },
    agentSteps: [
      { nodeId: "a", invocationId: "a#0", attempts: 1, servedBy: "a", durationMs: expect.any(Number), costUsd: 0 },
    ],
  });
});

it("a fallback that served shows as degraded, with who failed how often (C5.4, C5.5)", async () => {
  const result = await resilientQueueRun({ workflow: degradable(), workflowInput: "abc", store: new MemoryStore() });
  expect(result).toMatchObject({ success: true, finalWorkflowOutput: 3, degraded: true, deadLetters: [] });
  expect(result.nodeFailures).toEqual(new Map([["model", 1]]));
  expect(result.agentSteps.map(({ nodeId, servedBy }) => [nodeId, servedBy])).toEqual([
    ["model", "model"],
    ["model", "rules"],
    ["count", "count"],
  ]);
});

it("a node that fails is a result and not an error (C5.5, C5.6)", async () => {
  const workflow = new Workflow({ id: "w" }).addNode("a", () => Promise.reject(new Error("no")));
  const store = new MemoryStore();
  const result = await resilientQueueRun({ workflow, workflowInput: null, workflowInvocationId: "r", store });
  expect(result).toMatchObject({ success: false, finalWorkflowOutput: undefined });
  expect(result.error).toMatchObject({ nodeId: "a", runId: "r", attempts: 1, cause: { message: "no" } });
  expect(result.deadLetters).toEqual(await store.deadLetters());
  expect(result.deadLetters).toHaveLength(1);
});

it("execute and resilientQueueRun come to the same outcome (C5.5)", async () => {
  const broken = new Workflow({ id: "b" }).addNode("x", (_: string) => Promise.reject(new Error("no")));
  for (const workflow of [degradable(), broken] as const) {
    const [one, two] = [new MemoryStore(), new MemoryStore()];
    const executed = await workflow.execute("abc", { runId: "r", store: one }).then(
      (value: unknown) => ({ value, error: undefined }),
      (error: Error) => ({ value: undefined, error: error.message }),
    );
    const result = await resilientQueueRun({ workflow, workflowInput: "abc", workflowInvocationId: "r", store: two });
    expect({ value: result.finalWorkflowOutput, error: result.error?.message }).toEqual(executed);
    const kinds = async (store: MemoryStore): Promise<string[]> =>
      (await store.read("r")).flatMap(({ body }) =>
        [...new TextDecoder().decode(body).matchAll(/"kind":"(\w+)"/g)].map(([, kind]) => kind!),
      );
    expect(await kinds(two)).toEqual(await kinds(one));
    // Each knows the run of the other.
    expect(
      await resilientQueueRun({ workflow, workflowInput: "abc", workflowInvocationId: "r", store: one }),
    ).toMatchObject({
      finalWorkflowOutput: executed.value,
      checkpointUsed: true,
    });
  }
});

it("a run that was interrupted is carried on, and says that it used what was there (C5.5)", async () => {
  const store = new MemoryStore();
  const faulty = new FaultyStore(store);
  let calls = 0;
  const workflow = new Workflow({ id: "w" })
    .addNode("a", () => ++calls)
    .addNode("b", (n: number) => n * 10)
    .connect("a", "b");
  const options = { workflow, workflowInput: null, workflowInvocationId: "r" };
  faulty.onAppend = (moment, n) => {
    if (moment === "asked" && n === 3) throw new Error("the disk is full");
  };
  const interrupted = createEngine({ store: faulty, pauseMs: 0 }).run(workflow, null, { runId: "r" });
  await expect(interrupted).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  const result = await resilientQueueRun({ ...options, store });
  expect(result).toMatchObject({ success: true, finalWorkflowOutput: 10, checkpointUsed: true });
  expect(calls).toBe(1);
});

it("a known run is refused where it is not to be resumed (C5.5)", async () => {
  const store = new MemoryStore();
  const workflow = new Workflow({ id: "w" }).addNode("a", () => 1);
  const options = { workflow, workflowInput: null, workflowInvocationId: "r", store, resumeFromCheckpoint: false };
  expect(await resilientQueueRun(options)).toMatchObject({ success: true, checkpointUsed: false });
  const refused = resilientQueueRun(options);
  await expect(refused).rejects.toMatchObject({ code: "RUN_IN_USE", runId: "r" });
  await expect(refused).rejects.toThrow(/resumeFromCheckpoint is false\. Choose another workflowInvocationId/);
});

it("without checkpointing nothing of the run is kept (C5.5)", async () => {
  const store = new MemoryStore();
  const workflow = new Workflow({ id: "w" }).addNode("a", () => 1);
  const options = { workflow, workflowInput: null, workflowInvocationId: "r", store, enableCheckpointing: false };
  for (let i = 0; i < 2; i++) {
    expect(await resilientQueueRun(options)).toMatchObject({ success: true, checkpointUsed: false });
  }
  expect(await store.list()).toEqual([]);
});

it("a caller's abort is a result that blames no node (C0.8, C5.5)", async () => {
  const workflow = new Workflow({ id: "w" }).addNode("a", () => 1);
  const signal = AbortSignal.abort(new Error("stop"));
  const result = await resilientQueueRun({ workflow, workflowInput: null, store: new MemoryStore(), signal });
  expect(result).toMatchObject({ success: false, agentSteps: [], deadLetters: [], error: { message: /stop/ } });
  expect(result.nodeFailures).toBeUndefined();
});

it("an option that is not known is a ConfigError (C0.3)", async () => {
  const workflow = new Workflow({ id: "w" }).addNode("a", () => 1);
  const options = { workflow, workflowInput: null, resumeFromCheckpiont: true };
  await expect(resilientQueueRun(options)).rejects.toThrow(/resilientQueueRun has no option "resumeFromCheckpiont"/);
});
