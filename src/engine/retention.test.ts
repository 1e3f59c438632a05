import { afterEach, describe, expect, test } from "vitest";
import { MemoryStore } from "../stores/memory.ts";
import { fakeRuntime, FaultyStore, record } from "../testing/index.ts";
import { Workflow } from "../workflow.ts";
import { Engine } from "./engine.ts";
import type { EngineOptions } from "./engine-options.ts";

const HOUR = 3_600_000;

const quick = new Workflow({ id: "quick" }).addNode("n", (input: string) => input);
const other = new Workflow({ id: "other" }).addNode("n", (input: string) => input);
const broken = new Workflow({ id: "broken" }).addNode("n", (): never => {
  throw new Error("no");
});

const engines: Engine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

function world(options: Partial<EngineOptions> = {}) {
  const runtime = fakeRuntime();
  const store = new FaultyStore(new MemoryStore({ clock: runtime.clock }));
  const engine = new Engine({ store, runtime, ...options });
  engines.push(engine);
  const { clock } = runtime;
  return {
    ...{ clock, store, engine, events: record(runtime.events) },
    left: async () => (await store.list()).map(({ runId }) => runId).reverse(),
    /** Runs that end an hour apart. */
    async end(...runIds: string[]) {
      for (const runId of runIds) {
        await clock.advance(HOUR);
        await engine.run(quick, runId, { runId });
      }
    },
  };
}

describe("engine.prune", () => {
  test("deletes runs that ended before an instant, or longer ago than so many milliseconds (C6.9)", async () => {
    const { engine, clock, end, left } = world();
    await end("a", "b", "c", "d");
    expect(await engine.prune({ endedBefore: clock.wallNow() - 2 * HOUR })).toEqual(["a"]);
    expect(await engine.prune({ olderThanMs: HOUR, dryRun: true })).toEqual(["b"]);
    expect(await left()).toEqual(["b", "c", "d"]);
    expect(await engine.prune({ olderThanMs: HOUR - 1 })).toEqual(["b", "c"]);
    expect(await engine.prune({ olderThanMs: HOUR - 1 })).toEqual([]);
    expect(await left()).toEqual(["d"]);
  });

  test("keeps the newest of each workflow, and may look at one workflow only (C6.9)", async () => {
    const { engine, end, left } = world();
    await engine.run(other, "", { runId: "x" });
    await end("a", "b", "c");
    await engine.run(other, "", { runId: "y" });
    expect(await engine.prune({ keep: 1, workflowId: "other" })).toEqual(["x"]);
    expect(await engine.prune({ keep: 2 })).toEqual(["a"]);
    expect(await engine.prune({ keep: 0, workflowId: "quick", dryRun: true })).toEqual(["b", "c"]);
    expect(await left()).toEqual(["b", "c", "y"]);
  });

  test("leaves runs that have not ended, and those whose dead letters are open (C6.9, C7.3)", async () => {
    const { engine, clock, left } = world();
    const hanging = new Workflow({ id: "hanging" }).addNode("n", (_: null, { signal }) => {
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    });
    await engine.start(hanging, null, { runId: "under way" });
    await engine.run(broken, undefined, { runId: "failed" });
    await engine.run(quick, "", { runId: "done" });
    await clock.advance(HOUR);
    expect(await engine.prune({ olderThanMs: 0, keep: 0 })).toEqual(["done"]);
    expect(await left()).toEqual(["under way", "failed"]);
    expect(await engine.deadLetters.list()).toHaveLength(1);
  });

  test("deletes in parts, so that others get at the store in between, and a dry run counts them all", async () => {
    const { engine, store, clock } = world();
    for (let n = 0; n < 2500; n++) await engine.run(quick, "", { runId: `${n}` });
    await clock.advance(1);
    const parts: number[] = [];
    const prune = store.prune.bind(store);
    store.prune = async (filter) => {
      const part = await prune(filter);
      parts.push(part.length);
      return part;
    };
    expect(await engine.prune({ keep: 10, dryRun: true })).toHaveLength(2490);
    expect(await engine.prune({ keep: 10 })).toHaveLength(2490);
    expect(parts).toEqual([2490, 1000, 1000, 490, 0]);
  });

  test("refuses what names no run, and what contradicts itself", async () => {
    const { engine } = world();
    await expect(engine.prune({})).rejects.toThrow(/prune needs endedBefore, olderThanMs or keep/);
    await expect(engine.prune({ workflowId: "quick" })).rejects.toThrow(/no run may go/);
    await expect(engine.prune({ endedBefore: 1, olderThanMs: 1 })).rejects.toThrow(/got both/);
    await expect(engine.prune({ keep: -1 })).rejects.toThrow(/prune\.keep must be a whole number of at least 0/);
    await engine.close();
    expect(() => engine.prune({ keep: 1 })).toThrow(/The engine is closed/);
  });
});

describe("an engine with retention", () => {
  test("deletes by age and by number by itself, now and then, and says how many (C6.9)", async () => {
    const { engine, clock, end, left, events } = world({
      retention: { maxAgeMs: 10 * HOUR, keep: 3, everyMs: 24 * HOUR },
    });
    await engine.run(broken, undefined, { runId: "failed" });
    await end("a", "b", "c", "d", "e");
    expect(await left()).toEqual(["failed", "a", "b", "c", "d", "e"]);
    // At the end of the first day all but the youngest are too old.
    await clock.advance(8 * HOUR);
    await end("f");
    await clock.advance(10 * HOUR);
    expect(await left()).toEqual(["failed", "f"]);
    await end("g", "h", "i");
    await clock.advance(21 * HOUR);
    expect(
      events.filter(({ type }) => type === "retention.pruned").map((event) => "runs" in event && event.runs),
    ).toEqual([5, 4]);
  });

  test("is not asked for by default, and no timer of it outlives the engine", async () => {
    const { end, left, clock, engine, store } = world({ retention: { keep: 0, everyMs: HOUR * 10 } });
    await end("a");
    // Nor does it keep the process alive.
    expect(clock.pendingTimers).toBe(0);
    await engine.close();
    store.down = false;
    await clock.advance(100 * HOUR);
    expect(await left()).toEqual(["a"]);
    const without = world();
    await without.end("b");
    await without.clock.advance(100_000 * HOUR);
    expect(await without.left()).toEqual(["b"]);
  });

  test("reports that the store is in trouble, and deletes when it is back (C6.10)", async () => {
    const { end, left, clock, store, events } = world({ retention: { keep: 0, everyMs: 10 * HOUR } });
    await end("a");
    store.down = true;
    await clock.advance(10 * HOUR);
    expect(events.at(-1)).toMatchObject({ type: "retention.failed", error: { code: "STORE_UNAVAILABLE" } });
    store.down = false;
    await clock.advance(10 * HOUR);
    expect(await left()).toEqual([]);
    expect(events.at(-1)).toMatchObject({ type: "retention.pruned", runs: 1 });
  });

  test("refuses options by which no run may ever go, and such as it does not know", () => {
    expect(() => world({ retention: {} })).toThrow(/engine\.retention needs maxAgeMs or keep/);
    expect(() => world({ retention: { everyMs: 1 } })).toThrow(/no run may go/);
    expect(() => world({ retention: { keep: 1.5 } })).toThrow(/engine\.retention\.keep must be a whole number/);
    expect(() => world({ retention: { maxAge: 1 } as object })).toThrow(/has no option "maxAge"/);
  });
});
