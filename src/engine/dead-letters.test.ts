import { afterEach, describe, expect, test } from "vitest";
import { MemoryStore } from "../stores/memory.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { Workflow } from "../workflow.ts";
import { Engine } from "./engine.ts";
import type { EngineOptions } from "./engine-options.ts";
import type { RedriveAllOptions, RedriveReport } from "./redriving.ts";

const engines: Engine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

/** Fails for inputs that are in `broken`; takes as long as `workMs` says. */
class World {
  readonly runtime: FakeRuntime = fakeRuntime();
  readonly store: MemoryStore = new MemoryStore({ clock: this.runtime.clock });
  readonly broken = new Set<string>();
  readonly begun: [name: string, at: number][] = [];
  workMs = 0;

  readonly work = this.workflow("work");

  workflow(id: string): Workflow<{ node: { input: string; output: string; handsOff: false } }> {
    return new Workflow({ id }).addNode("node", async (name: string) => {
      this.begun.push([name, this.runtime.clock.wallNow()]);
      if (this.workMs > 0) await this.runtime.clock.sleep(this.workMs);
      if (this.broken.has(name)) throw Object.assign(new TypeError(`no ${name}`), { code: `E_${name[0]}` });
      return name;
    }) as never;
  }

  engine(options: Partial<EngineOptions> = {}): Engine {
    const { store, runtime } = this;
    const engine = new Engine({ store: new FaultyStore(store), runtime, workflows: [this.work], ...options });
    engines.push(engine);
    return engine;
  }

  /** Leaves a dead letter for each name, a second apart; gives their ids. */
  async fail(engine: Engine, ...names: string[]): Promise<string[]> {
    const ids: string[] = [];
    for (const name of names) {
      this.broken.add(name);
      const { deadLetters } = await engine.run(this.work, name, { runId: name });
      ids.push(deadLetters[0]!.id);
      await this.runtime.clock.advance(1000);
    }
    this.begun.length = 0;
    return ids;
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) await this.runtime.clock.advance(0);
  }

  async finish<T>(promise: Promise<T>, stepMs = 500): Promise<T> {
    let isSettled = false;
    promise.then(
      () => (isSettled = true),
      () => (isSettled = true),
    );
    for (let i = 0; i < 1000 && !isSettled; i++) {
      await this.settle();
      if (!isSettled) await this.runtime.clock.advance(stepMs);
    }
    return promise;
  }
}

function outcomes({ entries }: RedriveReport): string[] {
  return entries.map(({ runId, outcome, skipped }) => `${runId} ${outcome}${skipped ? ` ${skipped.code}` : ""}`);
}

describe("redriveAll", () => {
  test("begins the oldest first, at least so far apart, and tells what became of each (C7.2)", async () => {
    const world = new World();
    const engine = world.engine();
    await world.fail(engine, "a", "b", "c");
    world.broken.delete("a");
    world.broken.delete("c");
    const told: string[] = [];
    const from = world.runtime.clock.wallNow();
    const redriving = engine.deadLetters.redriveAll(
      {},
      { staggerMs: 2000, onEntry: ({ runId, outcome }) => told.push(`${runId} ${outcome}`) },
    );
    await world.settle();
    expect(told).toEqual(["a succeeded"]);
    const report = await world.finish(redriving);
    expect(world.begun.map(([name, at]) => [name, at - from])).toEqual([
      ["a", 0],
      ["b", 2000],
      ["c", 4000],
    ]);
    expect(outcomes(report)).toEqual(["a succeeded", "b failed", "c succeeded"]);
    expect(told).toEqual(outcomes(report));
    expect(report).toMatchObject({ succeeded: 2, failed: 1, skipped: 0, redrivable: 0, left: 0 });
    expect(report.entries[1]).toMatchObject({
      ...{ workflowId: "work", nodeId: "node", status: "pending", error: "no b", retryCount: 1, maxRetries: 3 },
    });
  });

  test("has no more under way than it may, and one at a time unless told otherwise (C7.2)", async () => {
    const world = new World();
    const engine = world.engine();
    await world.fail(engine, "a", "b", "c", "d", "e");
    world.broken.clear();
    world.workMs = 1000;
    const startsOf = async (options: RedriveAllOptions, status?: "pending"): Promise<number[]> => {
      world.begun.length = 0;
      const from = world.runtime.clock.wallNow();
      await world.finish(engine.deadLetters.redriveAll({ status }, options), 250);
      return world.begun.map(([, at]) => at - from);
    };
    expect(await startsOf({ limit: 2 })).toEqual([0, 1000]);
    expect(await startsOf({ concurrency: 2 })).toEqual([0, 0, 1000]);
  });

  test("redrives entries of one run one after the other, however many may be under way (C7.2)", async () => {
    const world = new World();
    const down = new Set(["x", "y"]);
    const node = (name: string) => async (): Promise<string> => {
      await world.runtime.clock.sleep(10);
      if (down.has(name)) throw new Error(name);
      return name;
    };
    const both = new Workflow({ id: "both", concurrency: 2 }).addNode("x", node("x")).addNode("y", node("y"));
    const engine = world.engine({ workflows: [both] });
    await world.finish(engine.run(both, undefined as never, { runId: "r" }));
    down.clear();
    const report = await world.finish(engine.deadLetters.redriveAll({}, { concurrency: 8 }));
    expect(report).toMatchObject({ succeeded: 2, skipped: 0 });
    expect((await world.store.get("r"))?.status).toBe("completed");
  });

  test("takes no more than the limit, does not count what it passes over, and says how many are left (C7.2)", async () => {
    const world = new World();
    const engine = world.engine({ maxRetries: 1 });
    const [a] = await world.fail(engine, "a", "b", "c", "d");
    await engine.deadLetters.redrive(a!);
    world.broken.clear();
    const report = await engine.deadLetters.redriveAll({}, { limit: 2 });
    expect(outcomes(report)).toEqual(["a skipped DEAD_LETTER_QUARANTINED", "b succeeded", "c succeeded"]);
    expect(report.left).toBe(1);
    const forced = await engine.deadLetters.redriveAll({ status: "permanent_failure" }, { force: true });
    expect(outcomes(forced)).toEqual(["a succeeded"]);
  });

  test("a dry run changes nothing, and foretells what then happens, with the same reasons (C7.2)", async () => {
    const world = new World();
    const engine = world.engine({ maxRetries: 1 });
    const [, quarantined, discarded] = await world.fail(engine, "good", "quarantined", "discarded");
    await engine.deadLetters.redrive(quarantined!);
    await engine.deadLetters.discard(discarded!, "not wanted");
    // Cancelled when it had left an entry: nothing of the run is left to do.
    const cut = new Workflow({ id: "cut", concurrency: 2 })
      .addNode("node", () => Promise.reject(new Error("no")))
      .addNode("slow", (_: unknown, { signal }) => world.runtime.clock.sleep(1e6, signal));
    const cancel = new AbortController();
    const cancelled = engine.run(cut, undefined, { runId: "cancelled", signal: cancel.signal });
    await world.settle();
    cancel.abort(new Error("enough"));
    await cancelled;
    const other = world.workflow("other");
    const stranger = world.engine({ workflows: [other] });
    world.broken.add("strange");
    await stranger.run(other, "strange", { runId: "strange" });
    const changed = new Workflow({ id: "changed" }).addNode("node", () => Promise.reject(new Error("v1")));
    const changer = world.engine({ workflows: [changed] });
    await changer.run(changed, undefined as never, { runId: "changed" });
    const changedSince = new Workflow({ id: "changed" }).addNode("node", () => 1).addNode("more", () => 1);
    const busy = world.engine();
    await world.fail(busy, "busy");
    world.broken.clear();
    world.workMs = 100_000;
    busy.deadLetters.redriveAll({ runId: "busy" }).catch(() => {});
    await world.settle();
    world.workMs = 0;
    world.begun.length = 0;

    const redriver = world.engine({ workflows: [world.work, cut, changedSince], maxRetries: 1 });
    const before = await world.store.deadLetters();
    const foretold = await redriver.deadLetters.redriveAll({}, { dryRun: true, concurrency: 3 });
    expect([await world.store.deadLetters(), world.begun]).toEqual([before, []]);
    const done = await redriver.deadLetters.redriveAll({});
    expect(outcomes(foretold).toSorted()).toEqual(
      outcomes(done)
        .map((text) => text.replace("succeeded", "redrivable"))
        .toSorted(),
    );
    expect(outcomes(done).toSorted()).toEqual([
      "busy skipped RUN_IN_USE",
      "cancelled skipped RUN_IN_USE",
      "changed skipped VERSION_MISMATCH",
      "good succeeded",
      "quarantined skipped DEAD_LETTER_QUARANTINED",
      "strange skipped NOT_FOUND",
    ]);
    expect(foretold).toMatchObject({ redrivable: 1, succeeded: 0, skipped: 5 });
  });

  test("refuses what it does not know, so that a slip of the pen does not choose everything (C0.3)", async () => {
    const { deadLetters } = new World().engine();
    const slip = { workflow: "work" } as object;
    for (const call of [
      () => deadLetters.redriveAll(slip),
      () => deadLetters.discardAll(slip, "reason"),
      () => deadLetters.list(slip),
      () => deadLetters.queue(slip),
      () => deadLetters.stats(slip),
      () => deadLetters.export(slip).next(),
      () => deadLetters.redriveAll({}, { stagger: 1 } as object),
      () => deadLetters.redriveAll({}, { concurrency: 0 }),
      () => deadLetters.redriveDue({ force: true } as object),
      () => deadLetters.redrive("dl", { forced: true } as object),
      () => deadLetters.discard("dl", " "),
      () => deadLetters.prune({} as never),
      () => deadLetters.list({ enteredFrom: NaN }),
    ])
      await expect(call()).rejects.toMatchObject({ code: "CONFIG" });
  });

  test("ends when the engine is closed while it waits, and what is left can be redriven later (C7.2)", async () => {
    const world = new World();
    const engine = world.engine();
    await world.fail(engine, "a", "b");
    world.broken.clear();
    const told: string[] = [];
    const redriving = engine.deadLetters.redriveAll(
      {},
      { staggerMs: 60_000, onEntry: ({ runId }) => told.push(runId) },
    );
    const refused = expect(redriving).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
    await world.settle();
    await engine.close();
    await refused;
    expect([told, world.begun.length]).toEqual([["a"], 1]);
    expect(outcomes(await world.engine().deadLetters.redriveAll({}))).toEqual(["b succeeded"]);
  });

  test("rejects with the reason of a signal, and begins none any more (C1.6)", async () => {
    const world = new World();
    const engine = world.engine();
    await world.fail(engine, "a", "b");
    const stop = new AbortController();
    const redriving = engine.deadLetters.redriveAll({}, { staggerMs: 60_000, signal: stop.signal });
    const refused = expect(redriving).rejects.toBe("enough");
    await world.settle();
    stop.abort("enough");
    await refused;
    expect(world.begun.map(([name]) => name)).toEqual(["a"]);
  });

  test("rejects where the store is in trouble, when what is under way has come to something (C7.2)", async () => {
    const world = new World();
    const store = new FaultyStore(world.store);
    const engine = world.engine({ store });
    await world.fail(engine, "a", "b", "c");
    store.dieAt(store.appends + 1, "asked");
    await expect(engine.deadLetters.redriveAll({})).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(world.begun).toEqual([]);
    expect((await world.store.deadLetters({ status: "pending" })).length).toBe(3);
  });

  test("an onEntry that throws is reported, and changes nothing (C0.6)", async () => {
    const world = new World();
    const events = record(world.runtime.events);
    const engine = world.engine();
    await world.fail(engine, "a", "b");
    world.broken.clear();
    const onEntry = (): never => {
      throw new Error("mine");
    };
    expect(await engine.deadLetters.redriveAll({}, { onEntry })).toMatchObject({ succeeded: 2 });
    expect(events.filter(({ type }) => type === "listener.failed").length).toBe(2);
  });
});

describe("redriveDue", () => {
  test("waits for nextRetryAt, which each failure puts off longer (C10.8)", async () => {
    const world = new World();
    const engine = world.engine();
    const [id] = await world.fail(engine, "a");
    await world.runtime.clock.advance(58_999);
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual([]);
    await world.runtime.clock.advance(1);
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual(["a failed"]);
    await world.runtime.clock.advance(119_999);
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual([]);
    await world.runtime.clock.advance(1);
    world.broken.clear();
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual(["a succeeded"]);
    expect(await engine.deadLetters.get(id!)).toMatchObject({ status: "succeeded", retryCount: 2 });
  });

  test("does not redrive what another engine has just tried in vain (C7.2, C10.8)", async () => {
    const world = new World();
    const engine = world.engine();
    await world.fail(engine, "a");
    await world.runtime.clock.advance(60_000);
    // It has seen that the entry is due, and comes to claim it when the other has failed already.
    const handle = new FaultyStore(world.store);
    let open = (): void => {};
    const door = new Promise<void>((resolve) => (open = resolve));
    const { claim } = handle;
    handle.claim = async (wanted) => door.then(() => claim.call(handle, wanted));
    const late = world.engine({ store: handle }).deadLetters.redriveDue();
    await world.settle();
    expect(outcomes(await engine.deadLetters.redriveDue())).toEqual(["a failed"]);
    open();
    expect(outcomes(await late)).toEqual(["a skipped DEAD_LETTER_NOT_DUE"]);
    expect(world.begun.length).toBe(1);
  });

  test("leaves to others what this engine does not know, and to people what is quarantined (C7.2)", async () => {
    const world = new World();
    await world.fail(world.engine({ maxRetries: 0 }), "quarantined");
    const other = world.workflow("other");
    world.broken.add("strange");
    await world.engine({ workflows: [other] }).run(other, "strange", { runId: "strange" });
    await world.runtime.clock.advance(1e9);
    expect(outcomes(await world.engine().deadLetters.redriveDue())).toEqual([]);
  });
});

describe("autoRedrive", () => {
  test("is off unless asked for, and then redrives what is due, round after round, until the engine closes (C10.8)", async () => {
    const world = new World();
    const off = world.engine();
    await world.fail(off, "a", "b");
    await world.finish(world.runtime.clock.advance(300_000));
    expect(world.begun).toEqual([]);
    const engine = world.engine({ autoRedrive: { everyMs: 10_000 } });
    const from = world.runtime.clock.wallNow();
    for (let i = 0; i < 25; i++) {
      if (i === 2) world.broken.delete("a");
      if (i === 20) world.broken.clear();
      await world.runtime.clock.advance(10_000);
      await world.settle();
    }
    // Both had long been due; then b is put off by 120 s, and is redriven by the first round after that.
    expect(world.begun.map(([name, at]) => [name, (at - from) / 1000])).toEqual([
      ["a", 10],
      ["b", 10],
      ["a", 130],
      ["b", 130],
    ]);
    expect((await engine.deadLetters.stats()).open).toBe(1);
    await engine.close();
    await world.runtime.clock.advance(1e7);
    expect(world.begun.length).toBe(4);
  });

  test("a round that the store cuts short is told of, and the next one comes (C10.8)", async () => {
    const world = new World();
    const events = record(world.runtime.events);
    await world.fail(world.engine(), "a");
    world.broken.clear();
    await world.runtime.clock.advance(60_000);
    const store = new FaultyStore(world.store);
    store.down = true;
    world.engine({ store, autoRedrive: true });
    await world.runtime.clock.advance(30_000);
    await world.settle();
    expect(events.filter(({ type }) => type === "dead_letter.round_failed")).toMatchObject([
      { error: { code: "STORE_UNAVAILABLE" } },
    ]);
    store.down = false;
    await world.runtime.clock.advance(30_000);
    await world.settle();
    expect(world.begun.length).toBe(1);
  });
});

describe("what is looked at and cleared away", () => {
  test("stats count by status, and the open entries by workflow, node and error, with the oldest age (C7.2)", async () => {
    const world = new World();
    const engine = world.engine({ maxRetries: 1 });
    const [a1, , b1, a3] = await world.fail(engine, "a1", "a2", "b1", "a3");
    await engine.deadLetters.redrive(b1!);
    await engine.deadLetters.discard(a3!, "old");
    world.broken.clear();
    const enteredFirst = (await engine.deadLetters.get(a1!))!.timestamp;
    const open = await engine.deadLetters.stats();
    expect(open).toEqual({
      ...{ total: 4, quarantined: 1, discarded: 1, open: 3, oldestAgeMs: world.runtime.clock.wallNow() - enteredFirst },
      byStatus: { pending: 2, retrying: 0, succeeded: 0, permanent_failure: 2 },
      groups: [
        {
          workflowId: "work",
          nodeId: "node",
          errorName: "TypeError",
          errorCode: "E_a",
          count: 2,
          oldestAt: enteredFirst,
        },
        {
          ...{ workflowId: "work", nodeId: "node", errorName: "TypeError", errorCode: "E_b", count: 1 },
          oldestAt: enteredFirst + 2000,
        },
      ],
    });
    await engine.deadLetters.redriveAll({}, { force: true });
    expect(await engine.deadLetters.stats()).toMatchObject({ open: 0, oldestAgeMs: null, groups: [], discarded: 1 });
    expect((await engine.deadLetters.stats({ workflowId: "none" })).total).toBe(0);
  });

  test("export gives all entries as plain data, with the payload as JSON says it (C7.2)", async () => {
    const world = new World();
    const engine = world.engine();
    const names = Array.from({ length: 230 }, (_, n) => `n${n}`);
    await world.fail(engine, ...names);
    const odd = new Workflow({ id: "odd" }).addNode("node", (_: unknown) => Promise.reject(new Error("no")));
    const { deadLetters } = await engine.run(odd, { at: new Date(0), map: new Map([["a", 1]]), text: "x" });
    const exported = [];
    for await (const letter of engine.deadLetters.export()) exported.push(letter);
    expect(exported.length).toBe(231);
    expect(exported.slice(1).map(({ payload }) => payload)).toEqual(names.toReversed());
    expect(JSON.parse(JSON.stringify(exported))).toEqual(exported);
    const [first] = exported;
    expect(first).toMatchObject({
      id: deadLetters[0]!.id,
      timestamp: new Date(deadLetters[0]!.timestamp).toISOString(),
      payload: { text: "x", map: { $: "Map" } },
      errorDetail: { name: "Error", message: "no" },
    });
    await engine.deadLetters.discard(first!.id, "seen");
    for await (const letter of engine.deadLetters.export({ workflowId: "odd" }))
      expect(letter.discarded).toEqual({ reason: "seen", at: new Date(world.runtime.clock.wallNow()).toISOString() });
  });

  test("retention that takes a page away while it is read loses none of the others (C7.3)", async () => {
    const world = new World();
    const engine = world.engine();
    const names = Array.from({ length: 150 }, (_, n) => `n${n}`);
    const ids = await world.fail(engine, ...names);
    // The last of the first page, and the one before it.
    for (const id of [ids[50]!, ids[51]!]) await engine.deadLetters.discard(id, "old");
    const seen: unknown[] = [];
    for await (const { payload } of engine.deadLetters.export()) {
      seen.push(payload);
      if (seen.length === 100) expect(await engine.deadLetters.prune({ enteredBefore: Infinity })).toBe(2);
    }
    expect(seen).toEqual(names.toReversed());
  });

  test("prune deletes settled entries only, of its own workflow only, and then their runs may go (C7.3)", async () => {
    const world = new World();
    const engine = world.engine();
    const [a, b, c] = await world.fail(engine, "a", "b", "c");
    await engine.deadLetters.discard(a!, "old");
    world.broken.delete("b");
    await engine.deadLetters.redrive(b!);
    const other = engine.deadLettersOf(world.workflow("other"));
    expect(await other.prune({ enteredBefore: Infinity })).toBe(0);
    const oldest = (await engine.deadLetters.get(a!))!.timestamp;
    expect(await engine.deadLetters.prune({ enteredBefore: oldest })).toBe(0);
    expect(await engine.deadLetters.prune({ enteredBefore: oldest + 1 })).toBe(1);
    expect(await engine.deadLetters.prune({ enteredBefore: Infinity })).toBe(1);
    expect((await engine.deadLetters.list()).map(({ id }) => id)).toEqual([c]);
    expect((await world.store.prune({ keep: 0 })).toSorted()).toEqual(["a", "b"]);
  });

  test("discardAll gives up what fits, and tells of what is under way (C7.2)", async () => {
    const world = new World();
    const engine = world.engine();
    const [a, b, c] = await world.fail(engine, "a", "b", "c");
    world.workMs = 1000;
    const redriving = engine.deadLetters.redrive(b!);
    await world.settle();
    const report = await engine.deadLetters.discardAll({ errorCode: "E_b" }, "none of b");
    expect(report).toMatchObject({ discarded: 0, skipped: 1, entries: [{ id: b, skipped: { code: "RUN_IN_USE" } }] });
    expect(await engine.deadLetters.discardAll({}, "all")).toMatchObject({ discarded: 2, skipped: 1 });
    expect((await engine.deadLetters.queue()).map(({ id }) => id)).toEqual([b]);
    for (const id of [a!, c!]) expect((await engine.deadLetters.get(id))?.discarded?.reason).toBe("all");
    await world.finish(redriving);
    expect(await engine.deadLetters.get(b!)).toMatchObject({ status: "pending", retryCount: 1 });
  });

  test("a workflow sees and touches its own entries only (C7.2, C10.8)", async () => {
    const world = new World();
    const engine = world.engine();
    const [id] = await world.fail(engine, "a");
    const others = engine.deadLettersOf(world.workflow("other"));
    expect([await others.list(), await others.queue(), await others.get(id!)]).toEqual([[], [], undefined]);
    expect(await others.redriveAll({ workflowId: "work" })).toMatchObject({ entries: [] });
    expect(await others.discardAll({ workflowId: "work" }, "mine")).toMatchObject({ entries: [] });
    await expect(others.discard(id!, "mine")).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(others.redrive(id!)).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect((await others.stats()).total).toBe(0);
    expect(await engine.deadLettersOf(world.work).queue()).toHaveLength(1);
  });
});

test("getDeadLetterQueue lists the open entries of the workflow, newest first, and clearDeadLetterQueue discards them (C7.2)", async () => {
  const store = new MemoryStore();
  const flaky = (id: string) =>
    new Workflow({ id }).addNode("node", (name: string): string => {
      throw new Error(`no ${name}`);
    });
  const [mine, theirs] = [flaky("mine"), flaky("theirs")];
  for (const [workflow, runId] of [
    [mine, "m1"],
    [theirs, "t1"],
    [mine, "m2"],
  ] as const)
    await expect(workflow.execute(runId, { store, runId })).rejects.toMatchObject({ code: "WORKFLOW_EXECUTION" });
  const runsOf = async (workflow: typeof mine): Promise<string[]> =>
    (await workflow.getDeadLetterQueue({ store })).map(({ runId }) => runId);
  expect(await runsOf(mine)).toEqual(["m2", "m1"]);
  expect(await mine.clearDeadLetterQueue(undefined, { store })).toMatchObject({ discarded: 2, skipped: 0 });
  expect([await runsOf(mine), await runsOf(theirs)]).toEqual([[], ["t1"]]);
  // Nothing is lost: they are there, with the reason.
  expect((await store.deadLetters({ workflowId: "mine" })).map(({ discarded }) => discarded?.reason)).toEqual([
    "The dead letter queue was cleared.",
    "The dead letter queue was cleared.",
  ]);
  await mine.execute("m3", { store, runId: "m3" }).catch(() => {});
  expect(await mine.clearDeadLetterQueue("a test is over", { store })).toMatchObject({ discarded: 1 });
  expect((await store.deadLetters({ runId: "m3" }))[0]?.discarded?.reason).toBe("a test is over");
});
