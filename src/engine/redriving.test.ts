import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LetterWorld, outcomes } from "../../test/letter-world.ts";
import type { StandardSchema } from "../core/schema.ts";
import { waitForSignal } from "../nodes/wait.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import { record } from "../testing/fake-clock.ts";
import { Workflow } from "../workflow.ts";
import type { RedriveAllOptions } from "./redriving.ts";

let world: LetterWorld;
beforeEach(() => (world = new LetterWorld()));
afterEach(() => world.close());

describe("redriveAll", () => {
  test("begins the oldest first, at least so far apart, and tells what became of each (C7.2)", async () => {
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
    const engine = world.engine({ maxRetries: 1 });
    const [a] = await world.fail(engine, "a", "b", "c", "d");
    await engine.deadLetters.redrive(a!);
    world.broken.clear();
    const report = await engine.deadLetters.redriveAll({}, { limit: 1 });
    expect(outcomes(report)).toEqual(["a skipped DEAD_LETTER_QUARANTINED", "b succeeded"]);
    expect(report.left).toBe(2);
    const rest = await engine.deadLetters.redriveAll({ status: "pending" }, { limit: 1, concurrency: 8 });
    expect([outcomes(rest), rest.left]).toEqual([["c succeeded"], 1]);
    const forced = await engine.deadLetters.redriveAll({ status: "permanent_failure" }, { force: true });
    expect(outcomes(forced)).toEqual(["a succeeded"]);
  });

  test("a dry run changes nothing, and foretells what then happens, with the same reasons (C7.2)", async () => {
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
    const changedSince = new Workflow({ id: "changed" }).addNode("other", () => 1);
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

  test("goes on with the next entry when one is settled and its run waits, or only a signal leads on (C7.2)", async () => {
    let isDown = true;
    const flaky = (): string => {
      if (isDown) throw new Error("down");
      return "up";
    };
    const asks = new Workflow({ id: "asks" })
      .addNode("node", flaky)
      .addNode("ask", waitForSignal({ name: "answer" }))
      .connect("node", "ask");
    const isAsked = new Workflow({ id: "is-asked", concurrency: 2 }).addNode("node", flaky, {
      retry: { maxAttempts: 2, initialDelayMs: 600_000, jitter: "none" },
    });
    const engine = world.engine({ workflows: [asks, isAsked, world.work] });
    await engine.run(asks, undefined, { runId: "asks" });
    await world.finish(engine.run(isAsked, undefined, { runId: "is-asked" }), 60_000);
    await world.fail(engine, "last");
    world.broken.clear();
    const redriving = world.finish(engine.deadLetters.redriveAll({}), 60_000);
    await world.runtime.clock.advance(1000);
    isDown = false;
    const report = await redriving;
    // The second was tried again ten minutes later, which time leads to: that is worth being waited for.
    expect(outcomes(report)).toEqual(["asks failed", "is-asked succeeded", "last succeeded"]);
    const again = await world.finish(engine.deadLetters.redriveAll({}), 60_000);
    expect(outcomes(again)).toEqual(["asks succeeded"]);
    expect((await world.store.get("asks"))?.status).toBe("waiting");
    await engine.signal("asks", "answer", "yes");
    await world.settle();
    expect((await world.store.get("asks"))?.status).toBe("completed");
  });

  test("does not stay with an entry whose node itself waits for a signal, and says so (C7.2)", async () => {
    // It lets the signal through when it is sent, and refuses it when it is taken.
    let looks = 0;
    const fickle: StandardSchema<unknown, string> = {
      "~standard": {
        ...{ version: 1, vendor: "test" },
        validate: (value) => (++looks === 2 ? { issues: [{ message: "not now" }] } : { value: value as string }),
      },
    };
    const asks = new Workflow({ id: "asks" }).addNode("ask", waitForSignal({ name: "answer" }), { output: fickle });
    const engine = world.engine({ workflows: [asks, world.work] });
    const asked = engine.run(asks, undefined, { runId: "asks" });
    await world.settle();
    await engine.signal("asks", "answer", "no");
    expect((await world.finish(asked)).status).toBe("failed");
    await world.fail(engine, "last");
    world.broken.clear();
    const report = await world.finish(engine.deadLetters.redriveAll({}));
    expect(outcomes(report)).toEqual(["asks waiting", "last succeeded"]);
    expect(report).toMatchObject({ waiting: 1, succeeded: 1, failed: 0 });
    expect(outcomes(await engine.deadLetters.redriveAll({}))).toEqual(["asks skipped RUN_IN_USE"]);
    expect(outcomes(await engine.deadLetters.redriveAll({}, { dryRun: true }))).toEqual(["asks skipped RUN_IN_USE"]);
    await engine.signal("asks", "answer", "yes");
    await world.settle();
    expect((await engine.deadLetters.list({ runId: "asks" }))[0]).toMatchObject({ status: "succeeded", retryCount: 1 });
  });

  test("an entry whose run was cancelled in mid-redrive is left to be discarded (C7.2)", async () => {
    const engine = world.engine();
    const [id] = await world.fail(engine, "a");
    world.workMs = 1000;
    const redriving = engine.deadLetters.redriveAll({});
    await world.settle();
    await engine.cancel("a", "enough");
    expect(outcomes(await redriving)).toEqual(["a failed"]);
    expect(outcomes(await engine.deadLetters.redriveAll({}))).toEqual(["a skipped RUN_IN_USE"]);
    await engine.deadLetters.discard(id!, "cancelled");
    expect((await engine.deadLetters.stats()).open).toBe(0);
  });

  test("refuses what it does not know, so that a slip of the pen does not choose everything (C0.3)", async () => {
    const { deadLetters } = world.engine();
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
    const engine = world.engine();
    await world.fail(engine, "a", "b");
    world.broken.clear();
    const told: string[] = [];
    const redriving = engine.deadLetters.redriveAll(
      {},
      { staggerMs: 60_000, onEntry: ({ runId }) => told.push(runId) },
    );
    await world.settle();
    const closed = engine.close();
    await expect(redriving).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
    await closed;
    expect([told, world.begun.length]).toEqual([["a"], 1]);
    expect(outcomes(await world.engine().deadLetters.redriveAll({}))).toEqual(["b succeeded"]);
  });

  test("rejects with the reason of a signal, and begins none any more (C1.6)", async () => {
    const engine = world.engine();
    await world.fail(engine, "a", "b");
    const stop = new AbortController();
    const redriving = engine.deadLetters.redriveAll({}, { staggerMs: 60_000, signal: stop.signal });
    await world.settle();
    stop.abort("enough");
    await expect(redriving).rejects.toBe("enough");
    expect(world.begun.map(([name]) => name)).toEqual(["a"]);
  });

  test("rejects where the store is in trouble, when what is under way has come to something (C7.2)", async () => {
    const store = new FaultyStore(world.store);
    const engine = world.engine({ store });
    await world.fail(engine, "a", "b", "c");
    store.dieAt(store.appends + 1, "asked");
    await expect(engine.deadLetters.redriveAll({})).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(world.begun).toEqual([]);
    expect((await world.store.deadLetters({ status: "pending" })).length).toBe(3);
  });

  test("an onEntry that throws is reported, and changes nothing (C0.6)", async () => {
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
