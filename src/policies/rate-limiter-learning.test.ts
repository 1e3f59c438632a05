import { describe, expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { Pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { rateLimit } from "./decorate.ts";
import { RateLimiter } from "./rate-limiter.ts";
import type { RateLimiterOptions, RateLimits } from "./rate-limits.ts";

const DUAL: RateLimits = {
  requests: { limit: 10, intervalMs: 1_000 },
  tokens: { limit: 100, intervalMs: 1_000, cost: 10 },
};

function limiterOf(options: Partial<RateLimiterOptions> = {}): { runtime: FakeRuntime; limiter: RateLimiter } {
  const runtime = fakeRuntime();
  return { runtime, limiter: new RateLimiter({ name: "llm", limits: DUAL, ...options }, runtime) };
}

const available = (limiter: RateLimiter): unknown => limiter.getStats().available;

describe("costs", () => {
  test("a call needs room in both limits, and takes from both or from none (C3.4)", async () => {
    const { limiter } = limiterOf({ maxWaitMs: 0 });
    await limiter.execute(() => 1, { cost: { tokens: 95 } });
    expect(available(limiter)).toEqual({ requests: 9, tokens: 5 });
    expect(await limiter.executeOutcome(() => 1)).toMatchObject({ refused: true, retryAfterMs: 50 });
    expect(available(limiter)).toEqual({ requests: 9, tokens: 5 });
    expect(await limiter.executeOutcome(() => 1, { cost: { tokens: 0 } })).toMatchObject({ ok: true });
    await limiter.execute(() => 1, { cost: { requests: 8, tokens: 5 } });
    expect(await limiter.executeOutcome(() => 1, { cost: { tokens: 0 } })).toMatchObject({ retryAfterMs: 100 });
  });

  test("a cost function sees the arguments of the wrapped function, which keeps its name and this (C1.8, C3.4)", async () => {
    const { limiter } = limiterOf({ limits: { tokens: { limit: 100, cost: (prompt: string) => prompt.length } } });
    class Model {
      readonly id = "m-1";
      readonly ask = limiter.wrap(function ask(this: Model, prompt: string) {
        return `${this.id}: ${prompt}`;
      });
    }
    const model = new Model();
    expect(await model.ask("twelve chars")).toBe("m-1: twelve chars");
    // As of any function: whoever wraps it again may name it again.
    expect(Object.getOwnPropertyDescriptor(model.ask, "name")).toMatchObject({ value: "ask", configurable: true });
    expect(available(limiter)).toEqual({ tokens: 88 });
  });

  test("where no function is wrapped, a cost function gets no arguments (C3.4)", async () => {
    const { limiter } = limiterOf({
      limits: { tokens: { limit: 100, cost: (...args: unknown[]) => 10 + args.length } },
    });
    await limiter.execute(() => 1);
    await limiter.executeOutcome(() => 1);
    limiter.executeSync(() => 1);
    expect(available(limiter)).toEqual({ tokens: 70 });
  });

  test("rateLimit wraps a function, synchronous or not (C1.8)", async () => {
    const limits = { tokens: { limit: 10, cost: (word: string) => word.length } };
    const shout = rateLimit({ limits, maxWaitMs: 0 })(function shout(word: string) {
      return word.toUpperCase();
    });
    expect([await shout("kelp"), shout.name]).toEqual(["KELP", "shout"]);
    await expect(shout("holdfast")).rejects.toMatchObject({ code: "RATE_LIMITED", why: "wait" });
  });

  test.each([NaN, -1, Infinity, "5", undefined])(
    "a cost of %s is a mistake that is named (C0.3, C3.4)",
    async (cost) => {
      const { limiter } = limiterOf({ limits: { tokens: { limit: 100, cost: () => cost as number } } });
      await expect(limiter.execute(() => 1)).rejects.toThrow("The cost of a call in tokens must be a number from 0");
      expect(await limiter.executeOutcome(() => 1)).toMatchObject({ ok: false, refused: false });
      expect(() => limiter.executeSync(() => 1)).toThrow("The cost of a call");
      expect(available(limiter)).toEqual({ tokens: 100 });
    },
  );

  test("what a cost function throws reaches the caller (C0.5)", async () => {
    const error = new TypeError("no prompt");
    const cost = (): number => {
      throw error;
    };
    const { limiter } = limiterOf({ limits: { tokens: { limit: 100, cost } } });
    await expect(limiter.wrap(() => 1)()).rejects.toBe(error);
  });

  test("one that looks at arguments where there are none is told how to do without (C0.3)", async () => {
    const limits = { tokens: { limit: 10, cost: (word: string) => word.length } };
    const { limiter } = limiterOf({ limits });
    const error: unknown = await limiter.execute(() => 1).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).message).toMatch(
      /^The cost of a call in tokens is not known: its function was given no arguments, and threw "[^"]*undefined[^"]*"\. A cost function sees the arguments of a function wrapped with wrap\(\); with execute and in a pipeline, give the call its cost: \{ cost: \{ tokens: … \} \}\.$/,
    );
    expect((error as ConfigError).cause).toBeInstanceOf(TypeError);
    expect(await limiter.executeOutcome(() => 1)).toMatchObject({
      ok: false,
      refused: false,
      error: { code: "CONFIG" },
    });
    expect(() => limiter.executeSync(() => 1)).toThrow(ConfigError);
    expect(limiter.getStats()).toMatchObject({ granted: 0, rejected: 0, available: { tokens: 10 } });
    const mine = new RangeError("mine");
    const cost = (): number => {
      throw mine;
    };
    await expect(limiterOf({ limits: { tokens: { limit: 10, cost } } }).limiter.execute(() => 1)).rejects.toBe(mine);
  });

  test.each(["token-bucket", "sliding-window"] as const)(
    "by a %s, the real cost takes the place of the estimate, also when it comes later (C3.4)",
    async (algorithm) => {
      const settle = (usage: { total: number | Promise<number> }): number | Promise<number> => usage.total;
      const { runtime, limiter } = limiterOf({ limits: { tokens: { limit: 100, cost: 50, settle, algorithm } } });
      await limiter.execute(() => ({ total: 20 }));
      expect(available(limiter)).toEqual({ tokens: 80 });
      await limiter.execute(() => ({ total: 110 }));
      expect(available(limiter)).toEqual({ tokens: -30 });
      await runtime.clock.advance(120_000);
      const later = limiter.execute(() => ({ total: runtime.clock.sleep(5).then(() => 0) }));
      const other = limiter.execute(() => ({ total: 50 }));
      const third = limiter.execute(() => ({ total: 50, at: runtime.clock.now() }));
      await later;
      expect(available(limiter)).toEqual({ tokens: 0 });
      await runtime.clock.advance(5);
      await Promise.all([other, third]);
      // What was given back has let the third through before its time.
      expect(await third).toEqual({ total: 50, at: 120_005 });
    },
  );

  test("a settle that throws or gives nonsense leaves the estimate, and is reported (C0.6, C3.4)", async () => {
    const results = [() => NaN, () => expect.unreachable(), () => Promise.reject(new Error("later")), () => undefined];
    for (const [index, settle] of results.entries()) {
      const { runtime, limiter } = limiterOf({ limits: { tokens: { limit: 100, cost: 50, settle } } });
      const log = record(runtime.events);
      expect(await limiter.execute(() => "value")).toBe("value");
      await runtime.clock.advance(0);
      expect(limiter.getStats().available.tokens).toBe(50);
      expect(log.map(({ type }) => type)).toEqual(index === 3 ? [] : ["listener.failed"]);
      if (index !== 3) expect(log).toMatchObject([{ listening: "settle" }]);
      if (index === 0) expect(String((log[0] as { error: unknown }).error)).toContain("got NaN");
    }
  });

  test("what a dry run would have refused takes nothing, before or after (C2.10)", async () => {
    const limits = { tokens: { limit: 100, cost: 101, settle: () => 50 } };
    const { runtime, limiter } = limiterOf({ limits, dryRun: true });
    expect(await limiter.execute(() => "done")).toBe("done");
    const empty = new RateLimiter({ limits: { tokens: { limit: 1, cost: 2 } } }, runtime);
    await expect(new Pipeline([limiter, empty], runtime).execute(() => 1)).rejects.toThrow("can never let");
    expect(limiter.getStats()).toMatchObject({ granted: 0, rejected: 2, available: { tokens: 100 } });
  });

  test("a failure costs what was estimated, since the server may have done the work (C3.4)", async () => {
    const { limiter } = limiterOf();
    await expect(limiter.execute(() => Promise.reject(new Error("cut")))).rejects.toThrow("cut");
    expect(available(limiter)).toEqual({ requests: 9, tokens: 90 });
  });
});

describe("learning from headers", () => {
  const headers = { "x-ratelimit-remaining-requests": "3", "x-ratelimit-remaining-tokens": "40" };

  test.each([
    ["a response", { headers: new Headers(headers) }],
    ["a result that carries its response", { text: "hi", response: { headers } }],
  ])("%s that succeeds says what is left (C3.4)", async (_, result) => {
    const { runtime, limiter } = limiterOf();
    const log = record(runtime.events);
    expect(await limiter.execute(() => result)).toBe(result);
    expect(available(limiter)).toEqual({ requests: 3, tokens: 40 });
    const remaining = { requests: 3, tokens: 40 };
    expect(log).toMatchObject([{ type: "limiter.upstream", policy: "llm", remaining }]);
    limiter.executeSync(() => result);
    expect(available(limiter)).toEqual({ requests: 2, tokens: 30 });
  });

  test("more than is there by our own count is not believed: calls under way are not counted yet (C3.4)", async () => {
    const { limiter } = limiterOf();
    await limiter.execute(() => ({ headers: { "x-ratelimit-remaining-requests": "1000" } }));
    expect(available(limiter)).toEqual({ requests: 9, tokens: 90 });
  });

  test("tokens that only go in are tokens, where nothing else is said (C3.4)", () => {
    const { runtime, limiter } = limiterOf();
    const log = record(runtime.events);
    limiter.learn({
      "anthropic-ratelimit-input-tokens-remaining": "7",
      "anthropic-ratelimit-output-tokens-remaining": "0",
    });
    expect(available(limiter)).toEqual({ requests: 10, tokens: 7 });
    expect((log[0] as { remaining?: unknown }).remaining).toStrictEqual({ tokens: 7 });
  });

  test("a server that asks to wait is left alone for so long, by those in line too (C1.5, C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    const busy = Object.assign(new Error("429"), { headers: { "retry-after": "20" } });
    const wrapped = new Error("model call failed", { cause: busy });
    await expect(limiter.execute(() => Promise.reject(wrapped))).rejects.toBe(wrapped);
    const calls: number[] = [];
    const waiting = [1, 2].map(() => limiter.execute(() => calls.push(runtime.clock.now())));
    await runtime.clock.advance(10_000);
    // A second word that asks for less does not shorten the first.
    limiter.learn({ "retry-after-ms": "1" });
    await runtime.clock.advance(10_000);
    await Promise.all(waiting);
    expect(calls).toEqual([20_000, 20_000]);
  });

  test("of an error and what caused it, the outermost counts whose headers can be read (C1.5, C3.4)", async () => {
    const asking = (headers: unknown, cause?: unknown): Error =>
      Object.assign(new Error("busy", { cause }), { headers });
    const inner = asking({ "retry-after-ms": "500" });
    const unreadable = { get: (): never => expect.unreachable() };
    for (const [error, waitMs] of [
      [asking({ "retry-after-ms": "100" }, inner), 100],
      [asking(unreadable, inner), 500],
    ] as const) {
      const { limiter } = limiterOf({ maxWaitMs: 0 });
      await expect(limiter.execute(() => Promise.reject(error))).rejects.toBe(error);
      expect(await limiter.executeOutcome(() => 1)).toMatchObject({ refused: true, retryAfterMs: waitMs });
    }
  });

  test("headers that cannot be read, and none, change nothing (C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    const log = record(runtime.events);
    const hostile = {
      headers: {
        get(): string {
          throw new Error("no");
        },
      },
    };
    expect(await limiter.execute(() => hostile)).toBe(hostile);
    await limiter.execute(() => null);
    limiter.learn({ "content-type": "text/plain" });
    await limiter.execute(() => ({ headers: { "content-type": "text/plain" } }));
    await expect(limiter.execute(() => Promise.reject("no error"))).rejects.toBe("no error");
    expect(log).toEqual([]);
    expect(available(limiter)).toEqual({ requests: 6, tokens: 60 });
  });

  test("with learn: false headers are not looked at (C3.4)", async () => {
    const { limiter } = limiterOf({ learn: false });
    await limiter.execute(() => ({ headers }));
    const error = { headers: { "retry-after": "9" } };
    await limiter.execute(() => Promise.reject(error)).catch(() => {});
    expect(await limiter.execute(() => "at once")).toBe("at once");
    expect(available(limiter)).toEqual({ requests: 7, tokens: 70 });
  });

  test("with learn: false a settle is asked all the same, and nothing else is looked at (C3.4)", async () => {
    const limits: RateLimits = { tokens: { limit: 100, intervalMs: 1_000, settle: () => 50 } };
    const { limiter } = limiterOf({ learn: false, limits });
    await limiter.execute(() => ({ headers }));
    await limiter.execute(() => Promise.reject({ headers: { "retry-after": "9" } })).catch(() => {});
    expect(await limiter.executeOutcome(() => "at once")).toMatchObject({ ok: true });
    expect(available(limiter)).toEqual({ tokens: -1 });
  });
});

describe("other limits, put in place of the old", () => {
  test.each(["token-bucket", "sliding-window"] as const)(
    "by a %s, what was taken stays taken, and who waits keeps its place (C3.4)",
    async (algorithm) => {
      const limits = (limit: number): RateLimits => ({ requests: { limit, intervalMs: 1_000, algorithm } });
      const { runtime, limiter } = limiterOf({ limits: limits(2) });
      const order: [number, number][] = [];
      const calls = [0, 1, 2, 3, 4].map((n) => limiter.execute(() => order.push([n, runtime.clock.now()])));
      await runtime.clock.advance(100);
      limiter.update({ limits: limits(4) });
      expect(limiter.getStats()).toMatchObject({ granted: 4, waiting: 1 });
      await runtime.clock.advance(2_000);
      await Promise.all(calls);
      expect(order.slice(0, 4).map(([n]) => n)).toEqual([0, 1, 2, 3]);
      expect(order.slice(2, 4).map(([, at]) => at)).toEqual([100, 100]);
      expect(order[4]![1]).toBeGreaterThan(100);
      expect(limiter.describe().options).toMatchObject({ limits: { requests: { limit: 4 } } });
      expect(runtime.clock.pendingTimers).toBe(0);
    },
  );

  test("a settle that comes with them is asked from then on, also where nothing was looked at before (C3.4)", async () => {
    const { limiter } = limiterOf({ learn: false });
    expect(await limiter.execute(() => "at once")).toBe("at once");
    const thrown = limiter.execute(() => {
      throw new Error("at once");
    });
    await expect(thrown).rejects.toThrow("at once");
    await expect(limiter.execute(() => Promise.reject(new Error("later")))).rejects.toThrow("later");
    expect(available(limiter)).toEqual({ requests: 7, tokens: 70 });
    limiter.update({ limits: { ...DUAL, tokens: { limit: 100, intervalMs: 1_000, cost: 10, settle: () => 50 } } });
    await limiter.execute(() => "dear");
    expect(available(limiter)).toEqual({ requests: 6, tokens: 20 });
  });

  test("where nothing is looked at, what stands inside is there all the same (C3.4, C3.10)", async () => {
    const { runtime, limiter } = limiterOf({ learn: false });
    const breaker = new CircuitBreaker({ failureThreshold: 1 }, runtime);
    const both = new Pipeline([limiter, breaker], runtime);
    await expect(both.execute(() => Promise.reject(new Error("down")))).rejects.toThrow("down");
    expect(breaker.state).toBe("OPEN");
    await expect(both.execute(() => "never called")).rejects.toMatchObject({ code: "CIRCUIT_OPEN" });
    // What was refused inside has cost nothing.
    expect(available(limiter)).toEqual({ requests: 9, tokens: 90 });
  });

  test("those in line still count for who comes after them (C3.4)", async () => {
    const limits: RateLimits = { requests: { limit: 2, intervalMs: 1_000 } };
    const { runtime, limiter } = limiterOf({ limits });
    const calls = Array.from({ length: 5 }, () => limiter.execute(() => 1));
    limiter.update({ limits });
    const outcome = await limiter.executeOutcome(() => 1, { deadlineMs: 1 });
    expect(outcome).toMatchObject({ refused: true, retryAfterMs: 2_000 });
    await runtime.clock.advance(1_500);
    await Promise.all(calls);
  });

  test("a waiting call that can never be let through any more is refused at once (C3.4)", async () => {
    const { runtime, limiter } = limiterOf();
    const spend = (tokens: number): Promise<unknown> => limiter.execute(() => tokens, { cost: { tokens } });
    await spend(100);
    const [dear, cheap] = [spend(80), spend(5)];
    limiter.update({ limits: { tokens: { limit: 50, intervalMs: 1_000 } } });
    await expect(dear).rejects.toMatchObject({ code: "RATE_LIMITED", why: "capacity" });
    await runtime.clock.advance(3_000);
    expect(await cheap).toBe(5);
    expect(() => limiter.update({ limits: {} })).toThrow("needs requests, tokens or both");
  });
});
