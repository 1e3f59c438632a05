import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, expectTypeOf, it } from "vitest";
import type { Clock } from "./core/clock.ts";
import type { NodeContext } from "./core/node.ts";
import type { Store } from "./core/store.ts";
import { createEngine } from "./default-engine.ts";
import { MemoryStore } from "./stores/memory.ts";
import { SqliteStore } from "./stores/sqlite.ts";
import { fakeRuntime } from "./testing/fake-clock.ts";
import { FaultyStore } from "./testing/faulty-store.ts";
import { Workflow } from "./workflow.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-from-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

async function signUp(email: string, ctx: NodeContext): Promise<{ id: number; mail: string }> {
  const id = await ctx.step("create", () => email.length);
  return { id, mail: await ctx.step("welcome", () => `Hello, ${email}`) };
}

it("a function is a workflow under its own name, or under the one given (C5.1)", async () => {
  const store = new MemoryStore();
  const workflow = Workflow.from(signUp);
  expect([workflow.id, workflow.definition.nodes.map(({ id }) => id)]).toEqual(["signUp", ["main"]]);
  expect(await workflow.execute("ann", { store })).toEqual({ id: 3, mail: "Hello, ann" });
  const named = Workflow.from("sign-up/2", async (n: number) => n + 1, { version: "2", name: "Sign up" });
  expect(named.definition).toMatchObject({ id: "sign-up/2", name: "Sign up", version: "2" });
  expect(await named.execute(1, { store })).toBe(2);
});

it("it takes policies and all that a workflow has besides (C5.1)", async () => {
  let calls = 0;
  const workflow = Workflow.from(
    "flaky",
    () => {
      if (++calls < 3) throw new Error("not yet");
      return calls;
    },
    { retry: { maxAttempts: 3, initialDelayMs: 1 }, timeout: { totalTimeoutMs: 5000 } },
  );
  expect(await workflow.execute(undefined, { store: new MemoryStore() })).toBe(3);
  expect(workflow.toJSON().nodes[0]?.policies).toEqual({
    retry: { maxAttempts: 3, initialDelayMs: 1 },
    timeout: { totalTimeoutMs: 5000 },
  });
  expect(workflow.configureRetry("main", { maxAttempts: 1 }).toMermaid()).toContain('n0["main"]');
});

it("its input and output are those of the function (C5.1)", () => {
  void (() => {
    const workflow = Workflow.from(signUp);
    expectTypeOf(workflow.execute("a")).resolves.toEqualTypeOf<{ id: number; mail: string }>();
    expectTypeOf(Workflow.from("n", (_: Date) => 1).execute)
      .parameter(0)
      .toEqualTypeOf<Date>();
    expectTypeOf(Workflow.from("n", () => "x").execute()).resolves.toEqualTypeOf<string>();
    // @ts-expect-error the input is a text
    void workflow.execute(1);
    // @ts-expect-error the only node is called main
    workflow.configureRetry("signUp", {});
    // @ts-expect-error a function joins nothing
    Workflow.from(signUp, { join: "any" });
    // @ts-expect-error a name needs its function
    Workflow.from("signUp");
  });
});

it("what is no function, a function without a name and unknown options are ConfigErrors (C0.3, C5.1)", () => {
  const from = Workflow.from as unknown as (...given: unknown[]) => unknown;
  expect(() => from("w")).toThrow("Workflow.from needs the function that the workflow is to be, got undefined");
  expect(() => from({})).toThrow(/Workflow\.from needs the function/);
  expect(() => from(() => 1)).toThrow('Give the workflow one: Workflow.from("name", fn)');
  expect(() => from("", () => 1)).toThrow(/has no name/);
  expect(() => from("x".repeat(513), () => 1)).toThrow(/at most 512 characters/);
});

const STORES: Record<string, (clock: Clock) => Store> = {
  memory: (clock) => new MemoryStore({ clock }),
  SQLite: (clock) => new SqliteStore(join(folder, `${++files}.db`), { clock }),
};

describe.each(Object.entries(STORES))("a function of steps on %s", (_, open) => {
  function bookTrip(begun: string[]) {
    return Workflow.from("trip", async (traveller: string, ctx: NodeContext) => {
      const steps = ["flight", "hotel", "car"];
      const booked: string[] = [];
      for (const name of steps) booked.push(await ctx.step(name, () => (begun.push(name), `${name} for ${traveller}`)));
      const [first, second] = await Promise.all([
        ctx.step("mail", () => (begun.push("mail"), new Date(5))),
        ctx.step("bill", () => (begun.push("bill"), new Map([["euros", 7n]]))),
      ]);
      return { booked, first, second };
    });
  }
  const WHOLE = {
    booked: ["flight for ann", "hotel for ann", "car for ann"],
    first: new Date(5),
    second: new Map([["euros", 7n]]),
  };

  it("ends the same whichever write its process dies at, and repeats no step that was stored (C5.2, C6.1, C6.2)", async () => {
    const undisturbed: string[] = [];
    const whole = new FaultyStore(open(fakeRuntime().clock));
    const engine = createEngine({ store: whole });
    expect((await engine.run(bookTrip(undisturbed), "ann", { runId: "r" })).output).toEqual(WHOLE);
    expect(undisturbed).toEqual(["flight", "hotel", "car", "mail", "bill"]);
    await engine.close();

    let deaths = 0;
    for (const moment of ["asked", "stored"] as const) {
      for (let n = 1; n <= whole.appends; n++) {
        const runtime = fakeRuntime();
        const store = open(runtime.clock);
        const begun: string[] = [];
        const handle = new FaultyStore(store);
        handle.dieAt(n, moment);
        const first = createEngine({ store: handle, runtime });
        const died = await first.run(bookTrip(begun), "ann", { runId: "r" }).catch(() => undefined);
        if (died === undefined) deaths++;
        await first.close();
        await runtime.clock.advance(5000);
        const before = [...begun];
        const stored = new Set(
          (await store.read("r")).flatMap(({ body }) =>
            [...new TextDecoder().decode(body).matchAll(/"step":"(\w+)"/g)].map(([, name]) => name),
          ),
        );
        const next = createEngine({ store: new FaultyStore(store), runtime });
        expect((await next.run(bookTrip(begun), "ann", { runId: "r" })).output).toEqual(WHOLE);
        const again = begun.slice(before.length);
        expect(again.filter((name) => stored.has(name))).toEqual([]);
        // Nothing is left out either.
        expect(new Set([...stored, ...again])).toEqual(new Set(undisturbed));
        await next.close();
        await store.close();
      }
    }
    expect(deaths).toBe(2 * whole.appends);
  });
});
