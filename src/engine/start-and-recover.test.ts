import { afterEach, expect, test } from "vitest";
import { NotFoundError, StoreUnavailableError, VersionMismatchError } from "../core/errors.ts";
import type { Store } from "../core/store.ts";
import { MemoryStore } from "../stores/memory.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import { type Gate, gate } from "../testing/engine-world.ts";
import { type DynamicWorkflow, Workflow } from "../workflow.ts";
import { Engine } from "./engine.ts";
import type { EngineOptions } from "./engine-options.ts";

const runtime: FakeRuntime = fakeRuntime();
const engines: Engine[] = [];
const newStore = (): MemoryStore => new MemoryStore({ clock: runtime.clock });

function engineOn(store: Store, options: Partial<EngineOptions> = {}): Engine {
  const engine = new Engine({ store, runtime, ...options });
  engines.push(engine);
  return engine;
}

// Also of engines that were to have died, their runs go on waiting in this process.
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

/** A workflow whose only node waits for a gate, and the calls that were made of it. */
function gated(id = "gated"): { workflow: DynamicWorkflow; door: Gate; called: string[] } {
  const door = gate();
  const called: string[] = [];
  const workflow: DynamicWorkflow = new Workflow({ id });
  workflow.addNode("n", async (input: unknown, { runId }) => {
    called.push(runId);
    await door.promise;
    return input;
  });
  return { workflow, door, called };
}

/** A store that still has the runs of an engine which has died. */
async function leftBehind(store: MemoryStore, workflow: DynamicWorkflow, runIds: readonly string[]): Promise<void> {
  const handle = new FaultyStore(store);
  const dead = engineOn(handle);
  for (const runId of runIds) await dead.start(workflow, runId, { runId });
  handle.down = true;
}

const leasesRunOut = (): Promise<void> => runtime.clock.advance(5000);

test("a start resolves when it is stored, with the run still under way (C6.1)", async () => {
  const store = newStore();
  const handle = new FaultyStore(store);
  const stored = gate();
  handle.onAppend = (moment, n) => (moment === "asked" && n === 1 ? stored.promise : undefined);
  const { workflow, door } = gated();
  const engine = engineOn(handle);
  let started = false;
  const starting = engine.start(workflow, 7, { runId: "r" }).then((run) => ((started = true), run));
  await runtime.clock.advance(0);
  expect(started).toBe(false);
  stored.open();
  const { runId, result } = await starting;
  expect([runId, (await store.get("r"))?.status, (await store.get("r"))?.version]).toEqual(["r", "running", 1]);
  door.open();
  expect((await result).output).toBe(7);
});

test("a start that cannot be stored rejects (C6.1)", async () => {
  const handle = new FaultyStore(newStore());
  handle.onAppend = () => {
    throw new StoreUnavailableError("full");
  };
  const { workflow, called } = gated();
  await expect(engineOn(handle).start(workflow, 1)).rejects.toBeInstanceOf(StoreUnavailableError);
  expect(called).toEqual([]);
});

test("a start of a run that is there joins it, or gives the result that it had (C5.5)", async () => {
  const store = newStore();
  const engine = engineOn(store);
  const { workflow, door, called } = gated();
  const first = await engine.start(workflow, 1, { runId: "r" });
  const second = await engine.start(workflow, 1, { runId: "r" });
  door.open();
  expect(await second.result).toBe(await first.result);
  const later = await engineOn(store).start(workflow, 1, { runId: "r" });
  expect((await later.result).output).toBe(1);
  expect(called).toEqual(["r"]);
});

test("nobody has to look at the result of a start, also where the run has to stop (C6.10)", async () => {
  const unhandled: unknown[] = [];
  const listener = (error: unknown): void => void unhandled.push(error);
  process.on("unhandledRejection", listener);
  const engine = engineOn(newStore());
  await engine.start(gated().workflow, 1);
  await engine.close();
  await new Promise((resolve) => setTimeout(resolve, 5));
  process.off("unhandledRejection", listener);
  expect(unhandled).toEqual([]);
});

test("no more runs are carried out at once than concurrency says, and those that wait are stored (C10.5)", async () => {
  const store = newStore();
  const engine = engineOn(store, { concurrency: 2 });
  const { workflow, door, called } = gated();
  const runIds = ["a", "b", "c", "d"];
  const runs = await Promise.all(runIds.map((runId) => engine.start(workflow, runId, { runId })));
  expect(called).toEqual(["a", "b"]);
  for (const runId of runIds) expect((await store.get(runId))?.version).toBe(1);
  // Their leases are renewed while they wait, so that nobody else begins them.
  await leasesRunOut();
  await leasesRunOut();
  await expect(engineOn(store).start(workflow, "d", { runId: "d" })).rejects.toMatchObject({ code: "RUN_IN_USE" });
  door.open();
  expect((await Promise.all(runs.map(({ result }) => result))).map(({ output }) => output)).toEqual(runIds);
  expect(called).toEqual(runIds);
});

test("a run that is cancelled while it waits for its turn ends at once, without its nodes (C5.9)", async () => {
  const store = newStore();
  const engine = engineOn(store, { concurrency: 1 });
  const { workflow, door, called } = gated();
  const first = await engine.start(workflow, 1, { runId: "first" });
  const caller = new AbortController();
  const second = await engine.start(workflow, 2, { runId: "second", signal: caller.signal });
  const third = await engine.start(workflow, 3, { runId: "third" });
  caller.abort(new Error("not wanted"));
  const late = await engine.start(workflow, 4, { runId: "late", signal: caller.signal });
  expect(await late.result).toMatchObject({ status: "cancelled" });
  expect(await second.result).toMatchObject({ status: "cancelled" });
  expect(called).toEqual(["first"]);
  door.open();
  expect([(await first.result).output, (await third.result).output]).toEqual([1, 3]);
});

test("runs that a dead engine has left, also those that waited for their turn, are recovered (C6.2)", async () => {
  const store = newStore();
  const { workflow, called } = gated();
  const handle = new FaultyStore(store);
  const dead = engineOn(handle, { concurrency: 1 });
  for (const runId of ["a", "b"]) await dead.start(workflow, runId, { runId });
  handle.down = true;
  const { workflow: again, door, called: calledAgain } = gated();
  const engine = engineOn(store, { workflows: [again] });
  const before = await engine.recover();
  expect(before.resumed).toEqual([]);
  expect(before.elsewhere.map(({ runId }) => runId).sort()).toEqual(["a", "b"]);
  await leasesRunOut();
  const { resumed, elsewhere, unknown, failed } = await engine.recover();
  expect([elsewhere, unknown, failed]).toEqual([[], [], []]);
  door.open();
  const ends = await Promise.all(resumed.map(({ result }) => result));
  expect(ends.map(({ runId, output, resumed: wasThere }) => [runId, output, wasThere]).sort()).toEqual([
    ["a", "a", true],
    ["b", "b", true],
  ]);
  expect([called, calledAgain.sort()]).toEqual([["a"], ["a", "b"]]);
  expect(await engine.recover()).toEqual({ resumed: [], elsewhere: [], unknown: [], failed: [] });
});

test("what is under way here is not recovered, and what waits for its turn belongs to whoever is free (C6.4)", async () => {
  const store = newStore();
  const { workflow } = gated();
  await leftBehind(store, workflow, ["a", "b"]);
  await leasesRunOut();
  const { workflow: busy, door, called } = gated();
  const one = engineOn(store, { workflows: [busy], concurrency: 1 });
  const { resumed } = await one.recover();
  expect(resumed).toHaveLength(2);
  expect((await one.recover()).resumed).toEqual([]);
  const other = engineOn(store, { workflows: [busy] });
  const recovery = await other.recover();
  expect([recovery.resumed.length, recovery.elsewhere.length]).toEqual([1, 1]);
  door.open();
  const ends = await Promise.allSettled([...resumed, ...recovery.resumed].map(({ result }) => result));
  expect(ends.filter(({ status }) => status === "fulfilled").length).toBeGreaterThanOrEqual(2);
  expect(called.sort()).toEqual(["a", "b"]);
  expect((await store.list()).map(({ status }) => status)).toEqual(["completed", "completed"]);
});

test("of two engines that recover at the same time one carries a run on, and the other says so (C6.4)", async () => {
  const store = newStore();
  const { workflow } = gated();
  await leftBehind(store, workflow, ["a"]);
  await leasesRunOut();
  const { workflow: again, door, called } = gated();
  const both = [0, 1].map(() => engineOn(store, { workflows: [again] }));
  const recoveries = await Promise.all(both.map((engine) => engine.recover()));
  expect(
    recoveries.map(({ resumed, elsewhere, failed }) => [resumed, elsewhere, failed].map((list) => list.length)),
  ).toEqual([
    [1, 0, 0],
    [0, 1, 0],
  ]);
  door.open();
  await recoveries[0]!.resumed[0]!.result;
  expect(called).toEqual(["a"]);
});

test("a process that dies while a known run waits for its turn is no crash of its nodes (C6.3)", async () => {
  const store = newStore();
  const { workflow } = gated();
  await leftBehind(store, workflow, ["a", "b"]);
  for (let life = 0; life < 3; life++) {
    await leasesRunOut();
    const handle = new FaultyStore(store);
    const { resumed } = await engineOn(handle, { workflows: [gated().workflow], concurrency: 1 }).recover();
    expect(resumed).toHaveLength(2);
    handle.down = true;
  }
  const crashes = await Promise.all(
    ["a", "b"].map(async (runId) => {
      const { events } = (await engineOn(store).history(runId))!;
      return events.filter((event) => event.kind === "run_resumed" && event.crashed).length;
    }),
  );
  expect(crashes.sort()).toEqual([0, 3]);
});

test("runs of workflows that nobody gave are told and left as they are (C6.2)", async () => {
  const store = newStore();
  const { workflow } = gated();
  await leftBehind(store, workflow, ["a"]);
  const engine = engineOn(store);
  expect(await engine.recover()).toMatchObject({ elsewhere: [{ runId: "a" }], unknown: [] });
  await leasesRunOut();
  const { resumed, unknown } = await engine.recover();
  expect([resumed, unknown.map(({ runId, workflowId }) => [runId, workflowId])]).toEqual([[], [["a", "gated"]]]);
  const { workflow: again, door } = gated();
  door.open();
  await engine.run(again, "other");
  expect((await (await engine.recover()).resumed[0]?.result)?.output).toBe("a");
});

test("a run whose workflow has changed is told with the reason, and the others go on (C5.10)", async () => {
  const store = newStore();
  const { workflow } = gated();
  await leftBehind(store, workflow, ["a"]);
  await leftBehind(store, gated("other").workflow, ["b"]);
  await leasesRunOut();
  const changed = new Workflow({ id: workflow.id, version: "2" }).addNode("n", () => 1);
  const other = gated("other");
  other.door.open();
  const { resumed, failed } = await engineOn(store, { workflows: [changed, other.workflow] }).recover();
  expect(failed.map(({ run, error }) => [run.runId, error instanceof VersionMismatchError])).toEqual([["a", true]]);
  expect((await resumed[0]!.result).output).toBe("b");
  expect(await store.get("a")).toMatchObject({ status: "running", owner: null });
});

test("a run whose start was never stored is none, and can be started (C6.1)", async () => {
  const store = newStore();
  const handle = new FaultyStore(store);
  handle.dieAt(1, "asked");
  const { workflow, door } = gated();
  await expect(engineOn(handle).start(workflow, 1, { runId: "r" })).rejects.toThrow();
  const nothing = { resumed: [], elsewhere: [], unknown: [], failed: [] };
  expect(await engineOn(store).recover()).toEqual(nothing);
  await leasesRunOut();
  const engine = engineOn(store, { workflows: [workflow] });
  expect(await engine.recover()).toEqual(nothing);
  await expect(engine.resume(workflow, "r")).rejects.toBeInstanceOf(NotFoundError);
  door.open();
  expect((await engine.run(workflow, 1, { runId: "r" })).output).toBe(1);
});
