import type { SharedChange, SharedState } from "../src/core/shared-state.ts";
import { sharing } from "../src/policies/sharing.ts";
import { MemorySharedState } from "../src/stores/memory-shared-state.ts";
import type { FakeClock } from "../src/testing/fake-clock.ts";

// Shared states with one fault each. The contract must find every one of them.

type Change = (last: unknown, now: number) => SharedChange<unknown, unknown>;

/** A sound state that does one thing wrong: `faulty` makes an update out of the sound one. */
class Broken implements SharedState {
  readonly sharing = sharing;
  readonly #faulty: (key: string, change: Change) => Promise<unknown>;

  constructor(faulty: (key: string, change: Change) => Promise<unknown>) {
    this.#faulty = faulty;
  }

  update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R> {
    return this.#faulty(key, change as Change) as Promise<R>;
  }

  async close(): Promise<void> {}
}

/** How a faulty state is opened, and a part of the title of the case that must find it. */
interface Fault {
  open: () => (clock: FakeClock) => SharedState;
  found: string;
}

/** All handles of a place are the same one. */
function once(make: (clock: FakeClock, sound: MemorySharedState) => SharedState): Fault["open"] {
  return () => {
    let state: SharedState | undefined;
    return (clock) => (state ??= make(clock, new MemorySharedState({ clock })));
  };
}

const look = (last: unknown): SharedChange<unknown, unknown> => ({ next: last, keepMs: Infinity, result: last });

export const BROKEN_STATES: Readonly<Record<string, Fault>> = {
  "that brings nothing along": {
    open: once((_, sound) => {
      const { sharing: _sharing, ...bare } = new Broken((key, change) => sound.update(key, change));
      return bare as SharedState;
    }),
    found: "brings along what policies need",
  },
  "that loses updates which come at the same time": {
    open: once(
      (_, sound) =>
        new Broken(async (key, change) => {
          const last = await sound.update(key, look);
          const [now] = [
            await sound.update<unknown, number>("", (__, at) => ({ next: undefined, keepMs: 0, result: at })),
          ];
          const made = change(last, now);
          return sound.update(key, () => made);
        }),
    ),
    found: "no update is lost among many",
  },
  "whose time follows the wall clock": {
    open: once(
      (clock, sound) => new Broken((key, change) => sound.update(key, (last) => change(last, clock.wallNow()))),
    ),
    found: "the wall clock changes nothing",
  },
  "whose time runs backwards": {
    open: once((_, sound) => {
      let asked = 0;
      return new Broken((key, change) => sound.update(key, (last, now) => change(last, now - asked++)));
    }),
    found: "never runs backwards",
  },
  "whose handles have a time of their own": {
    open: () => {
      const sounds: MemorySharedState[] = [];
      let handles = 0;
      return (clock) => {
        const sound = (sounds[0] ??= new MemorySharedState({ clock }));
        const ahead = handles++ * 5000;
        return new Broken((key, change) => sound.update(key, (last, now) => change(last, now + ahead)));
      };
    },
    found: "is the same for all handles",
  },
  "that keeps things for ever": {
    open: once(
      (_, sound) =>
        new Broken((key, change) => sound.update(key, (last, now) => ({ ...change(last, now), keepMs: Infinity }))),
    ),
    found: "what keepMs has passed for is gone",
  },
  "that keeps the first keepMs": {
    open: once((_, sound) => {
      const until = new Map<string, number>();
      return new Broken((key, change) =>
        sound.update(key, (last, now) => {
          const made = change(last, now);
          if (last === undefined) until.set(key, now + made.keepMs);
          return { ...made, keepMs: Math.max(0, until.get(key)! - now) };
        }),
      );
    }),
    found: "each update says anew",
  },
  "whose batch fails with one change": {
    open: once((_, sound) => {
      let batch: Promise<unknown> | null = null;
      return new Broken((key, change) => {
        const before = batch ?? Promise.resolve();
        const mine = before.then(() => sound.update(key, change));
        batch = mine;
        mine.then(
          () => batch === mine && (batch = null),
          () => batch === mine && (batch = null),
        );
        return mine;
      });
    }),
    found: "a change that throws rejects its own update alone",
  },
  "that swallows what a change throws": {
    open: once(
      (_, sound) =>
        new Broken((key, change) =>
          sound.update(key, change).catch((error: unknown) => {
            if (error instanceof Error && error.message === "no") return undefined;
            throw error;
          }),
        ),
    ),
    found: "a change that throws rejects its own update alone",
  },
  "that shares its objects": {
    open: () => {
      const values = new Map<string, unknown>();
      return (clock) =>
        new Broken(async (key, change) => {
          const { next, result } = change(values.get(key), clock.now());
          values.set(key, next);
          return result;
        });
    },
    found: "nobody shares an object",
  },
  "that keeps its keys in an object": {
    open: once(
      (_, sound) => new Broken((key, change) => sound.update(key === "__proto__" ? "constructor" : key, change)),
    ),
    found: "each key has its own value",
  },
  "that reads keys up to a NUL": {
    open: once((_, sound) => new Broken((key, change) => sound.update(key.split("\0")[0]!, change))),
    found: "each key has its own value",
  },
  "that turns half surrogates into one sign": {
    open: once(
      (_, sound) =>
        new Broken((key, change) => sound.update(new TextDecoder().decode(new TextEncoder().encode(key)), change)),
    ),
    found: "each key has its own value",
  },
  "whose handles do not see each other": {
    open: () => (clock) => new MemorySharedState({ clock }),
    found: "each key has its own value",
  },
  "that goes on after it was closed": {
    open: once((_, sound) => new Broken((key, change) => sound.update(key, change))),
    found: "an update on a closed handle",
  },
  "that makes updates in another order": {
    open: once((_, sound) => {
      let asked = 0;
      return new Broken(async (key, change) => {
        if (asked++ % 2 === 0) await Promise.resolve();
        return sound.update(key, change);
      });
    }),
    found: "in the order in which they were asked for",
  },
};
