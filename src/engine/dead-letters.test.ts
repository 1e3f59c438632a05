import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LetterWorld } from "../../test/letter-world.ts";
import { MemoryStore } from "../stores/memory.ts";
import { Workflow } from "../workflow.ts";

let world: LetterWorld;
beforeEach(() => (world = new LetterWorld()));
afterEach(() => world.close());

describe("what is looked at and cleared away", () => {
  test("stats count by status, and the open entries by workflow, node and error, with the oldest age (C7.2)", async () => {
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
