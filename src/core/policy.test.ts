import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { Fallback } from "../policies/fallback.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { Timeout } from "../policies/timeout.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { CircuitBreakerOpenError, RefusedError, TimeoutError } from "./errors.ts";
import { pipeline } from "./pipeline.ts";
import { failed, type Policy, PolicyBase, type PolicyDescription, valueOf } from "./policy.ts";

const runtime = fakeRuntime();
const retry = new RetryPolicy({ name: "r" }, runtime);

/** Each policy, as it is when nothing goes wrong. */
const POLICIES: [string, Policy<unknown>][] = [
  ["retry", retry],
  ["circuitBreaker", new CircuitBreaker({}, runtime)],
  ["timeout", new Timeout({ attemptTimeoutMs: 1_000 }, runtime)],
  ["fallback", new Fallback({ fallback: null }, runtime)],
  ["pipeline", pipeline(retry, new CircuitBreaker({}, runtime), new Timeout({ attemptTimeoutMs: 50 }, runtime))],
  ["empty pipeline", pipeline()],
];

describe.each(POLICIES)("%s", (_, policy) => {
  test("takes synchronous and asynchronous functions and promises of another make (C1.8)", async () => {
    const thenable: PromiseLike<number> = { then: (resolve) => Promise.resolve(3).then(resolve) };
    expect(await policy.execute(() => 1)).toBe(1);
    expect(await policy.execute(async () => 2)).toBe(2);
    expect(await policy.execute(() => thenable)).toBe(3);
    expect(await policy.execute(() => undefined)).toBeUndefined();
  });

  test("calls the operation with a signal, the attempt and the deadline (C3.10)", async () => {
    await policy.execute((call) => {
      expect(call.signal).toBeInstanceOf(AbortSignal);
      expect(call.attempt).toBe(1);
      expect(call.deadline).toBeGreaterThan(0);
    });
  });

  test("wraps a function with its name, its arguments and its this (C1.8)", async () => {
    const counter = {
      total: 1,
      add: policy.wrap(function add(this: { total: number }, ...amounts: number[]) {
        for (const amount of amounts) this.total += amount;
        return this.total;
      }),
    };
    const ordinary = Object.getOwnPropertyDescriptor(function add() {}, "name");
    expect(Object.getOwnPropertyDescriptor(counter.add, "name")).toEqual(ordinary);
    expect(await counter.add(2, 3)).toBe(6);
    expect(counter.total).toBe(6);
  });

  test("gives a success as a value (C10.1)", async () => {
    expect(await policy.executeOutcome(async () => 5)).toEqual({ ok: true, value: 5 });
  });

  test("does not call the operation under a signal that is aborted beforehand (C1.6)", async () => {
    const reason = new Error("too late");
    const call = { signal: AbortSignal.abort(reason) };
    let called = false;
    const operation = (): boolean => (called = true);
    await expect(policy.execute(operation, call)).rejects.toBe(reason);
    expect(await policy.executeOutcome(operation, call)).toEqual({ ok: false, refused: false, error: reason });
    expect(called).toBe(false);
  });

  test("does not call the operation when no time is left (C3.1)", async () => {
    let called = false;
    await expect(policy.execute(() => (called = true), { deadlineMs: 0 })).rejects.toThrow(TimeoutError);
    expect(called).toBe(false);
  });

  test("prints what it is", () => {
    expect(String(policy)).toBe(`${policy.kind} "${policy.name}"`);
    expect(inspect(policy)).toBe(inspect(policy.describe()));
  });
});

/** A policy as somebody else may write one: it refuses every call. */
class Closed extends PolicyBase {
  readonly kind = "closed";
  readonly name = "for good";

  execute(): Promise<never> {
    return Promise.reject(new RefusedError("CLOSED", "no calls today"));
  }

  around(): () => Promise<never> {
    return () => this.execute();
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: {} };
  }
}

describe("a failure as a value", () => {
  test("says refused of any policy that refuses, also of one that is not ours (C10.1)", async () => {
    const outcome = await new Closed().executeOutcome(() => "never called");
    expect(outcome).toEqual({ ok: false, refused: true, error: new RefusedError("CLOSED", "no calls today") });
  });

  test("has the error, and says refused only where the operation was not called (C10.1)", async () => {
    const timeout = new Timeout({ attemptTimeoutMs: 50 }, runtime);
    const error = new Error("no");
    expect(await timeout.executeOutcome(() => Promise.reject(error))).toEqual({ ok: false, refused: false, error });
    // The operation was called, and met a refusal inside.
    const inner = new CircuitBreakerOpenError("inner", 1, 70);
    const called = await timeout.executeOutcome(() => Promise.reject(inner));
    expect(called).toEqual({ ok: false, refused: false, error: inner, retryAfterMs: 70 });
  });

  test("carries retryAfterMs only where the error knows it (C10.1)", () => {
    expect(failed(new CircuitBreakerOpenError("b", 1, 40), true)).toMatchObject({ refused: true, retryAfterMs: 40 });
    for (const error of [new RefusedError("X", "no"), { retryAfterMs: "5" }, null, undefined, "text"])
      expect(failed(error, false)).toEqual({ ok: false, refused: false, error });
  });

  test("is thrown again by those who want the value", () => {
    expect(valueOf({ ok: true, value: 1 })).toBe(1);
    expect(() => valueOf({ ok: false, refused: false, error: new Error("no") })).toThrow("no");
  });
});
