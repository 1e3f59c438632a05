import { expect, expectTypeOf, it } from "vitest";
import { z } from "zod";
import { createEngine, MemoryStore, SchemaError, Workflow } from "../index.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { subWorkflow } from "./sub-workflow.ts";
import { wait, waitForSignal } from "./wait.ts";

it("a wait takes a time, or an instant, or a function of its input (C5.2)", async () => {
  const runtime = fakeRuntime();
  const engine = createEngine({ store: new MemoryStore({ clock: runtime.clock }), runtime });
  const begun = runtime.clock.wallNow();
  const nodes = {
    ms: wait<number>({ ms: 10 }),
    "ms of the input": wait({ ms: (input: number) => input * 2 }),
    until: wait<number>({ until: begun + 30 }),
    "until of the input": wait({ until: (input: number) => begun + input * 4 }),
  };
  const took: Record<string, number> = {};
  for (const [id, node] of Object.entries(nodes)) {
    const workflow = new Workflow({ id }).addNode("n", node).addNode("done", () => {
      took[id] = runtime.clock.wallNow() - begun;
    });
    void engine.run(workflow.connect("n", "done"), 10);
  }
  for (let ms = 0; ms < 60; ms++) await runtime.clock.advance(1);
  expect(took).toEqual({ ms: 10, "ms of the input": 20, until: 30, "until of the input": 40 });
  await engine.close();
});

it("ready-made nodes refuse what they cannot be made of (C0.3)", () => {
  expect(() => wait({})).toThrow(/either ms or until/);
  expect(() => wait({ ms: 1, until: 2 })).toThrow(/either ms or until/);
  expect(() => wait({ ms: -1 })).toThrow(/wait.ms must be/);
  expect(() => waitForSignal({ timeoutMs: 0 })).toThrow(/waitForSignal.timeoutMs must be/);
  expect(() => waitForSignal({ name: "" })).toThrow(/waitForSignal.name must be/);
  expect(() => subWorkflow({} as never)).toThrow(/must be given a workflow/);
});

it("policies of a node that only waits are refused (C5.1)", async () => {
  const workflow = new Workflow({ id: "w" }).addNode("n", wait({ ms: 1 })).configureRetry("n", { maxAttempts: 2 });
  await expect(workflow.execute(undefined, { store: new MemoryStore() })).rejects.toThrow(
    /retry is configured for "n", which only waits/,
  );
});

it("a payload is judged by the schema of the node, before it is sent where the workflow is known (C5.2)", async () => {
  const store = new MemoryStore();
  const workflow = new Workflow({ id: "w" }).addNode("n", waitForSignal(), {
    output: z.object({ approved: z.boolean(), by: z.string().default("nobody") }),
  });
  const engine = createEngine({ store });
  const { result } = await engine.start(workflow, null, { runId: "r" });
  await expect(engine.signal("r", "n", { approved: "yes" })).rejects.toThrow(SchemaError);
  await engine.signal("r", "n", { approved: true });
  expect((await result).output).toEqual({ approved: true, by: "nobody" });

  // Whoever does not know the workflow may send anything; the node then fails, and the signal is gone.
  const other = await engine.start(workflow, null, { runId: "s" });
  const stranger = createEngine({ store });
  await stranger.signal("s", "n", "nonsense");
  const failed = await other.result;
  expect(failed.error!.cause).toBeInstanceOf(Error);
  expect(String(failed.error)).toContain("does not fit its schema");
  await engine.close();
});

it("types are felt: what a wait passes on, what a signal gives, what an inner workflow takes and gives (C5.2)", () => {
  void (async () => {
    const inner = new Workflow({ id: "inner" }).addNode("n", (input: { a: number }) => `${input.a}`);
    const outer = new Workflow({ id: "outer" })
      .addNode("inner", subWorkflow(inner))
      .addNode("pause", wait<string>({ ms: 1 }));
    expectTypeOf(await outer.connect("inner", "pause").execute({ a: 1 })).toEqualTypeOf<string>();
    // @ts-expect-error the inner workflow takes a number
    await outer.execute({ a: "1" });
    const asked = new Workflow({ id: "w" }).addNode("ask", waitForSignal<{ yes: boolean }>());
    expectTypeOf(await asked.execute()).toEqualTypeOf<{ yes: boolean }>();
  });
});
