import { afterEach, beforeEach, expect, test } from "vitest";
import { WorkflowDefinitionError } from "../core/errors.ts";
import { MemoryStore } from "../stores/memory.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import { gate } from "../testing/engine-world.ts";
import { Workflow } from "../workflow.ts";
import { Engine } from "./engine.ts";

const MINUTE = 60_000;

let runtime: FakeRuntime;
let store: MemoryStore;
let engines: Engine[];
let inputs: number[];
const tick = new Workflow({ id: "tick" }).addNode("note", (at: number) => void inputs.push(at - START));
let START: number;

beforeEach(() => {
  runtime = fakeRuntime();
  store = new MemoryStore({ clock: runtime.clock });
  engines = [];
  inputs = [];
  START = runtime.clock.wallNow();
});
afterEach(async () => {
  for (const engine of engines) await engine.close();
});

function newEngine(concurrency?: number): Engine {
  const engine = new Engine({ store: new FaultyStore(store), runtime, concurrency });
  engines.push(engine);
  return engine;
}

const everyMinute = {
  everyMs: MINUTE,
  workflow: tick,
  input: ({ scheduledAt }: { scheduledAt: number }) => scheduledAt,
};

test("each due time starts one run, however many engines watch, and is named after it (C5.11)", async () => {
  const both = [newEngine(), newEngine()];
  for (const engine of both) await engine.schedule("pulse", everyMinute);
  for (let n = 0; n < 3; n++) await runtime.clock.advance(MINUTE);
  expect(inputs).toEqual([MINUTE, 2 * MINUTE, 3 * MINUTE]);
  const rows = await both[0]!.list();
  expect(rows.map(({ runId, status }) => [runId, status])).toEqual([
    ["pulse@2026-01-01T00:03:00.000Z", "completed"],
    ["pulse@2026-01-01T00:02:00.000Z", "completed"],
    ["pulse@2026-01-01T00:01:00.000Z", "completed"],
  ]);
});

test("a schedule is stored with its runs: the next engine on the store goes on where it was (C5.11)", async () => {
  const first = newEngine();
  await first.schedule("pulse", { ...everyMinute, missed: "run-all" });
  await runtime.clock.advance(MINUTE);
  await first.close();
  await runtime.clock.advance(2.5 * MINUTE);
  const second = newEngine();
  expect(await second.schedules.list()).toMatchObject([{ id: "pulse", workflowId: "tick", lastAt: START + MINUTE }]);
  await second.schedule("pulse", { ...everyMinute, missed: "run-all" });
  await runtime.clock.advance(0);
  expect(inputs).toEqual([MINUTE, 2 * MINUTE, 3 * MINUTE]);
});

test("a due time does not wait until the run of the last one has ended, nor for its own turn (C5.11)", async () => {
  const door = gate();
  const slow = new Workflow({ id: "slow" }).addNode("n", () => door.promise);
  const engine = newEngine(1);
  await engine.schedule("slow", { everyMs: MINUTE, workflow: slow, input: undefined });
  for (let n = 0; n < 3; n++) await runtime.clock.advance(MINUTE);
  expect((await store.list()).map(({ status, version }) => [status, version])).toEqual([
    ["running", 1],
    ["running", 1],
    ["running", 1],
  ]);
  door.open();
  await runtime.clock.advance(0);
  expect((await store.list()).map(({ status }) => status)).toEqual(["completed", "completed", "completed"]);
});

test("a workflow that is not one is refused before its schedule is stored (C5.11)", async () => {
  const engine = newEngine();
  const broken = new Workflow({ id: "broken" });
  await expect(engine.schedule("b", { everyMs: 1, workflow: broken, input: undefined })).rejects.toBeInstanceOf(
    WorkflowDefinitionError,
  );
  expect(await engine.schedules.list()).toEqual([]);
});

test("the runs of a scheduled workflow are recovered without its being given twice (C5.11, C6.2)", async () => {
  const hanging = new Workflow({ id: "tick" }).addNode("note", () => new Promise<void>(() => {}));
  await newEngine().start(hanging, START, { runId: "left" });
  await engines[0]!.close();
  const engine = newEngine();
  expect((await engine.recover()).unknown).toHaveLength(1);
  await engine.schedule("pulse", everyMinute);
  await (
    await engine.recover()
  ).resumed[0]!.result;
  expect(inputs).toEqual([0]);
});

test("a closed engine takes no due time up, and leaves it to the others (C5.11)", async () => {
  const [first, second] = [newEngine(), newEngine()];
  await first.schedule("pulse", everyMinute);
  await second.schedule("pulse", everyMinute);
  await first.close();
  await expect(first.schedule("pulse", everyMinute)).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  await runtime.clock.advance(MINUTE);
  expect(inputs).toEqual([MINUTE]);
});
