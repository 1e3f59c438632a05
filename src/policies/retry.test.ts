import { describe, expect, test } from "vitest";
import type { RetryInfo } from "../core/call.ts";
import { ConfigError, RetryExhaustedError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { type RetryOptions, RetryPolicy } from "./retry.ts";

class NotFound extends Error {}

/** A policy whose waits are 0, and what it comes to for an operation that throws these errors and then succeeds. */
async function afterErrors(options: RetryOptions, ...errors: unknown[]): Promise<{ calls: number; result: unknown }> {
  const runtime = fakeRuntime();
  const retry = new RetryPolicy({ strategy: "immediate", ...options }, runtime);
  let calls = 0;
  const settled = retry
    .execute(() => {
      if (calls++ < errors.length) throw errors[calls - 1];
      return "done";
    })
    .catch((error: unknown) => error);
  await runtime.clock.advance(0);
  return { calls, result: await settled };
}

describe("attempts", () => {
  test("maxAttempts counts every call, the first included, and is 3 unless given (C0.2, C1.1)", async () => {
    const error = new Error("down");
    const all = [error, error, error, error];
    expect((await afterErrors({}, ...all)).calls).toBe(3);
    expect((await afterErrors({ maxAttempts: 1 }, ...all)).calls).toBe(1);
    expect((await afterErrors({ maxAttempts: 4 }, ...all)).calls).toBe(4);
    expect((await afterErrors({ maxRetries: 1 }, ...all)).calls).toBe(2);
    expect(await afterErrors({ maxAttempts: Infinity }, ...all)).toEqual({ calls: 5, result: "done" });
    expect(await afterErrors({ maxRetries: Infinity }, ...all)).toEqual({ calls: 5, result: "done" });
  });

  test("maxRetries and maxAttempts that contradict each other are refused (C0.2)", () => {
    expect(() => new RetryPolicy({ maxRetries: 5, maxAttempts: 3 })).toThrow(
      "retry got maxRetries: 5 and maxAttempts: 3, which contradict each other",
    );
  });

  test("the value of the first attempt that succeeds is the result (C1.3)", async () => {
    expect(await afterErrors({}, new Error("once"))).toEqual({ calls: 2, result: "done" });
  });

  test("the operation is told which attempt it is", async () => {
    const runtime = fakeRuntime();
    const attempts: number[] = [];
    const retry = new RetryPolicy({ strategy: "immediate" }, runtime);
    const settled = retry.execute(({ attempt }) => {
      if (attempts.push(attempt) < 3) throw new Error("not yet");
    });
    await runtime.clock.advance(0);
    await settled;
    expect(attempts).toEqual([1, 2, 3]);
  });

  test("attempts of an earlier life count (C0.2)", async () => {
    const runtime = fakeRuntime();
    const retry = new RetryPolicy({ maxAttempts: 4, strategy: "immediate" }, runtime);
    const attempts: number[] = [];
    const operation = ({ attempt }: { attempt: number }): never => {
      attempts.push(attempt);
      throw new Error("down");
    };
    const settled = retry.execute(operation, { priorAttempts: 2 }).catch((error: unknown) => error);
    await runtime.clock.advance(0);
    expect(await settled).toMatchObject({ name: "RetryExhaustedError", attempts: 4 });
    expect(attempts).toEqual([3, 4]);
  });
});

describe("when it gives up", () => {
  test("it throws RetryExhaustedError with the attempts, the last error and the cause (C1.3, C10.2)", async () => {
    const [first, last] = [new Error("first"), new Error("last")];
    const { result } = await afterErrors({ name: "mail", maxAttempts: 2 }, first, last);
    expect(result).toBeInstanceOf(RetryExhaustedError);
    expect(result).toMatchObject({ attempts: 2, lastError: last, cause: last });
    expect((result as Error).message).toBe("mail gave up after 2 attempts: no attempts are left. Last error: last");
  });

  test("an error that is not retryable comes out as it is, not wrapped (C1.3, C0.5)", async () => {
    const error = new NotFound("no such customer");
    const { calls, result } = await afterErrors({ retryableErrors: (thrown) => !(thrown instanceof NotFound) }, error);
    expect(calls).toBe(1);
    expect(result).toBe(error);
    const text = await afterErrors({ retryableErrors: NotFound }, "just a text");
    expect(text).toEqual({ calls: 1, result: "just a text" });
  });

  test("an outer retry does not multiply the calls (C0.8)", async () => {
    const runtime = fakeRuntime();
    const inner = new RetryPolicy({ name: "inner", strategy: "immediate" }, runtime);
    const outer = new RetryPolicy({ name: "outer", strategy: "immediate" }, runtime);
    let calls = 0;
    const operation = async (): Promise<never> => {
      calls++;
      throw new Error("down");
    };
    const wrapped = async (): Promise<unknown> => {
      try {
        return await inner.execute(operation);
      } catch (error) {
        throw new Error("the client failed", { cause: error });
      }
    };
    const settled = outer.executeOutcome(wrapped);
    await runtime.clock.advance(0);
    expect(await settled).toMatchObject({ ok: false, error: { message: "the client failed" } });
    expect(calls).toBe(3);
  });
});

describe("which errors are retried", () => {
  const coded = Object.assign(new Error("reset"), { code: "ECONNRESET" });
  test.each<[string, RetryOptions["retryableErrors"], unknown, boolean]>([
    ["a class", NotFound, new NotFound(), true],
    ["a class", NotFound, new Error(), false],
    ["a code", "ECONNRESET", coded, true],
    ["a code", "ETIMEDOUT", coded, false],
    ["a RegExp on the message", /reset$/, coded, true],
    ["a RegExp on the message", /busy/, coded, false],
    ["a predicate", (error) => error === coded, coded, true],
    ["a predicate", (error) => error === coded, new Error(), false],
    ["several of them", ["ETIMEDOUT", NotFound, /reset/], coded, true],
    ["several of them", ["ETIMEDOUT", NotFound], coded, false],
    ["none", [], coded, false],
  ])("%s: %o says of %o: %s (C1.4)", async (_, retryableErrors, error, retried) => {
    expect((await afterErrors({ retryableErrors }, error)).calls).toBe(retried ? 2 : 1);
  });

  test("left out, everything is, also what is no error (C1.4)", async () => {
    expect(await afterErrors({}, undefined, "text")).toEqual({ calls: 3, result: "done" });
  });

  test("mistakes and spent budgets are never, whatever retryableErrors says (C0.8)", async () => {
    for (const error of [new ConfigError("wrong"), { code: "BUDGET_EXCEEDED" }]) {
      expect(await afterErrors({ retryableErrors: () => true }, error)).toEqual({ calls: 1, result: error });
    }
  });
});

describe("what can be seen from outside", () => {
  /** A policy that fails twice, waits 100 and 200 ms and then succeeds. */
  async function series(
    runtime: FakeRuntime,
    options: RetryOptions,
    onRetry?: (retry: RetryInfo) => void,
  ): Promise<unknown> {
    const retry = new RetryPolicy({ name: "mail", initialDelayMs: 100, jitter: "none", ...options }, runtime);
    const settled = retry.execute(
      ({ attempt }) => {
        if (attempt < 3) throw new Error(`no ${attempt}`);
        return "done";
      },
      { onRetry },
    );
    settled.catch(() => {});
    await runtime.clock.advance(1_000);
    return settled;
  }

  test("onRetry runs when the wait is about to begin, with attempt, error and delay (C1.4)", async () => {
    const runtime = fakeRuntime();
    const seen: unknown[] = [];
    const note = (by: string) => (retry: RetryInfo) => seen.push([by, runtime.clock.now(), retry]);
    await series(runtime, { onRetry: note("policy") }, note("call"));
    const [first, second] = [1, 2].map((attempt) => ({
      attempt,
      error: new Error(`no ${attempt}`),
      delayMs: attempt * 100,
      refused: false,
    }));
    expect(seen).toEqual([
      ["policy", 0, first],
      ["call", 0, first],
      ["policy", 100, second],
      ["call", 100, second],
    ]);
  });

  test("onRetry of a call hears of the outermost retry only", async () => {
    const runtime = fakeRuntime();
    const retry = (name: string) => new RetryPolicy({ name, maxAttempts: 2, strategy: "immediate" }, runtime);
    const log = record(runtime.events);
    const heard: number[] = [];
    const settled = pipeline(retry("outer"), retry("inner")).executeOutcome(() => Promise.reject(new Error("down")), {
      onRetry: ({ attempt }) => heard.push(attempt),
    });
    await runtime.clock.advance(0);
    await settled;
    // The inner one waits and gives up, which the outer one does not repeat.
    expect(log).toMatchObject([
      { type: "retry.scheduled", policy: "inner" },
      { type: "retry.exhausted", policy: "inner" },
    ]);
    expect(heard).toEqual([]);
  });

  test("a hook that throws changes nothing and is reported (C0.6)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    const onRetry = (): void => {
      throw new Error("bad hook");
    };
    expect(await series(runtime, { onRetry }, onRetry)).toBe("done");
    const failed = log.flatMap((event) => (event.type === "listener.failed" ? [event.listening] : []));
    expect(failed).toEqual(["onRetry", "onRetry", "onRetry", "onRetry"]);
  });

  test("events name the policy, the attempt, the delay and the error (C3.11)", async () => {
    const runtime = fakeRuntime();
    const log = record(runtime.events);
    await series(runtime, { maxAttempts: 2 }).catch(() => {});
    expect(log).toMatchObject([
      { type: "retry.scheduled", policy: "mail", attempt: 1, delayMs: 100, error: new Error("no 1") },
      { type: "retry.exhausted", policy: "mail", attempts: 2, error: new Error("no 2"), why: "no attempts are left" },
    ]);
  });
});
