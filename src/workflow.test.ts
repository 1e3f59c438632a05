import { inspect } from "node:util";
import { afterEach, describe, expect, it, vi } from "vitest";
import { MemoryStore } from "./stores/memory.ts";
import { onEvent } from "./core/runtime.ts";
import { Workflow } from "./workflow.ts";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.resetModules();
});

function greeting() {
  return new Workflow({ id: "greet", version: "7" })
    .addNode("load", (user: { id: number }) => ({ name: `user ${user.id}` }))
    .addNode("greet", (guest: { who: string }) => `Hello, ${guest.who}`)
    .connect("load", "greet", { name: "who" });
}

it("execute gives the output of the only end node (C5.5, C10.3)", async () => {
  expect(await greeting().execute({ id: 7 }, { store: new MemoryStore() })).toBe("Hello, user 7");
});

it("execute gives the outputs of several end nodes by their ids (C10.3)", async () => {
  const workflow = new Workflow({ id: "w" }).addNode("a", (n: number) => n + 1).addNode("b", (n: number) => `${n}`);
  expect(await workflow.execute(1, { store: new MemoryStore() })).toEqual({ a: 2, b: "1" });
});

it("execute throws a WorkflowExecutionError with the node, the attempts, the run id and the cause (C5.5, C10.2)", async () => {
  const workflow = new Workflow({ id: "w" })
    .addNode("bad", (): number => {
      throw new RangeError("out of range");
    })
    .configureRetry("bad", { maxAttempts: 2, initialDelayMs: 1 });
  const error = await workflow
    .execute(undefined, { runId: "r", store: new MemoryStore() })
    .catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "WORKFLOW_EXECUTION", nodeId: "bad", attempts: 2, runId: "r" });
  expect(error).toMatchObject({
    name: "WorkflowExecutionError",
    cause: { name: "RangeError", message: "out of range" },
  });
});

it("execute carries a known run on, on the same store (C6.9)", async () => {
  let calls = 0;
  const workflow = new Workflow({ id: "w" }).addNode("a", () => ++calls);
  const store = new MemoryStore();
  expect(await workflow.execute(null, { runId: "r", store })).toBe(1);
  expect(await workflow.execute(null, { runId: "r", store })).toBe(1);
  expect(await workflow.execute(null, { runId: "r", store: new MemoryStore() })).toBe(2);
});

it("execute is cancelled by its signal (C5.5)", async () => {
  const workflow = new Workflow({ id: "w" }).addNode("a", () => 1);
  const aborted = workflow.execute(null, { store: new MemoryStore(), signal: AbortSignal.abort(new Error("stop")) });
  await expect(aborted).rejects.toThrow(/was cancelled: stop/);
});

describe("what the compiler lets pass is refused when the workflow is first used (C5.1)", () => {
  const bad: Record<string, () => Workflow> = {
    "a name that is no node": () => greeting().connect("load", "gret" as "greet", {} as never) as never,
    "a fallback that is no node": () => greeting().addFallback("load", "laod" as never) as never,
    "policies for no node": () => greeting().configureRetry("laod" as "load", {}) as never,
    "a loop": () => greeting().connect("greet", "load", {} as never) as never,
  };
  for (const [what, make] of Object.entries(bad)) {
    it(what, async () => {
      const workflow = make();
      const execution = workflow.execute(undefined, { store: new MemoryStore() });
      await expect(execution).rejects.toMatchObject({ code: "WORKFLOW_DEFINITION" });
    });
  }

  it("options that no policy takes, with the node that they are for", async () => {
    const workflow = greeting().configureTimeout("load", { attemptTimeoutMs: -1 });
    const execution = workflow.execute({ id: 1 }, { store: new MemoryStore() });
    await expect(execution).rejects.toThrow(/^Node "load" of workflow "greet": .*attemptTimeoutMs must be/);
  });
});

it("each of the policies guards its node (C5.1)", async () => {
  const calls = { flaky: 0, slow: 0 };
  const workflow = new Workflow({ id: "w" })
    .addNode("flaky", () => (++calls.flaky < 3 ? Promise.reject(new Error("again")) : "ok"))
    .addNode("slow", async (_: unknown, { signal }): Promise<string> => {
      calls.slow++;
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return "late";
    })
    .addNode("slow-spare", () => "spare")
    .addFallback("slow", "slow-spare")
    .configureRetry("flaky", { maxAttempts: 3, initialDelayMs: 1 })
    .configureTimeout("slow", { attemptTimeoutMs: 5 });
  expect(await workflow.execute(null, { store: new MemoryStore() })).toEqual({ flaky: "ok", slow: "spare" });
  expect(calls).toEqual({ flaky: 3, slow: 1 });
});

it("policies may be given with the node too (C10.4)", async () => {
  let calls = 0;
  const workflow = new Workflow({ id: "w" }).addNode(
    "n",
    () => {
      if (++calls < 2) throw new Error("again");
      return calls;
    },
    { retry: { maxAttempts: 2, initialDelayMs: 1 } },
  );
  expect(await workflow.execute(null, { store: new MemoryStore() })).toBe(2);
});

it("resetCircuitBreaker closes the breaker of a node on the store where it runs (C5.1)", async () => {
  let down = true;
  const store = new MemoryStore();
  const workflow = new Workflow({ id: "w" })
    .addNode("n", () => {
      if (down) throw new Error("down");
      return "up";
    })
    .addNode("plain", () => 1)
    .configureCircuitBreaker("n", { failureThreshold: 1 });
  const changes: string[] = [];
  const stop = onEvent((event) => event.type === "breaker.changed" && changes.push(`${event.policy} ${event.to}`));
  await expect(workflow.execute(null, { store })).rejects.toThrow(/down/);
  down = false;
  await expect(workflow.execute(null, { store })).rejects.toMatchObject({ cause: { code: "CIRCUIT_OPEN" } });
  expect(await workflow.resetCircuitBreaker("n", { store }).execute(null, { store })).toEqual({ n: "up", plain: 1 });
  stop();
  expect(changes).toEqual(["w/n OPEN", "w/n CLOSED"]);
  expect(() => workflow.resetCircuitBreaker("plain", { store })).toThrow(
    /Node "plain" of workflow "w" has no circuit breaker/,
  );
});

it("the dead letters of a workflow are its own, and can be redriven (C7.2, C10.8)", async () => {
  vi.stubEnv("RESILIENCE_STORE_URL", "memory:");
  vi.resetModules();
  const fresh = await import("./workflow.ts");
  let broken = true;
  const make = (id: string) =>
    new fresh.Workflow({ id }).addNode("n", (): string => {
      if (broken) throw new Error(`${id} is down`);
      return "mended";
    });
  const [one, two] = [make("one"), make("two")];
  for (const workflow of [one, two, one]) await workflow.execute(null).catch(() => {});
  expect((await one.deadLetters.list()).map(({ error }) => error)).toEqual(["one is down", "one is down"]);
  const [letter] = await two.deadLetters.list();
  expect(await one.deadLetters.get(letter!.id)).toBeUndefined();
  await expect(one.deadLetters.redrive(letter!.id)).rejects.toMatchObject({ code: "NOT_FOUND" });
  broken = false;
  expect(await two.deadLetters.redrive(letter!.id)).toMatchObject({ success: true, output: "mended" });
  expect(await two.deadLetters.get(letter!.id)).toMatchObject({ status: "succeeded" });
});

it("a workflow prints usefully (C5.1)", () => {
  const text = inspect(
    greeting()
      .addNode("spare", () => ({ name: "x" }))
      .addFallback("load", "spare"),
  );
  for (const part of ["'greet'", "'7'", "'load -> greet'", "'load -> spare'"]) expect(text).toContain(part);
  expect(greeting().id).toBe("greet");
});
