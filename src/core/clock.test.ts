import { getEventListeners } from "node:events";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { runPrograms } from "../../test/programs.ts";
import { dateFrom, isDate, parseDate, systemClock } from "./clock.ts";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("sleep", () => {
  test("rejects with the signal's reason within one macrotask when it is aborted, and leaves no listener (C1.6)", async () => {
    const controller = new AbortController();
    const reason = new Error("changed my mind");
    let seen: unknown;
    systemClock.sleep(60_000, controller.signal).catch((error: unknown) => (seen = error));
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(1);
    controller.abort(reason);
    await nextTurn();
    expect(seen).toBe(reason);
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  });

  test("does not begin under a signal that is aborted already (C1.6)", async () => {
    const reason = new Error("too late");
    await expect(systemClock.sleep(60_000, AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  test("leaves no listener when it ends by itself", async () => {
    const { signal } = new AbortController();
    await systemClock.sleep(1, signal);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });
});

describe("timers of the system clock", () => {
  test("a wait beyond 2^31-1 ms is put together from several timers (C0.4)", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const set = vi.spyOn(globalThis, "setTimeout");
    const days30 = 30 * 24 * 3_600_000;
    let fired = false;
    systemClock.timer(days30, () => (fired = true));
    vi.advanceTimersByTime(days30 - 1);
    expect(fired).toBe(false);
    vi.advanceTimersByTime(1);
    expect(fired).toBe(true);
    expect(set.mock.calls.map(([, ms]) => ms)).toEqual([2 ** 31 - 1, days30 - (2 ** 31 - 1)]);
  });

  test("a wait that is cancelled in its second part never ends", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    let fired = false;
    const timer = systemClock.timer(2 ** 32, () => (fired = true));
    vi.advanceTimersByTime(2 ** 31 + 5);
    timer.cancel();
    vi.advanceTimersByTime(2 ** 33);
    expect(fired).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a timer that the runtime fires early waits for what is left", async () => {
    const readings = [0, 9.2, 10.1];
    vi.spyOn(performance, "now").mockImplementation(() => readings.shift() ?? 11);
    const left = await new Promise<number>((resolve) => systemClock.timer(10, () => resolve(readings.length)));
    expect(left).toBe(0);
  });

  test("a timer keeps the process alive unless it was unref'd, in its later parts too (C0.4)", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const set = vi.spyOn(globalThis, "setTimeout");
    const alive = (): boolean => (set.mock.results.at(-1)!.value as NodeJS.Timeout).hasRef();
    const timer = systemClock.timer(2 ** 33, () => {});
    expect(alive()).toBe(true);
    const nextPart = (): boolean => {
      const parts = set.mock.calls.length;
      vi.advanceTimersByTime(2 ** 31);
      expect(set.mock.calls.length).toBe(parts + 1);
      return alive();
    };
    expect(nextPart()).toBe(true);
    timer.unref();
    expect([alive(), nextPart()]).toEqual([false, false]);
    timer.ref();
    expect([alive(), nextPart()]).toEqual([true, true]);
    timer.cancel();
  });

  test("where a timer is a number, as in a browser, there is nothing to keep alive and nothing breaks (C0.4)", () => {
    const fns: (() => void)[] = [];
    vi.stubGlobal("setTimeout", (fn: () => void) => fns.push(fn));
    let fired = false;
    const timer = systemClock.timer(-1, () => (fired = true));
    timer.unref();
    timer.ref();
    fns[0]!();
    expect(fired).toBe(true);
  });

  test("a delay that is no number fires at once and does not spin", async () => {
    let fired = 0;
    systemClock.timer(NaN, () => fired++);
    await systemClock.sleep(10);
    expect(fired).toBe(1);
  });
});

describe("recent()", () => {
  test("gives one reading for a turn, and a fresh one for the next", async () => {
    await nextTurn();
    let time = 100;
    vi.spyOn(performance, "now").mockImplementation(() => time);
    expect(systemClock.recent()).toBe(100);
    time = 200;
    expect(systemClock.recent()).toBe(100);
    await nextTurn();
    expect(systemClock.recent()).toBe(200);
  });

  test("where nothing says that a turn has ended, each call reads the clock", async () => {
    await nextTurn();
    vi.stubGlobal("setImmediate", undefined);
    let time = 0;
    vi.spyOn(performance, "now").mockImplementation(() => ++time);
    expect(systemClock.recent()).toBeLessThan(systemClock.recent());
  });

  test("sees time pass also in a turn that never ends", async () => {
    await nextTurn();
    let time = 0;
    vi.spyOn(performance, "now").mockImplementation(() => ++time);
    for (let i = 0; i < 1_000; i++) systemClock.recent();
    expect(systemClock.recent()).toBeGreaterThan(10);
  });
});

describe("after the turn", () => {
  test.each(["setImmediate", "setTimeout"])("comes once what is already due has run, with %s alone", async (only) => {
    vi.stubGlobal(only === "setTimeout" ? "setImmediate" : "setTimeout", undefined);
    const order: string[] = [];
    const done = new Promise<void>((resolve) =>
      systemClock.afterTurn(() => {
        order.push("after the turn");
        resolve();
      }),
    );
    queueMicrotask(() => order.push("due"));
    await done;
    expect(order).toEqual(["due", "after the turn"]);
  });
});

test("durations come from the monotonic clock, instants from the wall clock (C0.4)", () => {
  vi.spyOn(performance, "now").mockReturnValue(5);
  vi.spyOn(Date, "now").mockReturnValue(1_767_225_600_123);
  expect([systemClock.now(), systemClock.wallNow()]).toEqual([5, 1_767_225_600_123]);
});

test("dates are told, made and read here, since no other file may name the class", () => {
  expect(isDate(dateFrom(5))).toBe(true);
  expect(isDate("2026-01-01")).toBe(false);
  expect(dateFrom(5).getTime()).toBe(5);
  expect(dateFrom(NaN).getTime()).toBeNaN();
  expect(parseDate("Thu, 01 Jan 2026 00:00:00 GMT")).toBe(Date.UTC(2026, 0, 1));
  expect(parseDate("soon")).toBeNaN();
});

describe("in a process of its own", () => {
  let printed: Record<"importing" | "idle" | "waiting", string>;
  beforeAll(async () => {
    const resources = "JSON.stringify(process.getActiveResourcesInfo())";
    printed = await runPrograms({
      importing: `
        const before = ${resources};
        await import("SRC/policies/index.ts");
        await import("SRC/core/codec.ts");
        console.log(before === ${resources});`,
      idle: `
        import { CircuitBreaker, pipeline, RetryPolicy, systemClock, Timeout } from "SRC/policies/index.ts";
        const breaker = new CircuitBreaker({ failureThreshold: 1 });
        const guarded = pipeline(new RetryPolicy(), breaker, new Timeout({ attemptTimeoutMs: 60_000 }));
        await guarded.execute(async () => 1);
        await new Timeout({ attemptTimeoutMs: 99 }).execute(async () => 1);
        await breaker.execute(async () => { throw new Error("no"); }).catch(() => {});
        systemClock.timer(60_000, () => {}).unref();
        console.log(breaker.state);`,
      waiting: `
        import { systemClock, Timeout } from "SRC/policies/index.ts";
        const timer = systemClock.timer(20, () => console.log("timer"));
        timer.unref();
        timer.ref();
        new Timeout({ attemptTimeoutMs: 150 }).execute(() => new Promise(() => {})).catch((error) => console.log(error.name));`,
    });
  });

  test("importing the policies and the core starts nothing (C0.4)", () => {
    expect(printed.importing).toBe("true\n");
  });

  test("idle policies, an open breaker and a timer that was unref'd let the process end (C0.4)", () => {
    // Every wait in this program is a minute long; after ten seconds it would have been killed.
    expect(printed.idle).toBe("OPEN\n");
  });

  test("a wait that somebody awaits keeps the process alive (C0.4)", () => {
    expect(printed.waiting).toBe("timer\nTimeoutError\n");
  });
});
