import { expect, test, vi } from "vitest";
import { ConfigError, HoldfastError } from "../core/errors.ts";
import { MemoryStore } from "../stores/memory.ts";
import { gate } from "../testing/engine-world.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { FaultyStore } from "../testing/faulty-store.ts";
import { Workflow } from "../workflow.ts";
import { Engine } from "./engine.ts";
import type { ShutdownSignal } from "./shutdown.ts";

interface World {
  runtime: FakeRuntime;
  store: MemoryStore;
  engine: Engine;
  /** Starts a run that takes so long. */
  start(runId: string, ms: number): Promise<unknown>;
}

function world(concurrency = Infinity): World {
  const runtime = fakeRuntime();
  const store = new MemoryStore({ clock: runtime.clock });
  // Closing the handle leaves the store open for the test to look at.
  const engine = new Engine({ store: new FaultyStore(store), runtime, concurrency });
  const sleeping = new Workflow({ id: "sleeping" }).addNode("n", (ms: number) => runtime.clock.sleep(ms));
  return { runtime, store, engine, start: (runId, ms) => engine.start(sleeping, ms, { runId }) };
}

test("a closing engine lets runs go on for as long as it may drain, and stops what is left (C6.4)", async () => {
  const { runtime, store, engine, start } = world();
  await start("short", 400);
  await start("long", 600);
  const closing = engine.close({ drainMs: 500 });
  await runtime.clock.advance(0);
  await expect(start("late", 1)).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  await runtime.clock.advance(499);
  expect((await store.get("long"))?.owner).not.toBeNull();
  await runtime.clock.advance(1);
  expect(await closing).toEqual({ finished: ["short"], left: ["long"] });
  expect(await store.get("short")).toMatchObject({ status: "completed" });
  expect(await store.get("long")).toMatchObject({ status: "running", owner: null });
});

test("a closing engine waits no longer than its runs do, and leaves no timer behind (C0.4)", async () => {
  const { runtime, engine, start } = world();
  await start("a", 10);
  const closing = engine.close({ drainMs: 60_000 });
  await runtime.clock.advance(10);
  expect(await closing).toEqual({ finished: ["a"], left: [] });
  expect(runtime.clock.pendingTimers).toBe(0);
});

test("what has not had its turn is not begun by an engine that closes, and is left to others (C6.4)", async () => {
  const { runtime, store, engine, start } = world(1);
  await start("first", 100);
  await start("second", 100);
  const closing = engine.close({ drainMs: Infinity });
  await runtime.clock.advance(100);
  expect(await closing).toEqual({ finished: ["first"], left: ["second"] });
  expect(await store.get("second")).toMatchObject({ status: "running", owner: null, version: 1 });
});

test("closing once more ends the draining, and gives the same report (C6.4)", async () => {
  const { engine, start } = world();
  await start("long", 1000);
  const draining = engine.close({ drainMs: Infinity });
  const closing = engine.close();
  expect(await closing).toEqual({ finished: [], left: ["long"] });
  expect(await draining).toBe(await closing);
});

test("a run that is refused its start is not among those that are left (C6.1)", async () => {
  const { engine, start } = world();
  const [starting, closing] = [start("r", 1), engine.close()];
  await expect(starting).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  expect(await closing).toEqual({ finished: [], left: [] });
});

/** What a process does at signals, with its end replaced by a note. */
async function atSignals(use: (exits: number[]) => Promise<void>): Promise<void> {
  const exits: number[] = [];
  const exit = vi.spyOn(process, "exit").mockImplementation((code) => void exits.push(Number(code)) as never);
  try {
    await use(exits);
  } finally {
    exit.mockRestore();
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

test("no handler of a signal is there unless it is asked for, or when it is taken away (C6.4)", async () => {
  const before = process.listenerCount("SIGHUP");
  const { engine } = world();
  expect(process.listenerCount("SIGHUP")).toBe(before);
  const stop = engine.shutdownOn(["SIGHUP"]);
  expect(process.listenerCount("SIGHUP")).toBe(before + 1);
  stop();
  expect(process.listenerCount("SIGHUP")).toBe(before);
  expect(() => engine.shutdownOn(["SIGKILL" as ShutdownSignal])).toThrow(ConfigError);
  expect(process.listenerCount("SIGKILL")).toBe(0);
  await engine.close();
});

test("the exit code says whether runs remain, and comes when the last engine of the process is closed (C6.4)", async () => {
  await atSignals(async (exits) => {
    const [stopped, drained] = [world(), world()];
    for (const { start } of [stopped, drained]) await start("r", 400);
    stopped.engine.shutdownOn(["SIGHUP"]);
    drained.engine.shutdownOn(["SIGHUP"], { drainMs: 500 });
    process.emit("SIGHUP");
    await settled();
    expect(exits).toEqual([]);
    await drained.runtime.clock.advance(400);
    await settled();
    expect(exits).toEqual([75]);
    process.removeAllListeners("SIGHUP");
  });
});

test("a second signal ends the draining, and a third the process, whatever the store does (C6.4)", async () => {
  await atSignals(async (exits) => {
    const { runtime, engine, store, start } = world();
    const hanging = gate();
    await start("r", 1000);
    store.release = () => hanging.promise;
    const stop = engine.shutdownOn(["SIGHUP"], { drainMs: Infinity });
    process.emit("SIGHUP");
    await runtime.clock.advance(1);
    process.emit("SIGHUP");
    await settled();
    expect(exits).toEqual([]);
    process.emit("SIGHUP");
    expect(exits).toEqual([75]);
    hanging.open();
    stop();
    await engine.close();
  });
});

test("an engine that cannot be closed says so by its exit code (C6.10)", async () => {
  await atSignals(async (exits) => {
    const { runtime } = world();
    const store = new MemoryStore({ clock: runtime.clock });
    store.close = () => Promise.reject(new HoldfastError("STORE_UNAVAILABLE", "gone"));
    const engine = new Engine({ store, runtime });
    const stop = engine.shutdownOn(["SIGHUP"]);
    process.emit("SIGHUP");
    await settled();
    stop();
    expect(exits.length).toBe(1);
    expect(exits[0]).toBeGreaterThan(0);
  });
});
