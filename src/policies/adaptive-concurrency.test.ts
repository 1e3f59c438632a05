import { AsyncLocalStorage } from "node:async_hooks";
import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import type { CallOptions, Priority } from "../core/call.ts";
import { ConfigError, isRefusal, TimeoutError } from "../core/errors.ts";
import { Pipeline } from "../core/pipeline.ts";
import { OverloadShedError } from "../core/policy-errors.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import type { AdaptiveConcurrencyOptions } from "./adaptive-options.ts";
import { Hedge } from "./hedge.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

interface World {
  runtime: FakeRuntime;
  policy: AdaptiveConcurrency;
  /** The names of the operations that were called, in order. */
  calls: string[];
  /** Starts an operation that settles when it is told to. */
  start(name: string, options?: CallOptions): Promise<unknown>;
  /** Lets it return, or throw an error. */
  settle(name: string, result?: unknown): Promise<void>;
  /** Fills the limit with calls that succeed, so often. */
  rounds(times: number): Promise<void>;
}

function world(options: AdaptiveConcurrencyOptions): World {
  const runtime = fakeRuntime();
  const policy = new AdaptiveConcurrency(options, runtime);
  const calls: string[] = [];
  const running = new Map<string, (result: unknown) => void>();
  const start: World["start"] = (name, callOptions) => {
    const result = policy.execute(() => {
      calls.push(name);
      return new Promise<unknown>((resolve, reject) =>
        running.set(name, (settled) => (settled instanceof Error ? reject(settled) : resolve(settled))),
      );
    }, callOptions);
    result.catch(() => {});
    return result;
  };
  const settle: World["settle"] = async (name, result) => {
    running.get(name)!(result);
    await runtime.clock.advance(0);
  };
  const rounds: World["rounds"] = async (times) => {
    for (let n = 0; n < times; n++) {
      const { limit } = policy.getStats();
      const names = Array.from({ length: limit }, (_, i) => `round ${n} call ${i}`);
      for (const name of names) void start(name);
      for (const name of names) await settle(name);
    }
    calls.length = 0;
  };
  return { runtime, policy, calls, start, settle, rounds };
}

const withStatus = (status: number): Error => Object.assign(new Error(`status ${status}`), { status });
const limitOf = (policy: AdaptiveConcurrency): number => policy.getStats().limit;

describe("the limit grows", () => {
  test("by increase after as many successes as it has calls, up to maxLimit (C3.8)", async () => {
    const { runtime, policy, start, settle, rounds } = world({ initialLimit: 3, increase: 2, maxLimit: 6 });
    const log = record(runtime.events);
    for (const name of ["a", "b", "c"]) void start(name);
    await settle("a");
    await settle("b");
    expect(limitOf(policy)).toBe(3);
    await settle("c");
    expect(limitOf(policy)).toBe(5);
    await rounds(3);
    expect(limitOf(policy)).toBe(6);
    expect(log).toMatchObject([
      { type: "adaptive.limit_changed", policy: "adaptiveConcurrency", from: 3, to: 5 },
      { type: "adaptive.limit_changed", from: 5, to: 6 },
    ]);
  });

  test("only after a round in which all of it was used (C3.8)", async () => {
    const { policy, start, settle } = world({ initialLimit: 3 });
    for (let n = 0; n < 20; n++) {
      void start("a");
      void start("b");
      await settle("a");
      await settle("b");
    }
    expect(limitOf(policy)).toBe(3);
    // Now a round has the last slot taken once.
    for (const name of ["a", "b", "c"]) void start(name);
    for (const name of ["a", "b", "c"]) await settle(name);
    expect(limitOf(policy)).toBe(4);
    for (let n = 0; n < 20; n++) {
      for (const name of ["a", "b", "c"]) void start(name);
      for (const name of ["a", "b", "c"]) await settle(name);
    }
    expect(limitOf(policy)).toBe(4);
  });

  test("where calls were refused or have waited for want of a slot, whatever is under way when they run (C3.8)", async () => {
    const { policy, start, settle } = world({ initialLimit: 4, backoffRatio: 0.5 });
    for (const name of Array.from("abcd")) void start(name);
    await settle("a", withStatus(503));
    await expect(start("refused")).rejects.toThrow(OverloadShedError);
    // These began under the higher limit, and say nothing about the lower one.
    for (const name of Array.from("bcd")) await settle(name);
    void start("e");
    await settle("e");
    expect(limitOf(policy)).toBe(2);
    void start("f");
    await settle("f");
    expect(limitOf(policy)).toBe(3);
    const queueing = world({ initialLimit: 4, backoffRatio: 0.5, maxQueue: 9 });
    for (const name of Array.from("abcdef")) void queueing.start(name);
    await queueing.settle("a", withStatus(503));
    for (const name of Array.from("bcdef")) await queueing.settle(name);
    expect(limitOf(queueing.policy)).toBe(3);
  });

  test("where only calls that may not fill it are made, when they have used what is open to them (C3.8)", async () => {
    const { policy, start, settle } = world({ initialLimit: 10, shares: { low: 0.5 } });
    const names = Array.from("abcde");
    for (let n = 0; n < 2; n++) {
      for (const name of names) void start(name, { priority: "low" });
      for (const name of names) await settle(name);
    }
    expect(limitOf(policy)).toBe(11);
  });

  test("not by failures of other kinds, nor by what was cancelled (C3.8)", async () => {
    const { policy, start, settle } = world({ initialLimit: 1 });
    for (const error of [
      withStatus(404),
      withStatus(500),
      new Error("no"),
      new OverloadShedError("x", "full", "low", 1, 0),
    ]) {
      void start("a");
      await settle("a", error);
    }
    for (const result of ["a value", withStatus(503), new Error("aborted")]) {
      const caller = new AbortController();
      void start("a", { signal: caller.signal });
      caller.abort();
      await settle("a", result);
    }
    expect(policy.getStats()).toMatchObject({ limit: 1, overloads: 0, active: 0 });
  });

  test("not while a server has asked to wait, for a minute at most (C3.8)", async () => {
    for (const [retryAfterMs, pauseMs] of [
      [5_000, 5_000],
      [86_400_000, 60_000],
    ] as const) {
      const { runtime, policy, start, settle, rounds } = world({ initialLimit: 4, backoffRatio: 0.5 });
      void start("a");
      await settle("a", Object.assign(withStatus(429), { retryAfterMs }));
      // Calls go through all the same: the server has spoken of one of them.
      await rounds(2);
      await runtime.clock.advance(pauseMs - 1);
      await rounds(2);
      expect(limitOf(policy)).toBe(2);
      await runtime.clock.advance(1);
      await rounds(1);
      expect(limitOf(policy)).toBe(3);
    }
  });

  test("a shorter wait does not end a longer one, and headers are read (C3.8)", async () => {
    const { runtime, policy, start, settle, rounds } = world({ initialLimit: 4, backoffRatio: 0.5 });
    void start("a");
    void start("b");
    await settle("a", new Response(null, { status: 503, headers: { "retry-after": "20" } }));
    await settle("b", Object.assign(withStatus(503), { retryAfterMs: 10 }));
    await runtime.clock.advance(19_999);
    await rounds(1);
    expect(limitOf(policy)).toBe(2);
    await runtime.clock.advance(1);
    await rounds(1);
    expect(limitOf(policy)).toBe(3);
  });
});

describe("the limit shrinks", () => {
  test("once for all calls that began before, and again for one that began after (C3.8)", async () => {
    const { runtime, policy, start, settle } = world({ initialLimit: 40, backoffRatio: 0.5 });
    const log = record(runtime.events);
    for (const name of Array.from("abcdefgh")) void start(name);
    for (const name of Array.from("abcdefg")) await settle(name, withStatus(503));
    expect(policy.getStats()).toMatchObject({ limit: 20, overloads: 7 });
    void start("later");
    await settle("h", withStatus(503));
    expect(limitOf(policy)).toBe(20);
    await settle("later", withStatus(503));
    expect(limitOf(policy)).toBe(10);
    expect(log).toMatchObject([
      { type: "adaptive.limit_changed", from: 40, to: 20 },
      { from: 20, to: 10 },
    ]);
  });

  test("whole numbers at a time, and no lower than minLimit (C3.8)", async () => {
    const { runtime, policy, start, settle } = world({ initialLimit: 9, minLimit: 3 });
    const log = record(runtime.events);
    const seen: number[] = [];
    for (let n = 0; n < 5; n++) {
      void start("a");
      await settle("a", withStatus(429));
      seen.push(limitOf(policy));
    }
    expect(seen).toEqual([6, 4, 3, 3, 3]);
    expect(log).toHaveLength(3);
  });

  test("and successes of before do not let it grow again (C3.8)", async () => {
    const { policy, start, settle } = world({ initialLimit: 4, backoffRatio: 0.5 });
    for (const name of Array.from("abcd")) void start(name);
    await settle("a", withStatus(503));
    for (const name of Array.from("bcd")) await settle(name);
    expect(limitOf(policy)).toBe(2);
  });

  test("what runs beyond it goes on, and nothing new starts until it is below (C3.8)", async () => {
    const { policy, calls, start, settle } = world({ initialLimit: 4, backoffRatio: 0.5, maxQueue: 9 });
    for (const name of Array.from("abcde")) void start(name);
    await settle("a", withStatus(503));
    expect(policy.getStats()).toMatchObject({ limit: 2, active: 3 });
    await settle("b");
    expect(calls).toEqual(Array.from("abcd"));
    await settle("c");
    expect(calls).toEqual(Array.from("abcde"));
    expect(policy.getStats()).toMatchObject({ limit: 2, active: 2 });
  });

  test.each([
    ["429", withStatus(429)],
    ["503", withStatus(503)],
    ["529", withStatus(529)],
    ["a statusCode", Object.assign(new Error("x"), { statusCode: 503 })],
    ["the status of its response", Object.assign(new Error("x"), { response: { status: 503 } })],
    ["what caused it", new Error("x", { cause: new Error("y", { cause: withStatus(529) }) })],
    ["our timeout", new TimeoutError("a call", 5)],
    ["the timeout of a signal", new DOMException("late", "TimeoutError")],
    ["the code of our timeout", Object.assign(new Error("x"), { code: "TIMEOUT" })],
    ["the timeout of a socket", Object.assign(new Error("x"), { code: "ETIMEDOUT" })],
    ["the timeout of a connection", Object.assign(new Error("x"), { code: "UND_ERR_CONNECT_TIMEOUT" })],
    ["the timeout of a body", Object.assign(new Error("x"), { code: "UND_ERR_BODY_TIMEOUT" })],
    [
      "the timeout of fetch",
      new TypeError("x", { cause: Object.assign(new Error("y"), { code: "UND_ERR_HEADERS_TIMEOUT" }) }),
    ],
  ])("on an error with %s (C3.8)", async (_, error) => {
    const { policy, start, settle } = world({ initialLimit: 10 });
    const result = start("a");
    await settle("a", error);
    await expect(result).rejects.toBe(error);
    expect(policy.getStats()).toMatchObject({ limit: 7, overloads: 1 });
  });

  test("on a returned response, and not on data with a status of its own (C3.8)", async () => {
    const { policy, start, settle } = world({ initialLimit: 10 });
    for (const value of [null, 503, "503", { status: 503 }, new Response(null, { status: 404 })]) {
      void start("a");
      await settle("a", value);
    }
    expect(limitOf(policy)).toBe(10);
    const response = new Response(null, { status: 503 });
    const result = start("a");
    await settle("a", response);
    expect(await result).toBe(response);
    expect(policy.getStats()).toMatchObject({ limit: 7, overloads: 1 });
  });

  test("on what overloadErrors says, instead (C1.4, C3.8)", async () => {
    const slow = (sign: unknown): boolean => (sign as { slow?: boolean } | undefined)?.slow === true;
    const { policy, start, settle } = world({ initialLimit: 10, overloadErrors: ["BUSY", slow] });
    void start("a");
    await settle("a", withStatus(503));
    expect(limitOf(policy)).toBe(10);
    void start("a");
    await settle("a", Object.assign(new Error("x"), { code: "BUSY" }));
    expect(limitOf(policy)).toBe(7);
    void start("a");
    await settle("a", { slow: true });
    expect(limitOf(policy)).toBe(4);
    // Where no function is among them, no value is a sign.
    const codes = new AdaptiveConcurrency({ initialLimit: 10, overloadErrors: ["BUSY"] });
    expect(await codes.execute(() => ({ code: "BUSY" }))).toEqual({ code: "BUSY" });
    expect(limitOf(codes)).toBe(10);
  });

  test("on a timeout inside while the operation still holds its slot, and on one outside (C3.2, C3.8)", async () => {
    for (const inside of [true, false]) {
      const runtime = fakeRuntime();
      const policy = new AdaptiveConcurrency({ initialLimit: 10 }, runtime);
      const timeout = new Timeout({ attemptTimeoutMs: 100 }, runtime);
      const guarded = new Pipeline(inside ? [policy, timeout] : [timeout, policy], runtime);
      const result = guarded.execute(({ signal }) =>
        runtime.clock.sleep(1_000).then(() => (signal.aborted ? Promise.reject(signal.reason as Error) : 1)),
      );
      result.catch(() => {});
      await runtime.clock.advance(200);
      await expect(result).rejects.toThrow(TimeoutError);
      expect(policy.getStats()).toMatchObject({ active: 1, limit: inside ? 7 : 10 });
      await runtime.clock.advance(800);
      expect(policy.getStats()).toMatchObject({ active: 0, limit: 7, overloads: 1 });
    }
  });
});

describe("priorities", () => {
  const LEVELS: Priority[] = ["low", "normal", "high", "critical"];

  test("the most important of those that wait comes first, within one the first (C3.8)", async () => {
    const { policy, calls, start, settle } = world({ initialLimit: 1, maxLimit: 1, maxQueue: 99 });
    void start("first");
    for (const n of [1, 2]) for (const priority of LEVELS) void start(`${priority} ${n}`, { priority });
    void start("unsaid");
    expect(policy.getStats().queued).toEqual({ critical: 2, high: 2, normal: 3, low: 2 });
    for (let n = 0; n < 9; n++) await settle(calls.at(-1)!);
    const order = ["critical 1", "critical 2", "high 1", "high 2", "normal 1", "normal 2", "unsaid", "low 1", "low 2"];
    expect(calls.slice(1)).toEqual(order);
  });

  test("every tenth slot goes to those who have waited longest for their turn (C3.8)", async () => {
    const { calls, start, settle } = world({ initialLimit: 1, maxLimit: 1, maxQueue: 99 });
    void start("first");
    for (let n = 0; n < 3; n++) void start("low", { priority: "low" });
    for (let n = 0; n < 3; n++) void start("normal");
    for (let n = 0; n < 40; n++) void start("critical", { priority: "critical" });
    for (let n = 0; n < 47; n++) await settle(calls.at(-1)!);
    const others = calls.flatMap((name, n) => (name === "critical" ? [] : [[n, name]]));
    expect(others).toEqual([
      [0, "first"],
      [10, "low"],
      [20, "normal"],
      [30, "low"],
      [40, "normal"],
      [45, "normal"],
      [46, "low"],
    ]);
  });

  test("whose room is taken are passed over, and get no turn before it is free (C3.8)", async () => {
    const { calls, start, settle } = world({ initialLimit: 3, maxLimit: 3, maxQueue: 99, shares: { low: 0.34 } });
    for (const name of ["a", "b", "c"]) void start(name);
    void start("low", { priority: "low" });
    for (let n = 0; n < 20; n++) void start(`normal ${n}`);
    for (let n = 0; n < 19; n++) await settle(calls[n]!);
    expect(calls).not.toContain("low");
    expect(calls).toHaveLength(22);
    for (let n = 19; n < 24; n++) await settle(calls[n]!);
    expect(calls.at(-1)).toBe("low");
  });

  test("a slot that nobody could be given is no turn (C3.8)", async () => {
    const { calls, start, settle } = world({ initialLimit: 2, maxLimit: 2, maxQueue: 99, shares: { low: 0.5 } });
    void start("stays");
    void start("0");
    void start("low", { priority: "low" });
    for (let n = 1; n <= 9; n++) {
      await settle(String(n - 1));
      void start(String(n));
    }
    void start("high", { priority: "high" });
    void start("critical", { priority: "critical" });
    await settle("9");
    expect(calls.at(-1)).toBe("critical");
    for (const name of ["critical", "high", "stays", "low"]) await settle(name);
  });

  test("one that comes to a full queue takes the place of the last of the least important (C3.8)", async () => {
    const { runtime, policy, calls, start, settle } = world({
      name: "model",
      initialLimit: 1,
      maxLimit: 1,
      maxQueue: 3,
    });
    const log = record(runtime.events);
    void start("first");
    const low = start("low", { priority: "low" });
    await runtime.clock.advance(25);
    const lower = start("lower", { priority: "low" });
    void start("normal");
    const late = start("late", { priority: "low" });
    await expect(late).rejects.toMatchObject({ code: "OVERLOAD_SHED", why: "full", priority: "low", waitMs: 0 });
    await runtime.clock.advance(5);
    void start("high", { priority: "high" });
    await expect(lower).rejects.toMatchObject({ why: "evicted", priority: "low", waitMs: 5, limiterName: "model" });
    void start("critical", { priority: "critical" });
    await expect(low).rejects.toMatchObject({ why: "evicted", waitMs: 30 });
    const alike = start("normal too");
    await expect(alike).rejects.toMatchObject({ why: "full", priority: "normal" });
    for (const name of ["first", "critical", "high"]) await settle(name);
    expect(calls).toEqual(["first", "critical", "high", "normal"]);
    expect(policy.getStats()).toMatchObject({ rejected: { critical: 0, high: 0, normal: 1, low: 3 }, active: 1 });
    expect(log.filter(({ type }) => type === "adaptive.rejected")).toMatchObject([
      { policy: "model", priority: "low", why: "full", waitMs: 0, dryRun: false },
      { priority: "low", why: "evicted", waitMs: 5 },
      { priority: "low", why: "evicted", waitMs: 30 },
      { priority: "normal", why: "full" },
    ]);
    expect(log.filter(({ type }) => type === "adaptive.queued")).toMatchObject([
      { policy: "model", priority: "low", queued: 1, dryRun: false },
      { priority: "low", queued: 2 },
      { priority: "normal", queued: 3 },
      { priority: "high", queued: 3 },
      { priority: "critical", queued: 3 },
    ]);
  });

  test("the less important are kept out of a share of the limit (C3.8)", async () => {
    const { policy, calls, start, settle } = world({ initialLimit: 10, maxQueue: 9 });
    for (let n = 0; n < 9; n++) void start(`low ${n}`, { priority: "low" });
    expect(policy.getStats()).toMatchObject({ active: 8, queued: { low: 1 } });
    void start("normal 0");
    void start("normal 1");
    void start("normal 2");
    expect(policy.getStats()).toMatchObject({ active: 10, queued: { normal: 1, low: 1 } });
    for (const name of ["low 0", "low 1", "low 2"]) await settle(name);
    expect(calls.slice(8)).toEqual(["normal 0", "normal 1", "normal 2"]);
    await settle("low 3");
    expect(calls.slice(11)).toEqual(["low 8"]);
  });

  test("one slot is open to everybody, however small the limit is (C3.8)", async () => {
    const { calls, start } = world({ initialLimit: 1, shares: { normal: 0.1, low: 0.1 } });
    void start("low", { priority: "low" });
    expect(calls).toEqual(["low"]);
  });

  test("is found from inside other policies, and one that is none is a mistake (C0.3, C3.8)", async () => {
    const runtime = fakeRuntime();
    const policy = new AdaptiveConcurrency({ maxLimit: 1, maxQueue: 2, queueTimeoutMs: 1 }, runtime);
    const guarded = new Pipeline(
      [new RetryPolicy({}, runtime), new Timeout({ totalTimeoutMs: 99 }, runtime), policy],
      runtime,
    );
    void policy.execute(() => runtime.clock.sleep(10));
    const high = guarded.executeOutcome(() => 1, { priority: "high" });
    await runtime.clock.advance(10);
    expect(await high).toMatchObject({ ok: false, error: { priority: "high", why: "wait" } });
    // The first attempt fails, and before the second another call has taken the slot.
    const retried = guarded.executeOutcome(() => Promise.reject(new Error("down")), { priority: "critical" });
    await runtime.clock.advance(0);
    void policy.execute(() => runtime.clock.sleep(99_000));
    await runtime.clock.advance(99_000);
    expect(await retried).toMatchObject({ error: { priority: "critical", why: "wait" } });
    const urgent = { priority: "urgent" as Priority };
    const message = 'priority of a call must be one of "critical", "high", "normal", "low", got "urgent"';
    await expect(policy.execute(() => 1, urgent)).rejects.toThrow(message);
    expect(await policy.executeOutcome(() => 1, urgent)).toMatchObject({ ok: false, refused: false });
    await expect(policy.execute(() => 1, { priority: "toString" as Priority })).rejects.toThrow(ConfigError);
    expect(policy.getStats()).toMatchObject({ active: 0, overloads: 0 });
  });
});

describe("slots", () => {
  test("are given back by what fails or throws at once, in every way of calling (C3.2, C3.8)", async () => {
    const policy = new AdaptiveConcurrency({ initialLimit: 1 });
    const broken = (): never => {
      throw new Error("at once");
    };
    const around = new Pipeline([policy, new Timeout({ attemptTimeoutMs: 1_000 })]);
    for (const one of [policy, around]) {
      await expect(one.execute(broken)).rejects.toThrow("at once");
      expect(await one.executeOutcome(broken)).toMatchObject({ ok: false, refused: false });
    }
    expect(() => policy.executeSync(broken)).toThrow("at once");
    expect(policy.getStats().active).toBe(0);
    expect(await policy.wrap((a: number) => a + 1)(2)).toBe(3);
  });

  test("are held until a hedge that lost has settled too (C3.2)", async () => {
    const runtime = fakeRuntime();
    const policy = new AdaptiveConcurrency({ initialLimit: 1 }, runtime);
    const hedged = new Pipeline([policy, new Hedge({ delayMs: 10 }, runtime)], runtime);
    const result = hedged.execute<unknown>(({ attempt }) => (attempt === 1 ? runtime.clock.sleep(1_000) : "quick"));
    await runtime.clock.advance(20);
    expect(await result).toBe("quick");
    expect(policy.getStats()).toMatchObject({ active: 1, limit: 2 });
    await runtime.clock.advance(1_000);
    expect(policy.getStats().active).toBe(0);
  });

  test("go to waiters when the limit grows, in their own async context (C3.8)", async () => {
    const tenant = new AsyncLocalStorage<string>();
    const runtime = fakeRuntime();
    const policy = new AdaptiveConcurrency({ initialLimit: 1, maxQueue: 9 }, runtime);
    const seen: unknown[] = [];
    const look = async (): Promise<void> => {
      seen.push(tenant.getStore());
      await runtime.clock.sleep(10);
      seen.push(tenant.getStore());
    };
    for (const name of ["a", "b", "c"]) void tenant.run(name, () => policy.execute(look));
    await runtime.clock.advance(10);
    expect(policy.getStats()).toMatchObject({ limit: 2, active: 2 });
    expect(seen).toEqual(["a", "a", "b", "c"]);
    await runtime.clock.advance(10);
    expect(seen.slice(4)).toEqual(["b", "c"]);
  });
});

describe("leaving the queue", () => {
  test("an abort settles the wait at once and the operation is never called (C1.6, C3.8)", async () => {
    const { runtime, policy, calls, start, settle } = world({ initialLimit: 1, maxQueue: 5, queueTimeoutMs: 1_000 });
    const caller = new AbortController();
    void start("a");
    const b = start("b", { signal: caller.signal, priority: "high" });
    void start("c");
    caller.abort(new Error("no longer needed"));
    await expect(b).rejects.toThrow("no longer needed");
    expect(policy.getStats()).toMatchObject({ queued: { high: 0, normal: 1 }, rejected: { high: 0 } });
    expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
    await settle("a");
    expect(calls).toEqual(["a", "c"]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a call aborted beforehand takes neither a slot nor a place (C1.6)", async () => {
    const { policy, start, calls } = world({ initialLimit: 1 });
    const signal = AbortSignal.abort("before");
    await expect(start("a", { signal })).rejects.toBe("before");
    const outcome = await policy.executeOutcome(() => calls.push("b"), { signal });
    expect(outcome).toEqual({ ok: false, refused: false, error: "before" });
    expect(calls).toEqual([]);
    expect(policy.getStats()).toMatchObject({ active: 0, limit: 1 });
    // Nor is it one of those that are shed.
    void start("c");
    await expect(start("d", { signal })).rejects.toBe("before");
    expect(await policy.executeOutcome(() => calls.push("e"), { signal })).toEqual(outcome);
    expect(policy.getStats()).toMatchObject({ active: 1, rejected: { normal: 0 } });
  });

  test("an abort in any microtask after the hand-off passes the slot on or reaches the operation (C3.8)", async () => {
    for (let ticks = 0; ticks < 9; ticks++) {
      for (const inner of [false, true]) {
        const { runtime, policy, start, settle, calls } = world({ initialLimit: 1, maxLimit: 1, maxQueue: 5 });
        const guarded = inner
          ? new Pipeline([policy, new Timeout({ attemptTimeoutMs: 99_000 }, runtime)], runtime)
          : policy;
        const caller = new AbortController();
        let abortedAtStart: boolean | undefined;
        void start("a");
        const b = guarded.execute(({ signal }) => (abortedAtStart = signal.aborted), { signal: caller.signal });
        b.catch(() => {});
        void start("c");
        const settled = settle("a");
        for (let i = 0; i < ticks; i++) await Promise.resolve();
        caller.abort(new TimeoutError("outside", 1));
        await settled;
        await runtime.clock.advance(0);
        expect(abortedAtStart).not.toBe(true);
        expect(calls).toEqual(["a", "c"]);
        // The operation was not called, so that a timeout outside says nothing about the service.
        expect(policy.getStats().overloads).toBe(0);
        await settle("c");
        expect(policy.getStats()).toMatchObject({ active: 0, queued: { normal: 0 } });
      }
    }
  });

  test("one that is sent away and aborted in the same turn has the reason of the abort (C1.6)", async () => {
    const { policy, start, settle } = world({ initialLimit: 1, maxQueue: 1 });
    const caller = new AbortController();
    void start("a");
    const b = start("b", { signal: caller.signal });
    void start("c", { priority: "high" });
    caller.abort("gone");
    await expect(b).rejects.toBe("gone");
    expect(policy.getStats()).toMatchObject({ rejected: { normal: 0 }, queued: { normal: 0, high: 1 } });
    await settle("a");
  });

  test("one that is sent away in the last moment of its wait was sent away (C3.8)", async () => {
    const { runtime, start, settle } = world({ initialLimit: 1, maxQueue: 1, queueTimeoutMs: 10 });
    void start("a");
    const b = start("b");
    void start("c", { priority: "high" });
    runtime.clock.now = () => 10;
    await expect(b).rejects.toMatchObject({ why: "evicted", waitMs: 10 });
    await settle("a");
  });

  test("a wait ends after queueTimeoutMs and no later than its deadline (C3.1, C3.8)", async () => {
    const { runtime, policy, start, calls } = world({ initialLimit: 1, maxQueue: 5, queueTimeoutMs: 40 });
    void start("a");
    const b = start("b");
    const c = policy.executeOutcome(() => "c", { deadlineMs: 30 });
    await runtime.clock.advance(30);
    expect(await c).toMatchObject({ ok: false, refused: true, error: { why: "wait", waitMs: 30 } });
    await runtime.clock.advance(10);
    await expect(b).rejects.toMatchObject({ why: "wait", waitMs: 40 });
    expect(policy.getStats()).toMatchObject({ queued: { normal: 0 }, rejected: { normal: 2 } });
    expect(calls).toEqual(["a"]);
  });
});

describe("a refusal", () => {
  test("says which call, which limiter and its limit, and is not retried (C0.5, C0.8)", async () => {
    const { runtime, policy, start } = world({ name: "model", initialLimit: 1 });
    void start("a");
    const error: unknown = await start("b", { priority: "low" }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OverloadShedError);
    expect(isRefusal(error)).toBe(true);
    expect(isRefusal({ code: "OVERLOAD_SHED" })).toBe(true);
    expect(error).toMatchObject({ name: "OverloadShedError", limiterName: "model", limit: 1, priority: "low" });
    expect(error).not.toHaveProperty("retryAfterMs");
    expect((error as Error).message).toBe(
      'A call of priority "low" is shed: adaptive concurrency "model", whose limit is 1 now, has neither a slot nor a place in its queue for it. Send less, or come back later.',
    );
    const retried = new Pipeline([new RetryPolicy({}, runtime), policy], runtime);
    await expect(retried.execute(() => 1)).rejects.toBeInstanceOf(OverloadShedError);
    expect(policy.getStats().rejected).toMatchObject({ normal: 1, low: 1 });
  });

  test("is a value of executeOutcome, whose error is built when it is read (C3.10)", async () => {
    const { policy, start } = world({ initialLimit: 1 });
    void start("a");
    const outcome = await policy.executeOutcome(() => 1);
    expect(outcome).toMatchObject({ ok: false, refused: true });
    expect(Object.getOwnPropertyDescriptor(outcome, "error")).toHaveProperty("get");
    expect(!outcome.ok && outcome.error).toBeInstanceOf(OverloadShedError);
    const free = new AdaptiveConcurrency();
    expect(await free.executeOutcome(() => "a value")).toEqual({ ok: true, value: "a value" });
  });
});

describe("executeSync", () => {
  test("gives the value or throws, holds a slot meanwhile, and learns (C3.8, C3.10)", () => {
    const policy = new AdaptiveConcurrency({ initialLimit: 1 });
    const inside = policy.executeSync(() => {
      expect(() => policy.executeSync(() => 1)).toThrow(OverloadShedError);
      expect(() => policy.executeSync(() => 1)).toThrow(/has neither a slot nor a place in its queue for it/);
      return policy.getStats().active;
    });
    expect(inside).toBe(1);
    expect(policy.getStats()).toMatchObject({ active: 0, limit: 2, rejected: { normal: 2 } });
    const busy = (): never => {
      throw withStatus(503);
    };
    expect(() => policy.executeSync(busy)).toThrow("status 503");
    expect(policy.getStats()).toMatchObject({ active: 0, limit: 1, overloads: 1 });
  });

  test("is not for a promise, nor where there is a queue (C3.10)", () => {
    const policy = new AdaptiveConcurrency({ initialLimit: 1 });
    expect(() => policy.executeSync(() => Promise.reject(new Error("later")))).toThrow(ConfigError);
    expect(() => policy.executeSync(() => Promise.resolve(1))).toThrow(
      'The function of adaptiveConcurrency "adaptiveConcurrency"',
    );
    expect(policy.getStats()).toMatchObject({ active: 0, limit: 1 });
    const queued = new AdaptiveConcurrency({ maxQueue: 1 });
    expect(() => queued.executeSync(() => expect.unreachable())).toThrow("cannot executeSync");
  });
});

test("a dry run lets everything through, adapts its limit and reports (C2.10, C3.8)", async () => {
  const { runtime, policy, calls, start, settle } = world({ initialLimit: 1, maxQueue: 1, dryRun: true });
  const log = record(runtime.events);
  for (const name of ["a", "b", "c"]) void start(name);
  expect(calls).toEqual(["a", "b", "c"]);
  expect(log).toMatchObject([
    { type: "adaptive.queued", priority: "normal", queued: 1, dryRun: true },
    { type: "adaptive.rejected", priority: "normal", why: "full", waitMs: 0, dryRun: true },
  ]);
  expect(policy.getStats()).toMatchObject({ limit: 1, active: 3, rejected: { normal: 1 } });
  await settle("a");
  expect(policy.getStats()).toMatchObject({ limit: 2, active: 2 });
  await settle("b", withStatus(429));
  await settle("c");
  expect(policy.getStats()).toMatchObject({ limit: 1, active: 0, overloads: 1 });
  // Also where nobody listens.
  const { policy: unheard } = world({ initialLimit: 1, maxQueue: 9, dryRun: true });
  expect(await Promise.all([1, 2].map((n) => unheard.execute(() => n)))).toEqual([1, 2]);
});

test("options are checked, and described as they stand (C0.3, C3.12)", () => {
  const wrong: [AdaptiveConcurrencyOptions, string][] = [
    [{ initialLimit: 0 }, "adaptiveConcurrency.initialLimit must be a whole number of at least 1"],
    [{ backoffRatio: 1 }, "backoffRatio must be a number from 0.1 to 0.99"],
    [{ minLimit: 9, maxLimit: 8 }, "needs minLimit <= initialLimit <= maxLimit, got 9, 8 and 8"],
    [{ initialLimit: 300 }, "got 1, 300 and 200"],
    [{ initialLimit: 3, minLimit: 4 }, "got 4, 3 and 200"],
    [{ queueTimeoutMs: 5 }, "queueTimeoutMs needs maxQueue"],
    [{ shares: { low: 0 } }, "adaptiveConcurrency.shares.low must be a number from 0.01 to 1"],
    [{ shares: { high: 0.5 } }, "must not rise as priorities fall, got critical 1, high 0.5, normal 1, low 0.8"],
    [{ shares: { critical: 0.5 } }, "got critical 0.5, high 1, normal 1, low 0.8"],
    [{ shares: { normal: 0.5 } }, "got critical 1, high 1, normal 0.5, low 0.8"],
    [{ shares: { urgent: 1 } as never }, 'has no option "urgent"'],
    [{ maxConcurrent: 5 } as never, 'has no option "maxConcurrent"'],
  ];
  for (const [options, message] of wrong) expect(() => new AdaptiveConcurrency(options)).toThrow(message);
  expect(new AdaptiveConcurrency({ name: "model", maxLimit: 5, shares: { low: 0.4 } }).describe()).toEqual({
    kind: "adaptiveConcurrency",
    name: "model",
    options: {
      initialLimit: 5,
      minLimit: 1,
      maxLimit: 5,
      increase: 1,
      backoffRatio: 0.7,
      maxQueue: 0,
      shares: { critical: 1, high: 1, normal: 1, low: 0.4 },
      dryRun: false,
    },
  });
  expect(new AdaptiveConcurrency({ minLimit: 30 }).getStats()).toMatchObject({ limit: 30, active: 0 });
});
