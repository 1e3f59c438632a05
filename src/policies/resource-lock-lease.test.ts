import { getEventListeners } from "node:events";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { ConfigError, LeaseLostError, StoreUnavailableError } from "../core/errors.ts";
import { Clock, type Timer } from "../core/clock.ts";
import { Events } from "../core/events.ts";
import { ContentionDetectedError } from "../core/policy-errors.ts";
import { seededRandom } from "../core/random.ts";
import type { SharedChange, SharedState } from "../core/shared-state.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { FakeClock, record } from "../testing/fake-clock.ts";
import { detectContention } from "./decorate.ts";
import { type LockPermit, ResourceLock, type ResourceLockOptions } from "./resource-lock.ts";
import { sharing } from "./sharing.ts";

const LEASE_MS = 900;

/** A clock of a process that can be stopped: what falls due meanwhile happens, late, when it goes on. */
class ProcessClock extends Clock {
  readonly #world: FakeClock;
  readonly #late = new Set<() => void>();
  #resume: (() => void) | null = null;
  /** Resolves when the process is running. */
  running: Promise<void> = Promise.resolve();

  constructor(world: FakeClock) {
    super();
    this.#world = world;
  }

  get stopped(): boolean {
    return this.#resume !== null;
  }

  now(): number {
    return this.#world.now();
  }

  wallNow(): number {
    return this.#world.wallNow();
  }

  afterTurn(fn: () => void): void {
    this.#world.afterTurn(fn);
  }

  timer(delayMs: number, fn: () => void): Timer {
    const due = (): void => {
      if (this.stopped) this.#late.add(fn);
      else fn();
    };
    const timer = this.#world.timer(delayMs, due);
    return {
      cancel: () => {
        this.#late.delete(fn);
        timer.cancel();
      },
      ref: () => timer.ref(),
      unref: () => timer.unref(),
    };
  }

  stop(): void {
    this.running = new Promise((resolve) => (this.#resume = resolve));
  }

  goOn(): void {
    this.#resume?.();
    this.#resume = null;
    for (const fn of this.#late) {
      this.#late.delete(fn);
      fn();
    }
  }
}

type Wait = (what: string) => Promise<void>;

/** A process as the lock sees it: its own clock, events, and way to the shared state, which can fail. */
class Process {
  readonly clock: ProcessClock;
  readonly events: Events;
  readonly state: SharedState;
  /** What the way to the shared state does: nothing special, reject, or never answer. */
  way: "open" | "refuses" | "silent" = "open";
  updates = 0;

  constructor(world: FakeClock, place: SharedState, wait: Wait = async () => {}) {
    this.clock = new ProcessClock(world);
    this.events = new Events(world);
    this.state = {
      sharing,
      update: async <T, R>(
        key: string,
        change: (last: T | undefined, now: number) => SharedChange<T, R>,
      ): Promise<R> => {
        this.updates++;
        await wait("request");
        if (this.way === "refuses") throw new StoreUnavailableError("The place is away.");
        if (this.way === "silent") return new Promise<never>(() => {});
        const result = await place.update(key, change);
        await wait("answer");
        await this.clock.running;
        return result;
      },
      close: () => place.close(),
    };
  }

  lock(options: ResourceLockOptions = {}): ResourceLock {
    const { clock, events } = this;
    const mine = { name: "ledger", lease: this.state, leaseMs: LEASE_MS, ...options };
    return new ResourceLock(mine, { clock, events, random: seededRandom(3) });
  }
}

let clock: FakeClock;
let place: MemorySharedState;
let one: Process;
let two: Process;

beforeEach(() => {
  clock = new FakeClock();
  place = new MemorySharedState({ clock });
  one = new Process(clock, place);
  two = new Process(clock, place);
});

/** What a promise has come to so far. */
function watch<T>(promise: Promise<T>): { value?: T; error?: unknown; settled: boolean } {
  const seen: { value?: T; error?: unknown; settled: boolean } = { settled: false };
  promise.then(
    (value) => Object.assign(seen, { value, settled: true }),
    (error: unknown) => Object.assign(seen, { error, settled: true }),
  );
  return seen;
}

describe("a lock with a lease", () => {
  test("is one lock for all processes, and its tokens rise (C3.3)", async () => {
    const first = await one.lock().acquire("import");
    const waiting = watch(two.lock().acquire("report"));
    await clock.advance(5 * LEASE_MS);
    expect(waiting.settled).toBe(false);
    first.release();
    await clock.advance(250);
    const second = waiting.value!;
    expect(second.fencingToken).toBeGreaterThan(first.fencingToken!);
    expect(second.signal.aborted).toBe(false);
    second.release();
    await clock.advance(10 * LEASE_MS);
    const third = await one.lock().acquire("again");
    expect(third.fencingToken).toBeGreaterThan(second.fencingToken!);
    third.release();
    expect(clock.pendingTimers).toBe(0);
  });

  test("has a limit over all processes (C3.3)", async () => {
    const locks = [one, two].map((process) => process.lock({ maxConcurrent: 3 }));
    const permits = await Promise.all([0, 1, 0].map((i) => locks[i]!.acquire(`holder ${i}`)));
    expect(new Set(permits.map(({ fencingToken }) => fencingToken)).size).toBe(3);
    const fourth = watch(locks[1]!.acquire("fourth"));
    await clock.advance(3000);
    expect(fourth.settled).toBe(false);
    permits[0]!.release();
    await clock.advance(250);
    expect(fourth.value?.holderId).toBe("fourth");
    for (const permit of [...permits, fourth.value!]) permit.release();
  });

  test("is told by its name, and by no other lock of that name elsewhere (C3.3)", async () => {
    const permits = await Promise.all([
      one.lock().acquire("a"),
      two.lock({ name: "other" }).acquire("a"),
      new Process(clock, new MemorySharedState({ clock })).lock().acquire("a"),
    ]);
    for (const permit of permits) permit.release();
  });

  test("without one it is local: no token, and a signal that never aborts (C3.3)", async () => {
    const lock = new ResourceLock({ name: "ledger" });
    const permit = await lock.acquire("a");
    expect(permit.fencingToken).toBe(undefined);
    expect(permit.signal.aborted).toBe(false);
    permit.release();
    expect(lock.describe().options).toMatchObject({ hasSharedState: false });
    expect(one.lock().describe().options).toMatchObject({ hasSharedState: true, leaseMs: LEASE_MS });
    expect(one.lock({ leaseMs: undefined }).describe().options).toMatchObject({ leaseMs: 10_000 });
  });

  test("options are checked (C0.3)", () => {
    expect(() => new ResourceLock({ lease: {} as SharedState })).toThrow(/lock\.lease must be a shared state/);
    expect(() => one.lock({ leaseMs: 0 })).toThrow(ConfigError);
    expect(() => new ResourceLock({ leaseMs: 5 })).toThrow(/leaseMs needs lock\.lease/);
  });

  test("detectContention takes it too (C1.8)", async () => {
    const guarded = detectContention({ name: "ledger", lease: two.state, leaseMs: LEASE_MS });
    const held = await one.lock().acquire("import");
    const booking = watch(guarded(async () => "booked")());
    // A function that is wrapped lives by the clock of the machine.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(booking.settled).toBe(false);
    held.release();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(booking.value).toBe("booked");
  });
});

describe("waiting for a shared lock", () => {
  test("asks again at the latest after 250 ms, and at once when the lease of the holder runs out (C3.3)", async () => {
    await one.lock().acquire("dies");
    one.clock.stop();
    const waiting = watch(two.lock().acquire("next"));
    await clock.advance(LEASE_MS - 1);
    expect(waiting.settled).toBe(false);
    expect(two.updates).toBeGreaterThanOrEqual(4);
    expect(two.updates).toBeLessThanOrEqual(19);
    await clock.advance(1);
    expect(waiting.value?.holderId).toBe("next");
    waiting.value!.release();
    one.clock.goOn();
  });

  test("is first come, first served within a process, and its own release is heard at once (C3.3)", async () => {
    const lock = one.lock();
    const order: string[] = [];
    const first = await lock.acquire("a");
    const others = ["b", "c", "d"].map((id) =>
      lock.acquire(id).then((permit) => {
        order.push(id);
        permit.release();
      }),
    );
    first.release();
    await Promise.all(others);
    expect(order).toEqual(["b", "c", "d"]);
    expect(clock.now()).toBe(0);
  });

  test("hears of a permit that its own process gives back at once, also where another process has one too (C3.3)", async () => {
    const mine = one.lock({ maxConcurrent: 2 });
    const held = [await mine.acquire("a"), await two.lock({ maxConcurrent: 2 }).acquire("b")];
    const waiting = watch(mine.acquire("c"));
    await clock.advance(10);
    held[0]!.release();
    await clock.advance(0);
    expect(waiting.value?.holderId).toBe("c");
    for (const permit of [held[1]!, waiting.value!]) permit.release();
  });

  test("while the process itself has all permits the shared state is left alone (C3.3)", async () => {
    const lock = one.lock({ leaseMs: 1e6 });
    const first = await lock.acquire("a");
    const waiting = watch(lock.acquire("b"));
    const { updates } = one;
    await clock.advance(20_000);
    expect(one.updates).toBe(updates);
    first.release();
    await clock.advance(0);
    waiting.value!.release();
  });

  test("is not overtaken for ever by those who are nearer to the place (C3.3)", async () => {
    const far = new Process(clock, place, () => clock.sleep(475));
    let goesOn = true;
    const again = async (lock: ResourceLock): Promise<void> => {
      while (goesOn) await lock.withPermit(() => clock.sleep(60));
    };
    const near = [again(one.lock()), again(two.lock())];
    await clock.advance(100);
    const acquired = watch(far.lock({ acquireTimeoutMs: 3_000, leaseMs: 3_000 }).acquire("far"));
    await clock.advance(3_000);
    acquired.value?.release();
    goesOn = false;
    await clock.advance(LEASE_MS);
    await Promise.all(near);
    expect(acquired).toMatchObject({ settled: true, value: { holderId: "far" } });
  });

  test("ends with the holders of all processes in the error, the events and the count (C3.3)", async () => {
    const locks = [
      one.lock({ maxConcurrent: 2 }),
      two.lock({ maxConcurrent: 2, acquireTimeoutMs: 400, contentionThresholdMs: 100 }),
    ];
    const log = record(two.events);
    const permits = [await locks[0]!.acquire("import"), await locks[1]!.acquire("export")];
    const error = watch(locks[1]!.acquire("report"));
    await clock.advance(400);
    expect(error.error).toBeInstanceOf(ContentionDetectedError);
    expect(error.error).toMatchObject({ resource: "ledger", waitMs: 400, holders: ["import", "export"] });
    expect(log).toMatchObject([
      { type: "lock.contended", waitMs: 100, holders: ["import", "export"] },
      { type: "lock.timed_out", waitMs: 400, holders: ["import", "export"] },
    ]);
    expect(locks[1]!.getStats()).toMatchObject({
      timeouts: 1,
      contentionCount: 1,
      currentHolders: ["export"],
      capacity: 2,
    });
    for (const permit of permits) permit.release();
    await clock.advance(1000);
    const later = await locks[1]!.acquire("later");
    later.release();
  });

  test("asks no more when its time is up, and gives up its place in line (C3.3)", async () => {
    const { clock: own, events } = two;
    const options = { name: "ledger", lease: two.state, leaseMs: LEASE_MS, acquireTimeoutMs: 750 };
    const patient = new ResourceLock(options, { clock: own, events, random: () => 1 });
    const held = await one.lock().acquire("holder");
    const waiting = watch(patient.acquire("waits"));
    await clock.advance(749);
    expect(two.updates).toBe(3);
    await clock.advance(1);
    expect(waiting.error).toBeInstanceOf(ContentionDetectedError);
    // The last one takes its place out of the line.
    expect(two.updates).toBe(4);
    held.release();
    await clock.advance(0);
    const next = await one.lock({ acquireTimeoutMs: 0 }).acquire("next");
    next.release();
  });

  test("a single try takes the time of its answer, also the longest (C3.3)", async () => {
    const slow = new Process(clock, place, (what) => (what === "request" ? clock.sleep(1_000) : Promise.resolve()));
    const asked = watch(slow.lock({ acquireTimeoutMs: 0, leaseMs: 10_000 }).acquire("slow"));
    await clock.advance(1_000);
    expect(asked.value?.holderId).toBe("slow");
    asked.value!.release();
    await clock.advance(1_000);
  });

  test("with acquireTimeoutMs 0 it asks once (C3.3)", async () => {
    const permit = await one.lock().acquire("import");
    const lock = two.lock({ acquireTimeoutMs: 0 });
    await expect(lock.acquire("report")).rejects.toMatchObject({ code: "CONTENTION", holders: ["import"] });
    expect(two.updates).toBe(1);
    permit.release();
    const next = await lock.acquire("report");
    next.release();
    expect(clock.pendingTimers).toBe(0);
  });

  test("an abort ends it at once, at whichever step, and leaves nothing behind (C1.6)", async () => {
    const cases = [0, 30_000].flatMap((acquireTimeoutMs) => [true, false].map((busy) => ({ acquireTimeoutMs, busy })));
    for (const { acquireTimeoutMs, busy } of cases)
      for (let ticks = 0; ticks < 30; ticks++) {
        const held = busy ? await one.lock().acquire("import") : null;
        const caller = new AbortController();
        const lock = two.lock({ acquireTimeoutMs });
        const waiting = watch(lock.acquire("report", { signal: caller.signal }));
        for (let i = 0; i < ticks; i++) await Promise.resolve();
        caller.abort("gone");
        await clock.advance(0);
        // A single try may have been refused by then.
        const refused = busy && acquireTimeoutMs === 0 && waiting.error instanceof ContentionDetectedError;
        if (waiting.value !== undefined) waiting.value.release();
        else if (!refused) expect(waiting).toMatchObject({ error: "gone" });
        held?.release();
        await clock.advance(0);
        const free = await one.lock({ acquireTimeoutMs: 0 }).acquire("next");
        free.release();
        expect(lock.getStats()).toMatchObject({ currentHolders: [], timeouts: refused ? 1 : 0 });
        expect(clock.pendingTimers).toBe(0);
      }
  });

  test("an abort right after its own process has handed on a permit asks nobody any more (C1.6)", async () => {
    for (let ticks = 0; ticks < 12; ticks++) {
      const lock = one.lock({ name: `lock ${ticks}` });
      const held = await lock.acquire("a");
      const caller = new AbortController();
      const waiting = watch(lock.acquire("b", { signal: caller.signal }));
      one.way = "silent";
      held.release();
      for (let i = 0; i < ticks; i++) await Promise.resolve();
      caller.abort("gone");
      await clock.advance(0);
      expect(waiting).toMatchObject({ settled: true, error: "gone" });
      one.way = "open";
    }
  });

  test("what is granted after the caller has given up is given back (C3.3)", async () => {
    for (const giveUp of ["abort", "timeout", "deadline"]) {
      let answer: (() => void) | null = null;
      const slow = new Process(clock, place, (what) =>
        what === "answer" && answer === null ? new Promise((resolve) => (answer = resolve)) : Promise.resolve(),
      );
      const caller = new AbortController();
      const lock = slow.lock({ acquireTimeoutMs: giveUp === "timeout" ? 100 : 30_000 });
      const deadlineMs = giveUp === "deadline" ? 100 : undefined;
      const waiting = watch(lock.acquire("late", { signal: caller.signal, deadlineMs }));
      await clock.advance(100);
      if (giveUp === "abort") caller.abort("gone");
      await clock.advance(0);
      expect(waiting.error).toEqual(giveUp === "abort" ? "gone" : expect.any(ContentionDetectedError));
      const other = watch(two.lock().acquire("next"));
      await clock.advance(0);
      expect(other.settled).toBe(false);
      answer!();
      await clock.advance(250);
      expect(other.value?.holderId).toBe("next");
      other.value!.release();
      await clock.advance(0);
    }
  });

  test("a grant that is heard of too late is not taken up again, though it still lasts in the shared state (C3.3)", async () => {
    const delays = [290, 10];
    const slow = new Process(clock, place, async () => {
      const delayMs = delays.shift() ?? 0;
      if (delayMs > 0) await clock.sleep(delayMs);
    });
    const late = watch(slow.lock({ leaseMs: 300 }).acquire("late"));
    await clock.advance(299);
    expect(late.settled).toBe(false);
    while (late.value === undefined) await clock.advance(1);
    const { signal } = late.value;
    slow.way = "silent";
    const next = watch(two.lock({ leaseMs: 300 }).acquire("next"));
    while (next.value === undefined) await clock.advance(1);
    // Nobody else has it before the first one knows that it is lost.
    expect(signal.aborted).toBe(true);
    for (const permit of [late.value, next.value]) permit.release();
  });

  test("an answer that comes when its lease has run out is no permit (C3.3)", async () => {
    let answer: (() => void) | null = null;
    const slow = new Process(clock, place, (what) =>
      what === "answer" && answer === null ? new Promise((resolve) => (answer = resolve)) : Promise.resolve(),
    );
    const waiting = watch(slow.lock({ leaseMs: 300 }).acquire("late"));
    await clock.advance(300);
    answer!();
    await clock.advance(250);
    expect(waiting.value?.signal.aborted).toBe(false);
    await clock.advance(100_000);
    expect(waiting.value?.signal.aborted).toBe(false);
    waiting.value!.release();
  });
});

describe("a process that takes the lock again and again", () => {
  test("leaves it to others who wait (C3.3)", async () => {
    const lock = one.lock();
    let turns = 0;
    let enough = false;
    const busy = (async () => {
      while (!enough) {
        turns++;
        await lock.withPermit(() => one.clock.sleep(10));
      }
    })();
    for (let i = 0; i < 5; i++) {
      const next = watch(two.lock().acquire("next"));
      await clock.advance(1000);
      expect(next.value?.holderId).toBe("next");
      next.value!.release();
    }
    expect(turns).toBeGreaterThan(100);
    enough = true;
    await clock.advance(1000);
    await busy;
  });
});

describe("a lease", () => {
  test("is kept as long as it is renewed, by a timer that keeps no process alive (C3.3)", async () => {
    const permit = await one.lock().acquire("a");
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(100 * LEASE_MS);
    expect(permit.signal.aborted).toBe(false);
    expect(one.updates).toBe(1 + 300);
    permit.release();
    await clock.advance(10 * LEASE_MS);
    expect(one.updates).toBe(1 + 300 + 1);
  });

  test("of a process that stood still is lost when it goes on, and its release frees nobody's else (C3.3, C6.4)", async () => {
    const log = record(one.events);
    const stalled = await one.lock().acquire("stalled");
    const { signal } = stalled;
    one.clock.stop();
    const waiting = watch(two.lock().acquire("successor"));
    await clock.advance(2 * LEASE_MS);
    const successor = waiting.value!;
    expect(successor.fencingToken).toBeGreaterThan(stalled.fencingToken!);
    one.clock.goOn();
    expect(signal.aborted).toBe(true);
    const lost = signal.reason as LeaseLostError;
    expect(lost).toBeInstanceOf(LeaseLostError);
    expect(lost).toMatchObject({ code: "LEASE_LOST", lockName: "ledger", token: stalled.fencingToken });
    expect(lost.message).toMatch(/lock "ledger" \(fencing token 1\) is lost: it could not be renewed in time/);
    expect(log).toMatchObject([{ type: "lock.lost", policy: "ledger", holder: "stalled", token: 1, error: lost }]);
    stalled.release();
    await clock.advance(0);
    await expect(one.lock({ acquireTimeoutMs: 0 }).acquire("third")).rejects.toMatchObject({ holders: ["successor"] });
    expect(successor.signal.aborted).toBe(false);
    successor.release();
    expect(log.filter(({ type }) => type === "lock.lost")).toHaveLength(1);
  });

  test("that is found to have run out in the shared state is lost, though the process thought otherwise (C3.3)", async () => {
    const permit = await one.lock().acquire("a");
    await place.update("lock:ledger", () => ({ next: undefined, keepMs: 0, result: undefined }));
    await clock.advance(LEASE_MS / 3);
    expect(permit.signal.reason).toMatchObject({ code: "LEASE_LOST" });
    expect((permit.signal.reason as Error).message).toMatch(/it had run out before it was renewed/);
    permit.release();
  });

  test.each(["refuses", "silent"] as const)(
    "while the shared state %s it is kept until its time is up, counted from before the last request (C3.3)",
    async (way) => {
      const lock = one.lock();
      const permit = await lock.acquire("a");
      await clock.advance(LEASE_MS / 3);
      one.way = way;
      // The last renewal that was answered was sent at a third of the first lease.
      await clock.advance(LEASE_MS - 1);
      expect(permit.signal.aborted).toBe(false);
      const { updates } = one;
      await clock.advance(1);
      expect(permit.signal.reason).toBeInstanceOf(LeaseLostError);
      // In that moment it is too late to ask once more.
      expect(one.updates).toBe(updates);
      one.way = "open";
      permit.release();
      const next = await two.lock({ acquireTimeoutMs: 0 }).acquire("b");
      next.release();
    },
  );

  test("whose answer was slow has lasted since it was asked for, and so has a renewal (C3.3)", async () => {
    let delayMs = 500;
    const slow = new Process(clock, place, async (what) => {
      if (what === "request") return;
      await clock.sleep(delayMs);
      delayMs = 250;
    });
    const asked = watch(slow.lock().acquire("slow"));
    await clock.advance(500);
    const { signal } = asked.value!;
    // The renewal is sent at 500, since it is due then, and answered at 750: it holds until 1400.
    await clock.advance(250);
    slow.way = "silent";
    await clock.advance(649);
    expect(signal.aborted).toBe(false);
    await clock.advance(1);
    expect(signal.reason).toBeInstanceOf(LeaseLostError);
    const silent = new Process(clock, new MemorySharedState({ clock }), (what) =>
      what === "answer" ? clock.sleep(500) : Promise.resolve(),
    );
    const other = watch(silent.lock().acquire("silent"));
    await clock.advance(499);
    silent.way = "silent";
    await clock.advance(LEASE_MS - 500);
    const held = other.value!.signal;
    expect(held.aborted).toBe(false);
    await clock.advance(1);
    expect(held.aborted).toBe(true);
    for (const permit of [asked.value!, other.value!]) permit.release();
  });

  test("that could not be renewed once is renewed soon after (C3.3)", async () => {
    const permit = await one.lock().acquire("a");
    one.way = "refuses";
    await clock.advance(LEASE_MS / 3);
    one.way = "open";
    await clock.advance(100 * LEASE_MS);
    expect(permit.signal.aborted).toBe(false);
    permit.release();
  });

  test("is not lost after its release, whatever is still under way (C3.3)", async () => {
    const log = record(one.events);
    const permit = await one.lock().acquire("a");
    one.way = "silent";
    await clock.advance(LEASE_MS / 2);
    permit.release();
    permit.release();
    await clock.advance(10 * LEASE_MS);
    expect(permit.signal.aborted).toBe(false);
    expect(log).toEqual([]);
    expect(clock.pendingTimers).toBe(0);
  });

  test.each(["refuses", "open"] as const)(
    "is not lost after its release, though a renewal was under way that the place then %s (C3.3)",
    async (way) => {
      let delayMs = 0;
      const slow = new Process(clock, place, async () => {
        if (delayMs > 0) await clock.sleep(delayMs);
      });
      const log = record(slow.events);
      const permit = await slow.lock().acquire("a");
      delayMs = 10;
      await clock.advance(LEASE_MS / 3 + 5);
      permit.release();
      permit.release();
      slow.way = way;
      await clock.advance(10 * LEASE_MS);
      expect(permit.signal.aborted).toBe(false);
      expect(log).toEqual([]);
      expect(slow.updates).toBe(3);
    },
  );

  test("that has run out in a stall shows it to a holder who goes on before its timer does (C3.3)", async () => {
    for (const look of ["signal", "release"]) {
      const log = record(one.events);
      const permit = await one.lock().acquire("a");
      one.clock.stop();
      await clock.advance(LEASE_MS);
      if (look === "signal") expect(permit.signal.reason).toBeInstanceOf(LeaseLostError);
      permit.release();
      expect(log).toMatchObject([{ type: "lock.lost", holder: "a" }]);
      one.clock.goOn();
      expect(log).toHaveLength(1);
    }
  });

  test("that is lost before anybody looks at the signal shows there all the same (C3.3)", async () => {
    const permit = await one.lock().acquire("a");
    one.way = "silent";
    await clock.advance(LEASE_MS);
    expect(permit.signal.aborted).toBe(true);
    permit.release();
  });
});

describe("as a policy", () => {
  test("an operation whose lease is lost is told to stop, with the reason (C3.3)", async () => {
    const work = watch(
      one
        .lock()
        .execute(
          ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
        ),
    );
    const outcome = watch(
      two.lock({ name: "other" }).executeOutcome(({ signal }) => clock.sleep(1e9, signal), { key: "report" }),
    );
    await clock.advance(2 * LEASE_MS);
    expect([work.settled, outcome.settled]).toEqual([false, false]);
    one.way = two.way = "silent";
    await clock.advance(LEASE_MS);
    expect(work.error).toBeInstanceOf(LeaseLostError);
    expect(outcome.value).toMatchObject({
      ok: false,
      refused: false,
      error: { code: "LEASE_LOST", lockName: "other" },
    });
  });

  test("the caller's own abort reaches the operation, and the permit is given back (C1.6)", async () => {
    const caller = new AbortController();
    const work = watch(one.lock().execute(({ signal }) => clock.sleep(1e9, signal), { signal: caller.signal }));
    await clock.advance(10);
    caller.abort("enough");
    await clock.advance(0);
    expect(work.error).toBe("enough");
    const next = await two.lock({ acquireTimeoutMs: 0 }).acquire("b");
    next.release();
  });

  test("an operation that has ended leaves no listener on the signal of its caller (C1.6)", async () => {
    const caller = new AbortController();
    const work = one.lock().execute(({ signal }) => clock.sleep(10, signal), { signal: caller.signal });
    await clock.advance(10);
    await work;
    expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
  });

  test("a permit of withPermit shows its token to the function, whose errors pass through (C3.3)", async () => {
    const boom = new Error("boom");
    const failing = one.lock().withPermit(({ fencingToken }) => {
      expect(fencingToken).toBe(1);
      throw boom;
    });
    await expect(failing).rejects.toBe(boom);
    expect(await two.lock({ acquireTimeoutMs: 0 }).execute(() => "free")).toBe("free");
  });
});

describe("where the shared state is away", () => {
  test("nobody gets the lock, and the error says why (C3.3)", async () => {
    one.way = "refuses";
    const lock = one.lock();
    await expect(lock.acquire("a")).rejects.toThrow(StoreUnavailableError);
    expect(await lock.executeOutcome(() => "never")).toMatchObject({ ok: false, error: { code: "STORE_UNAVAILABLE" } });
    one.way = "silent";
    const silent = watch(lock.acquire("a"));
    await clock.advance(999);
    expect(silent.settled).toBe(false);
    await clock.advance(1);
    expect(silent.error).toBeInstanceOf(StoreUnavailableError);
    expect((silent.error as Error).message).toMatch(/did not answer within 1000 ms when lock "ledger" was asked for/);
    one.way = "open";
    const permit = await lock.acquire("a");
    permit.release();
    expect(lock.getStats()).toMatchObject({ timeouts: 0, currentHolders: [] });
    expect(clock.pendingTimers).toBe(0);
  });

  test("a place that throws at once is one that rejects: a release throws nothing and frees what is here (C0.6, C3.3)", async () => {
    const { update } = one.state;
    const broken = (): never => {
      throw new TypeError("broken");
    };
    const lock = one.lock({ acquireTimeoutMs: 0 });
    const permit = await lock.acquire("a");
    one.state.update = broken;
    permit.release();
    await expect(lock.acquire("b")).rejects.toThrow("broken");
    one.state.update = update;
    await clock.advance(LEASE_MS);
    expect(await lock.withPermit(() => "done")).toBe("done");
  });
});

type Step =
  | { what: "ask" | "release" | "stop" | "go on"; who: number }
  | { what: "pass"; ms: number }
  | { what: "deliver"; count: number };

test("under any order of messages, pauses and stalls, no two running processes hold it, and tokens rise (C3.3, C6.4)", async () => {
  const who = fc.integer({ min: 0, max: 2 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 3, arbitrary: fc.record({ what: fc.constant("ask" as const), who }) },
    { weight: 2, arbitrary: fc.record({ what: fc.constant("release" as const), who }) },
    {
      weight: 2,
      arbitrary: fc.record({ what: fc.constantFrom("stop" as const, "stop" as const, "go on" as const), who }),
    },
    { weight: 4, arbitrary: fc.record({ what: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 900 }) }) },
    {
      weight: 5,
      arbitrary: fc.record({ what: fc.constant("deliver" as const), count: fc.integer({ min: 1, max: 6 }) }),
    },
  );
  let granted = 0;
  let lost = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(step, { maxLength: 40 }),
      fc.integer({ min: 1, max: 2 }),
      async (scheduler, steps, maxConcurrent) => {
        const world = new FakeClock();
        const shared = new MemorySharedState({ clock: world });
        let tokens: number[] = [];
        let quiet = false;
        const wait: Wait = async (what) => {
          if (!quiet) await scheduler.schedule(Promise.resolve(), what);
        };
        const watching: SharedState = {
          sharing,
          update: async <T, R>(
            key: string,
            change: (last: T | undefined, now: number) => SharedChange<T, R>,
          ): Promise<R> => {
            const result = await shared.update(key, change);
            const token = (result as { token?: number | null } | undefined)?.token;
            if (typeof token === "number") tokens.push(token);
            return result;
          },
          close: () => shared.close(),
        };
        const processes = [0, 1, 2].map(() => new Process(world, watching, wait));
        const locks = processes.map((process) =>
          process.lock({ maxConcurrent, leaseMs: 600, acquireTimeoutMs: 5000, contentionThresholdMs: 9000 }),
        );
        // Reading the signal of a permit looks at the clock, so the signals are those that were read at first.
        const permits: Map<LockPermit, AbortSignal>[] = [new Map(), new Map(), new Map()];
        const asks: Promise<unknown>[] = [];
        const check = (): void => {
          let held = 0;
          for (const [
            i,
            {
              clock: { stopped },
            },
          ] of processes.entries()) {
            if (stopped) continue;
            for (const signal of permits[i]!.values()) if (!signal.aborted) held++;
          }
          expect(held).toBeLessThanOrEqual(maxConcurrent);
          expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));
        };
        const release = (permit: LockPermit, i: number): void => {
          if (permits[i]!.get(permit)!.aborted) lost++;
          permits[i]!.delete(permit);
          permit.release();
        };
        for (const now of steps) {
          if (now.what === "pass") {
            // In small steps, so that each instant is looked at.
            for (let left = now.ms; left > 0; left -= 50) {
              await world.advance(Math.min(50, left));
              check();
            }
          } else if (now.what === "deliver") {
            for (let i = 0; i < now.count && scheduler.count() > 0; i++) {
              await scheduler.waitOne();
              await world.advance(0);
              check();
            }
          } else if (now.what === "stop") processes[now.who]!.clock.stop();
          else if (now.what === "go on") processes[now.who]!.clock.goOn();
          else if (processes[now.who]!.clock.stopped) continue;
          else if (now.what === "ask") {
            asks.push(
              locks[now.who]!.acquire(`${now.who}`).then(
                (permit) => {
                  granted++;
                  permits[now.who]!.set(permit, permit.signal);
                },
                (error: unknown) =>
                  expect(["CONTENTION", "STORE_UNAVAILABLE"]).toContain((error as { code: string }).code),
              ),
            );
            await world.advance(0);
          } else {
            for (const permit of permits[now.who]!.keys()) release(permit, now.who);
            await world.advance(0);
          }
          check();
        }
        // In the end all go on, and everybody who waits gets it or gives up.
        for (const { clock: own } of processes) own.goOn();
        quiet = true;
        for (let i = 0; i < 60; i++) {
          while (scheduler.count() > 0) await scheduler.waitOne();
          await world.advance(200);
          check();
          permits.forEach((held, of) => [...held.keys()].forEach((permit) => release(permit, of)));
        }
        await Promise.all(asks);
        expect(locks.map((lock) => lock.getStats().currentHolders)).toEqual([[], [], []]);
        tokens = [];
        expect(await locks[0]!.execute(() => "free")).toBe("free");
        expect(world.pendingTimers).toBe(0);
      },
    ),
    { numRuns: 400 },
  );
  // A search that grants nothing, or never loses a lease, looks at nothing.
  expect(granted).toBeGreaterThan(100);
  expect(lost).toBeGreaterThan(5);
}, 60_000);
