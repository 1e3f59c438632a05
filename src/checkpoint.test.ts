import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { WorkflowCheckpoint, type WorkflowCheckpointOptions } from "./checkpoint.ts";
import { ConfigError } from "./core/errors.ts";
import type { SharedState } from "./core/shared-state.ts";
import { MemorySharedState } from "./stores/memory-shared-state.ts";
import { SqliteSharedState } from "./stores/sqlite-shared-state.ts";
import { fakeRuntime, record } from "./testing/fake-clock.ts";
import { FaultySharedState } from "./testing/faulty-shared-state.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-checkpoint-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

const PLACES: Record<string, () => SharedState> = {
  memory: () => new MemorySharedState(),
  SQLite: () => new SqliteSharedState(join(folder, `${++files}.db`)),
};

/** What lies under a version, changed behind the back of everybody. */
function spoil(
  store: SharedState,
  id: string,
  version: number,
  change: (saved: object) => object | undefined,
): Promise<void> {
  return store.update<object, void>(JSON.stringify(["checkpoint", id, version]), (last) => ({
    next: change(last!),
    keepMs: Infinity,
    result: undefined,
  }));
}

/** Numbers below this one under which something still lies. */
async function leftBelow(store: SharedState, id: string, below: number): Promise<number[]> {
  const left: number[] = [];
  for (let version = 1; version < below; version++) {
    await spoil(store, id, version, (saved: object | undefined) => {
      if (saved !== undefined) left.push(version);
      return saved;
    });
  }
  return left;
}

for (const [place, open] of Object.entries(PLACES)) {
  describe(`a checkpoint on ${place}`, () => {
    async function using(
      check: (
        store: SharedState,
        make: (id?: string, options?: WorkflowCheckpointOptions) => WorkflowCheckpoint,
      ) => Promise<void>,
    ): Promise<void> {
      const store = open();
      try {
        await check(store, (id = "c", options = {}) => new WorkflowCheckpoint(id, { store, ...options }));
      } finally {
        await store.close();
      }
    }

    it("comes back as it was, for another object of the same id and no other (C6.6, C6.8, C0.7)", () =>
      using(async (_, make) => {
        const state = { at: new Date(5), rows: new Map([[1, new Set(["a"])]]), none: undefined, big: 2n ** 70n };
        const ids = ["c", "C", "__proto__", "../x", "a\0b", "💥", '["c",1]'];
        expect([await make().load(), await make().exists(), await make().list()]).toEqual([undefined, false, []]);
        for (const [i, id] of ids.entries()) await make(id).save({ ...state, i });
        for (const [i, id] of ids.entries()) expect(await make(id).load()).toEqual({ ...state, i });
        expect(await make().exists()).toBe(true);
        await make("nothing").save(undefined);
        expect([await make("nothing").load(), await make("nothing").exists()]).toEqual([undefined, true]);
      }));

    it("has versions, of which the newest are kept and the older ones deleted (C6.8)", () =>
      using(async (store, make) => {
        const runtime = fakeRuntime();
        const checkpoint = make("c", { maxCheckpoints: 3, runtime });
        for (let i = 1; i <= 7; i++) {
          expect(await checkpoint.save(`state ${i}`)).toBe(i);
          await runtime.clock.advance(1000);
        }
        const at = runtime.clock.wallNow();
        expect(await make().list()).toEqual(
          [7, 6, 5].map((version) => ({ version, at: at - (8 - version) * 1000, bytes: 9 })),
        );
        expect(await WorkflowCheckpoint.listCheckpoints("c", { store })).toEqual(await make().list());
        expect([await checkpoint.load(6), await checkpoint.load(4), await checkpoint.load(8)]).toEqual([
          "state 6",
          undefined,
          undefined,
        ]);
        expect([await make().cleanOldCheckpoints(1), (await make().list()).length, await make().load()]).toEqual([
          2,
          1,
          "state 7",
        ]);
        expect(await checkpoint.save("state 8")).toBe(8);
      }));

    it("of many savers at once keeps whole ones, the newest among them, and leaves nothing else behind (C6.8)", () =>
      using(async (store, make) => {
        const savers = Array.from({ length: 12 }, () => make("c", { maxCheckpoints: 3 }));
        const versions = await Promise.all(savers.map((saver, i) => saver.save(`state ${i}`)));
        expect(versions.toSorted((a, b) => a - b)).toEqual(savers.map((_, i) => i + 1));
        const kept = await make().list();
        expect(kept.map(({ version }) => version)).toEqual([12, 11, 10]);
        for (const { version } of kept) expect(await make().load(version)).toBe(`state ${versions.indexOf(version)}`);
        expect(await leftBelow(store, "c", 10)).toEqual([]);
      }));

    it("costs the same however many came before it (C6.8)", () =>
      using(async (store, make) => {
        const counted = new FaultySharedState(store);
        const checkpoint = make("c", { store: counted, maxCheckpoints: 2 });
        const costs: number[] = [];
        for (let i = 0; i < 20; i++) {
          const before = counted.updates;
          await checkpoint.save(i);
          costs.push(counted.updates - before);
        }
        // A number, the state, the index, and one that is deleted.
        expect(Math.max(...costs)).toBe(4);
      }));

    it("that is damaged, swapped or gone is passed over and reported: the newest whole one is used (C6.7, C6.8)", () =>
      using(async (store, make) => {
        const runtime = fakeRuntime();
        const events = record(runtime.events);
        const checkpoint = make("c", { runtime });
        for (let i = 1; i <= 5; i++) await checkpoint.save(`state ${i}`);
        let second: object = {};
        await spoil(store, "c", 2, (saved) => (second = saved));
        await spoil(store, "c", 5, (saved) => ({ ...saved, text: '"state 6"' }));
        await spoil(store, "c", 4, () => second);
        await spoil(store, "c", 3, () => undefined);
        expect(await checkpoint.load()).toBe("state 2");
        expect(events).toMatchObject([
          {
            type: "checkpoint.damaged",
            checkpointId: "c",
            version: 5,
            why: expect.stringContaining("checksum") as string,
          },
          { version: 4 },
          { version: 3, why: "it is gone" },
        ]);
        expect((await checkpoint.list()).map(({ version }) => version)).toEqual([2, 1]);
        await expect(checkpoint.load(5)).rejects.toMatchObject({ code: "STORE_CORRUPT" });
        await expect(checkpoint.load(5)).rejects.toThrow('Version 5 of checkpoint "c" is damaged');
      }));

    it("whose save dies at any update was saved or was not, and what it leaves is deleted later (C6.8)", () =>
      using(async (store, make) => {
        for (const fault of ["refused", "unanswered"] as const) {
          for (let dying = 1; dying <= 5; dying++) {
            const id = `${fault} ${dying}`;
            await make(id, { maxCheckpoints: 2 }).save("first");
            await make(id, { maxCheckpoints: 2 }).save("second");
            const faulty = new FaultySharedState(store);
            faulty.onUpdate = (n) => (n >= dying ? (n === dying ? fault : "refused") : undefined);
            const saving = make(id, { store: faulty, maxCheckpoints: 2 }).save("third");
            const acknowledged = await saving.then(
              () => true,
              () => false,
            );
            const found = await make(id).load();
            expect(["second", "third"]).toContain(found);
            if (acknowledged) expect(found).toBe("third");
            expect(acknowledged).toBe(dying > 3);
            const next = make(id, { maxCheckpoints: 2 });
            const last = [await next.save("a"), await next.save("b")];
            expect(await leftBelow(store, id, last[0]!)).toEqual([]);
            expect((await next.list()).map(({ version }) => version)).toEqual(last.toReversed());
          }
        }
      }));

    it("that cannot be stored is refused with the path of the value, and the last one stays (C6.6)", () =>
      using(async (_, make) => {
        await make().save({ row: 1 });
        await expect(make().save({ row: { fn: () => 1 } })).rejects.toThrow(/^The state\.row\.fn cannot be stored/);
        expect([await make().load(), (await make().list()).length]).toEqual([{ row: 1 }, 1]);
      }));
  });
}

describe("saves that go on by themselves", () => {
  const start = (options: WorkflowCheckpointOptions = {}) => {
    const runtime = fakeRuntime();
    const store = new FaultySharedState(new MemorySharedState({ clock: runtime.clock }));
    const checkpoint = new WorkflowCheckpoint<number>("c", {
      store,
      runtime,
      autoCheckpointIntervalMs: 1000,
      ...options,
    });
    return { runtime, store, checkpoint, events: record(runtime.events) };
  };

  it("come once in each interval, with the state of that time, until they are stopped (C6.8)", async () => {
    const { runtime, checkpoint } = start();
    let state = 0;
    checkpoint.startAutoCheckpoint(() => ++state);
    await runtime.clock.advance(999);
    expect(state).toBe(0);
    await runtime.clock.advance(1);
    expect([state, await checkpoint.load()]).toEqual([1, 1]);
    await runtime.clock.advance(2000);
    expect(await checkpoint.load()).toBe(3);
    await checkpoint.stopAutoCheckpoint();
    await runtime.clock.advance(10_000);
    expect([state, await checkpoint.load()]).toEqual([3, 3]);
  });

  it("keep no process alive (C0.4, C6.8)", async () => {
    const waits = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
    const before = waits();
    const checkpoint = new WorkflowCheckpoint("c", { store: new MemorySharedState() });
    checkpoint.startAutoCheckpoint(() => 1);
    expect(waits()).toBe(before);
    await checkpoint.stopAutoCheckpoint();
  });

  it("do not pile up, and stopping waits for the one under way (C6.8)", async () => {
    const { runtime, checkpoint } = start();
    let calls = 0;
    let give = (_: number): void => {};
    checkpoint.startAutoCheckpoint(() => (calls++, new Promise((resolve) => (give = resolve))));
    await runtime.clock.advance(5000);
    expect(calls).toBe(1);
    let stopped = false;
    const stopping = checkpoint.stopAutoCheckpoint().then(() => (stopped = true));
    await runtime.clock.advance(0);
    expect(stopped).toBe(false);
    give(7);
    await stopping;
    expect(await checkpoint.load()).toBe(7);
    await runtime.clock.advance(5000);
    expect(calls).toBe(1);
  });

  it("that fail are reported and tried again, and reject nothing that nobody awaits (C0.6, C6.8, C6.10)", async () => {
    const { runtime, checkpoint, store, events } = start();
    let fails = true;
    checkpoint.startAutoCheckpoint(() => {
      if (fails) throw new Error("no state yet");
      return 1;
    });
    await runtime.clock.advance(1000);
    fails = false;
    store.fault = "refused";
    await runtime.clock.advance(1000);
    store.fault = null;
    await runtime.clock.advance(1000);
    expect(await checkpoint.load()).toBe(1);
    expect(events).toMatchObject([
      { type: "checkpoint.failed", checkpointId: "c", error: { message: "no state yet" } },
      { type: "checkpoint.failed", error: { code: "STORE_UNAVAILABLE" } },
    ]);
    await checkpoint.stopAutoCheckpoint();
  });

  it("started again go on with the other function only (C6.8)", async () => {
    const { runtime, checkpoint } = start();
    const [one, other] = [vi.fn<() => number>(() => 1), vi.fn<() => number>(() => 2)];
    checkpoint.startAutoCheckpoint(one);
    checkpoint.startAutoCheckpoint(other);
    await runtime.clock.advance(1000);
    expect([one.mock.calls.length, other.mock.calls.length]).toEqual([0, 1]);
    await checkpoint.stopAutoCheckpoint();
  });
});

it("wrong ids, options and arguments are ConfigErrors that name them (C0.3, C6.8)", async () => {
  const make = (id: unknown, options?: object) => () => new WorkflowCheckpoint(id as string, options);
  expect(make("")).toThrow(/WorkflowCheckpoint\.id must be a non-empty string/);
  expect(make("c", { every: 1 })).toThrow('WorkflowCheckpoint has no option "every"');
  expect(make("c", { store: {} })).toThrow(/WorkflowCheckpoint\.store must be a shared state/);
  expect(make("c", { maxCheckpoints: 0 })).toThrow(/WorkflowCheckpoint\.maxCheckpoints must be a whole number/);
  expect(make("c", { autoCheckpointIntervalMs: 0 })).toThrow(/WorkflowCheckpoint\.autoCheckpointIntervalMs/);
  const checkpoint = new WorkflowCheckpoint("c", { store: new MemorySharedState() });
  await expect(checkpoint.cleanOldCheckpoints(0)).rejects.toBeInstanceOf(ConfigError);
  await expect(checkpoint.load(1.5)).rejects.toBeInstanceOf(ConfigError);
  expect(() => checkpoint.startAutoCheckpoint(1 as never)).toThrow(ConfigError);
});
