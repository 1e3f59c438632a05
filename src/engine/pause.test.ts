import { expect, it } from "vitest";
import { RunInUseError, StoreUnavailableError } from "../core/errors.ts";
import { createEngine, MemoryStore, Workflow } from "../index.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import { Pause } from "./pause.ts";

const TROUBLE = new StoreUnavailableError("The disk is full.", undefined);

it("waits longer and longer for a store, up to ten seconds, and begins anew when the run has gone on (C6.10)", () => {
  const pause = new Pause(fakeRuntime(), Infinity);
  const waits = Array.from({ length: 8 }, () => pause.next(TROUBLE));
  expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  pause.end();
  expect(pause.next(TROUBLE)).toBe(250);
});

it("ends when the store has been away for too long, and does not wait for what will not pass (C6.10)", async () => {
  const runtime = fakeRuntime();
  const pause = new Pause(runtime, 1000);
  expect(pause.next(TROUBLE)).toBe(250);
  await runtime.clock.advance(999);
  expect(pause.next(TROUBLE)).toBe(500);
  await runtime.clock.advance(1);
  expect(pause.next(TROUBLE)).toBeNull();
  expect(pause.next(new RunInUseError("r", "Somebody has it."))).toBe(1000);
  expect(pause.next(new Error("a mistake of ours"))).toBeNull();
});

it("a redrive that was due goes on after a pause, although its entry is no longer due then (C6.10, C10.8)", async () => {
  const runtime = fakeRuntime();
  const store = new MemoryStore({ clock: runtime.clock });
  let mended = false;
  const workflow = new Workflow({ id: "w" }).addNode("n", () => {
    if (!mended) throw new Error("not yet");
    return "mended";
  });
  const handle = new FaultyStore(store);
  const engine = createEngine({ store: handle, runtime, workflows: [workflow] });
  await engine.run(workflow, undefined, { runId: "r" });
  mended = true;
  // The redrive is stored, and what follows it is not, until the store is back.
  handle.dieAt(handle.appends + 2, "asked");
  await runtime.clock.advance(120_000);
  const redriven = engine.deadLetters.redriveDue();
  await runtime.clock.advance(5000);
  expect(handle.down).toBe(true);
  handle.down = false;
  await runtime.clock.advance(30_000);
  expect(await redriven).toMatchObject({ succeeded: 1 });
  expect((await store.get("r"))!.status).toBe("completed");
  await engine.close();
});
