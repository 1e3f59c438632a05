import { describe, expect, test } from "vitest";
import { CircuitBreakerOpenError, FallbackFailedError, RetryExhaustedError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { fakeRuntime, record } from "../testing/fake-clock.ts";
import { Fallback, type FallbackInfo } from "./fallback.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

const down = new Error("down");
const fail = (): Promise<never> => Promise.reject(down);
const failing = (message: string) => (): never => {
  throw new Error(message);
};

describe("what serves", () => {
  test("a value, whatever it is (C3.5)", async () => {
    for (const value of ["stale", 0, null, undefined, false, { a: 1 }])
      expect(await new Fallback({ fallback: value }).execute(fail)).toBe(value);
  });

  test("undefined too where it is written out, but nothing said at all is a mistake (C0.3, C3.5)", async () => {
    expect(await new Fallback({ fallback: undefined }).execute(fail)).toBeUndefined();
    expect(() => new Fallback({} as { fallback: undefined })).toThrow(/fallback\.fallback is missing: say what serves/);
  });

  test("the result of a function, synchronous or not (C3.5)", async () => {
    expect(await new Fallback({ fallback: () => 1 }).execute(fail)).toBe(1);
    expect(await new Fallback({ fallback: async () => 2 }).execute(fail)).toBe(2);
  });

  test("the first link of a chain that does not fail, and none after it (C3.5)", async () => {
    const called: string[] = [];
    const chain = [
      () => {
        called.push("cache");
        throw new Error("cache is empty");
      },
      async () => {
        called.push("replica");
        return Promise.reject(new Error("replica is down"));
      },
      () => called.push("disk"),
      () => called.push("never"),
    ];
    expect(await new Fallback({ fallback: chain }).execute(fail)).toBe(3);
    expect(called).toEqual(["cache", "replica", "disk"]);
  });

  test("nothing while the operation succeeds", async () => {
    let called = false;
    const fallback = new Fallback({ fallback: () => (called = true) });
    expect(await fallback.execute(() => "fresh")).toBe("fresh");
    expect(await fallback.executeOutcome(() => "fresh")).toEqual({ ok: true, value: "fresh" });
    expect(called).toBe(false);
  });
});

describe("what the function knows", () => {
  async function told(error: unknown): Promise<FallbackInfo> {
    const fallback = new Fallback({ name: "weather", fallback: (info: FallbackInfo) => info });
    return (await fallback.execute(() => Promise.reject(error))) as FallbackInfo;
  }

  test("the error, the name of the policy and a signal (C3.5)", async () => {
    const { error, name, signal } = await told(down);
    expect([error, name]).toEqual([down, "weather"]);
    expect(signal).toBeInstanceOf(AbortSignal);
  });

  test("how many calls were really made (C3.5, C0.2)", async () => {
    expect((await told(down)).attempts).toBe(1);
    expect((await told(new RetryExhaustedError("r", 4, down, "why"))).attempts).toBe(4);
    expect((await told(new CircuitBreakerOpenError("b", 1, 5))).attempts).toBe(0);
  });

  test("a signal that is not the one of a timeout that has passed (C3.5)", async () => {
    const runtime = fakeRuntime();
    const policy = pipeline(
      new Fallback({ fallback: ({ signal }) => signal.aborted }, runtime),
      new Timeout({ attemptTimeoutMs: 20 }, runtime),
    );
    const settled = policy.execute(() => new Promise<never>(() => {}));
    await runtime.clock.advance(20);
    expect(await settled).toBe(false);
  });
});

describe("what the caller sees", () => {
  test("the outcome says that a fallback served, and still has the error (C3.5)", async () => {
    const fallback = new Fallback({ fallback: "stale" });
    expect(await fallback.executeOutcome(fail)).toEqual({ ok: true, value: "stale", fallbackUsed: true, error: down });
  });

  test("where the fallback fails too, the error's cause is the primary one (C3.5, C0.5)", async () => {
    const fallback = new Fallback({ name: "weather", fallback: [failing("no cache"), failing("no disk")] });
    const error: unknown = await fallback.execute(fail).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FallbackFailedError);
    expect(error).toMatchObject({ cause: down, errors: [new Error("no cache"), new Error("no disk")] });
    expect(await fallback.executeOutcome(fail)).toMatchObject({ ok: false, refused: false, error: { cause: down } });
  });

  test("it steps in a single time, after the retry inside has given up (C3.5)", async () => {
    const runtime = fakeRuntime();
    let served = 0;
    const policy = pipeline(
      new Fallback({ fallback: () => ++served }, runtime),
      new RetryPolicy({ strategy: "immediate" }, runtime),
    );
    let calls = 0;
    const settled = policy.execute(() => {
      calls++;
      throw down;
    });
    await runtime.clock.advance(0);
    expect([await settled, calls]).toEqual([1, 3]);
  });

  test("events and onFallback tell of it, with the policy's name (C3.11)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const told: unknown[] = [];
    const onFallback = (info: { error: unknown }): void => void told.push(info);
    await new Fallback({ name: "weather", fallback: 1, onFallback }, runtime).execute(fail);
    await new Fallback({ name: "news", fallback: failing("no"), onFallback }, runtime).executeOutcome(fail);
    expect(told).toEqual([{ error: down }]);
    expect(log).toMatchObject([
      { type: "fallback", policy: "weather", error: down, served: true },
      { type: "fallback", policy: "news", error: down, served: false },
    ]);
  });

  test("left out it is a ConfigError, and undefined is a value like others (C0.3, C3.5)", async () => {
    expect(() => new Fallback({} as { fallback: string })).toThrow("fallback.fallback is missing: say what serves");
    const none = new Fallback({ fallback: undefined });
    expect(await none.execute(() => Promise.reject<string>(new Error("down")))).toBeUndefined();
  });

  test("a hook that throws changes nothing (C0.6)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    expect(await new Fallback({ fallback: 1, onFallback: failing("bad hook") }, runtime).execute(fail)).toBe(1);
    expect(log).toMatchObject([{ type: "fallback" }, { type: "listener.failed", listening: "onFallback" }]);
  });
});

describe("an abort by the caller", () => {
  test("is no failure: nothing serves, and the operation's error comes out (C0.8)", async () => {
    const runtime = fakeRuntime();
    let called = false;
    const fallback = new Fallback({ fallback: () => (called = true) }, runtime);
    const controller = new AbortController();
    const settled = fallback.executeOutcome(({ signal }) => runtime.clock.sleep(1_000, signal), controller);
    controller.abort("stop");
    expect(await settled).toEqual({ ok: false, refused: false, error: "stop" });
    expect(called).toBe(false);
  });

  test("ends a chain that is on its way with what its link throws (C0.8, C1.6)", async () => {
    const controller = new AbortController();
    const called: string[] = [];
    const chain = [
      () => {
        called.push("first");
        controller.abort();
        throw new Error("told to stop");
      },
      () => called.push("second"),
    ];
    const outcome = await new Fallback({ fallback: chain }).executeOutcome(fail, controller);
    expect(outcome).toMatchObject({ ok: false, refused: false, error: new Error("told to stop") });
    expect(called).toEqual(["first"]);
  });

  test("nobody waits any more for a fallback inside a total timeout that has passed (C3.1)", async () => {
    const runtime = fakeRuntime();
    let called = false;
    const policy = pipeline(
      new Timeout({ totalTimeoutMs: 20 }, runtime),
      new Fallback({ fallback: () => (called = true) }, runtime),
    );
    const settled = policy.executeOutcome(({ signal }) => runtime.clock.sleep(1_000, signal));
    await runtime.clock.advance(20);
    expect(await settled).toMatchObject({ ok: false, error: { name: "TimeoutError" } });
    expect(called).toBe(false);
  });
});
