import { deepEqual, equal, ok } from "node:assert/strict";
import type { SharedChange, SharedState } from "../core/shared-state.ts";
import { type ContractCase, observed } from "./contract-case.ts";
import { FakeClock } from "./fake-clock.ts";

/** A place for shared state that a test may fill and throw away. */
export interface SharedStatePlace {
  /** A handle on the place, whose time passes with the clock. Each further one sees the same, as another process would. */
  open(clock: FakeClock): SharedState | Promise<SharedState>;
  /** Called when the case is over and its handles are closed. */
  remove?(): void | Promise<void>;
}

interface Bench {
  state: SharedState;
  /** Another handle on the same place. */
  open: () => Promise<SharedState>;
  clock: FakeClock;
}

/** How long things are kept in the cases, unless it matters. */
const KEEP_MS = 60_000;

const CASES: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  "it brings along what policies need to share their state (C2.9)": async ({ state }) => {
    equal(state.sharing?.kind, "sharing", "write `sharing`, which holdfast/policies exports, as a member of the place");
  },

  "nothing lies under a key at first, and then what the last change left (C2.9)": async ({ state }) => {
    const seen: unknown[] = [];
    for (const next of [{ n: 1 }, [1, "two", null, { deep: [true] }], "text", 0, false, null]) {
      const last = await state.update<unknown, unknown>("key", (value) => leave(next, { saw: value }));
      seen.push(last);
    }
    deepEqual(
      seen,
      [undefined, { n: 1 }, [1, "two", null, { deep: [true] }], "text", 0, false].map((saw) => ({ saw })),
    );
    equal(await peek(state, "key"), null);
  },

  "an update answers what its change says, as it is (C2.9)": async ({ state }) => {
    const result = { when: new Map(), fn: () => 1 };
    equal(await state.update("key", () => leave("value", result)), result);
    equal(await state.update("key", () => leave("value", undefined)), undefined);
  },

  "undefined leaves nothing (C2.9)": async ({ state }) => {
    await put(state, "key", 1);
    equal(await state.update("key", () => ({ next: undefined, keepMs: NaN, result: "gone" })), "gone");
    equal(await peek(state, "key"), undefined);
    await state.update("never there", () => ({ next: undefined, keepMs: 0, result: 0 }));
  },

  "nobody shares an object with the place (C2.9)": async ({ state }) => {
    const given = { list: [1] };
    const answered = await state.update("key", () => leave(given, given));
    given.list.push(2);
    answered.list.push(3);
    await state.update<typeof given, void>("key", (last) => {
      deepEqual(last, { list: [1] });
      last?.list.push(4);
      return { ...leave({ list: [1] }, undefined) };
    });
    const seen = (await peek(state, "key")) as typeof given;
    seen.list.push(5);
    deepEqual(await peek(state, "key"), { list: [1] });
  },

  "each key has its own value, whatever it is called (C0.7)": async ({ state, open }) => {
    const keys = [
      "a",
      "A",
      "a ",
      "a\0",
      "a\0b",
      "__proto__",
      "constructor",
      "\ud800",
      "\udc00",
      "\\ud800",
      "é",
      "e\u0301",
    ];
    keys.push("💥", "breaker:x", "x'; --", "%", "\ufeffa", "k".repeat(600));
    const other = await open();
    await Promise.all(keys.map((key, i) => put(state, key, i)));
    for (const [i, key] of keys.entries()) equal(await peek(other, key), i, JSON.stringify(key));
  },

  "values come back as they were, with any text in them (C0.7)": async ({ state }) => {
    const value = { "a\0": "b\0c", __proto: "\ud800", "\udc00": "💥", n: [0.1, -1e-300, 2 ** 53, 1.5e300] };
    await put(state, "key", value);
    deepEqual(await peek(state, "key"), value);
    const own = JSON.parse(`{"__proto__": {"x": 1}}`) as unknown;
    await put(state, "key", own);
    equal(JSON.stringify(await peek(state, "key")), JSON.stringify(own));
  },

  "a change that throws rejects its own update alone, and changes nothing (C2.9)": async ({ state }) => {
    await put(state, "key", 1);
    const thrown = new Error("no");
    const outcomes = await Promise.allSettled([
      add(state, "key", 1),
      state.update("key", () => {
        throw thrown;
      }),
      add(state, "key", 1),
      // Not every value that is thrown is an error.
      state.update("other", () => {
        throw undefined;
      }),
      put(state, "third", 3),
    ]);
    deepEqual(
      outcomes.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"],
    );
    equal((outcomes[1] as PromiseRejectedResult).reason, thrown);
    equal((outcomes[3] as PromiseRejectedResult).reason, undefined);
    deepEqual(await Promise.all(["key", "other", "third"].map((key) => peek(state, key))), [3, undefined, 3]);
  },

  "what cannot be kept rejects its own update alone (C2.9)": async ({ state }) => {
    const ring: { ring?: unknown } = {};
    ring.ring = ring;
    const bad: SharedChange<unknown, void>[] = [
      leave(1n, undefined),
      leave(ring, undefined),
      leave(() => 1, undefined),
      { next: 1, keepMs: NaN, result: undefined },
      { next: 1, keepMs: -1, result: undefined },
    ];
    const outcomes = await Promise.allSettled([
      ...bad.map((change) => state.update<unknown, void>("key", () => change)),
      put(state, "key", "good"),
    ]);
    deepEqual(
      outcomes.map(({ status }) => status),
      [...bad.map(() => "rejected"), "fulfilled"],
    );
    equal(await peek(state, "key"), "good");
  },

  "no update is lost among many at the same time, over several handles (C2.9)": async ({ state, open }) => {
    const handles = [state, await open(), await open()];
    const counts: number[] = [];
    await Promise.all(
      Array.from({ length: 90 }, async (_, i) => {
        // Some come together, and some while others are on their way.
        for (let turn = 0; turn < i % 4; turn++) await Promise.resolve();
        counts.push(await add(handles[i % 3]!, "key", 1));
      }),
    );
    equal(await peek(state, "key"), 90);
    deepEqual(
      counts.sort((a, b) => a - b),
      Array.from({ length: 90 }, (_, i) => i + 1),
    );
  },

  "updates of one handle are made in the order in which they were asked for (C2.9)": async ({ state }) => {
    const append = (n: number): Promise<void> =>
      state.update<number[], void>("key", (last = []) => leave([...last, n], undefined));
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(append));
    deepEqual(await peek(state, "key"), [0, 1, 2, 3, 4, 5, 6, 7]);
  },

  "what keepMs has passed for is gone, and not before (C2.9)": async ({ state, open, clock }) => {
    const other = await open();
    await put(state, "short", 1, 1000);
    await put(state, "long", 2, 5000);
    await put(state, "forever", 3, Infinity);
    await put(state, "not at all", 4, 0);
    const seen = async (handle: SharedState): Promise<unknown[]> =>
      Promise.all(["short", "long", "forever", "not at all"].map((key) => look(handle, key)));
    deepEqual(await seen(other), [1, 2, 3, undefined]);
    await clock.advance(999);
    deepEqual(await seen(other), [1, 2, 3, undefined]);
    await clock.advance(1);
    deepEqual(await seen(other), [undefined, 2, 3, undefined]);
    await clock.advance(4000);
    deepEqual(await seen(state), [undefined, undefined, 3, undefined]);
  },

  "each update says anew how long a value is kept (C2.9)": async ({ state, clock }) => {
    await put(state, "key", 1, 1000);
    await clock.advance(900);
    await put(state, "key", 2, 1000);
    await clock.advance(900);
    equal(await peek(state, "key"), 2);
    await put(state, "key", 3, 10);
    await clock.advance(10);
    equal(await peek(state, "key"), undefined);
  },

  "a value that is gone does not come back with the next update of its key or of others (C2.9)": async ({
    state,
    clock,
  }) => {
    await put(state, "key", 1, 10);
    await clock.advance(10);
    equal(await add(state, "key", 5), 5);
    for (let i = 0; i < 50; i++) await put(state, `other ${i}`, i);
    equal(await peek(state, "key"), 5);
  },

  "time passes as it does in the world, is the same for all handles, and never runs backwards (C0.4)": async ({
    state,
    open,
    clock,
  }) => {
    const handles = [state, await open(), await open()];
    const start = await timeOf(state);
    let last = start;
    let passed = 0;
    for (const [i, ms] of [0, 5, 0, 0, 1000, 0, 1, 86_400_000, 0].entries()) {
      await clock.advance(ms);
      passed += ms;
      const now = await timeOf(handles[i % 3]!);
      ok(now >= last, `${now} came after ${last}`);
      ok(Math.abs(now - start - passed) < 1, `${now - start} ms have passed in the place, and ${passed} in the world`);
      last = now;
    }
  },

  "the wall clock changes nothing (C0.4)": async ({ state, open, clock }) => {
    await put(state, "key", 1, 1000);
    const before = await timeOf(state);
    clock.jumpWall(365 * 86_400_000);
    equal(await look(await open(), "key"), 1);
    clock.jumpWall(-2 * 365 * 86_400_000);
    equal(await timeOf(await open()), before);
    await clock.advance(1000);
    equal(await look(state, "key"), undefined);
  },

  "an update on a closed handle is StoreUnavailableError, and closing twice is no error (C2.9)": async ({ state }) => {
    await put(state, "key", 1);
    await state.close();
    await state.close();
    const error: unknown = await peek(state, "key").catch((reason: unknown) => reason);
    equal((error as { code?: unknown }).code, "STORE_UNAVAILABLE");
  },

  "what was on its way when the handle was closed is made, or is rejected (C2.9)": async ({ state, open }) => {
    const other = await open();
    await put(state, "key", 1);
    const onItsWay = observed(add(state, "key", 1));
    await state.close();
    const [outcome] = await Promise.allSettled([onItsWay]);
    // In memory all handles are one, and it is closed now.
    const [seen] = await Promise.allSettled([peek(other, "key")]);
    if (outcome.status === "rejected") equal((outcome.reason as { code?: unknown }).code, "STORE_UNAVAILABLE");
    else if (seen.status === "fulfilled") equal(seen.value, 2);
  },
};

/**
 * What every shared state must do, as cases for any test runner; `newPlace` gives each of them an empty place.
 *
 * @example
 * ```ts no-run
 * import { MemorySharedState } from "holdfast";
 * import { sharedStateContract, type SharedStatePlace } from "holdfast/testing";
 * import { it } from "vitest";
 *
 * const newPlace = (): SharedStatePlace => {
 *   let state: MemorySharedState | undefined;
 *   return { open: (clock) => (state ??= new MemorySharedState({ clock })) };
 * };
 * for (const { title, run } of sharedStateContract(newPlace)) it(title, run);
 * ```
 */
export function sharedStateContract(newPlace: () => SharedStatePlace | Promise<SharedStatePlace>): ContractCase[] {
  return Object.entries(CASES).map(([title, check]) => ({
    title,
    run: async () => {
      const place = await newPlace();
      const clock = new FakeClock();
      const opened: SharedState[] = [];
      const open = async (): Promise<SharedState> => {
        const state = await place.open(clock);
        opened.push(state);
        return state;
      };
      try {
        await check({ state: await open(), open, clock });
      } finally {
        for (const state of opened) await state.close();
        await place.remove?.();
      }
    },
  }));
}

function leave<T, R>(next: T, result: R, keepMs: number = KEEP_MS): SharedChange<T, R> {
  return { next, keepMs, result };
}

function put(state: SharedState, key: string, value: unknown, keepMs?: number): Promise<void> {
  return state.update<unknown, void>(key, () => leave(value, undefined, keepMs));
}

function add(state: SharedState, key: string, n: number): Promise<number> {
  return state.update<number, number>(key, (last = 0) => leave(last + n, last + n));
}

/** What lies under a key, which is then kept for as long as anything. */
function peek(state: SharedState, key: string): Promise<unknown> {
  return state.update<unknown, unknown>(key, (last) => leave(last, last));
}

/** What lies under a key, without touching it: a change that throws leaves all as it is. */
async function look(state: SharedState, key: string): Promise<unknown> {
  const seen: unknown[] = [];
  await state
    .update<unknown, void>(key, (last) => {
      seen[0] = last;
      throw new Error("only looking");
    })
    .catch(() => {});
  return seen[0];
}

function timeOf(state: SharedState): Promise<number> {
  return state.update<unknown, number>("time", (_, now) => ({ next: undefined, keepMs: 0, result: now }));
}
