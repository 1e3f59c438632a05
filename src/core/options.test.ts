import { describe, expect, test } from "vitest";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { Fallback } from "../policies/fallback.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { Timeout } from "../policies/timeout.ts";
import { ConfigError } from "./errors.ts";
import {
  aBoolean,
  aFunction,
  aSharedState,
  checkId,
  checkOptions,
  durationMs,
  either,
  numberBetween,
  oneOf,
  plainOptions,
  positiveMs,
  show,
} from "./options.ts";

// Programs without types give us anything, so these go in past the compiler.
type Anything = never;
const POLICIES = {
  retry: (options: object) => new RetryPolicy(options),
  circuitBreaker: (options: object) => new CircuitBreaker(options as Anything),
  timeout: (options: object) => new Timeout(options),
  fallback: (options: object) => new Fallback(options as Anything),
};

function build(owner: keyof typeof POLICIES, options: object): () => unknown {
  return () => POLICIES[owner](options);
}

describe("what no policy takes is a ConfigError that names the option, the value and what is allowed (C0.3)", () => {
  const ms = "a number of milliseconds, 0 or more";
  const above0 = "a number of milliseconds above 0";
  test.each([
    ["retry", "maxAttempts", 0, "a whole number of at least 1, or Infinity, got 0"],
    ["retry", "maxAttempts", -1, "a whole number of at least 1, or Infinity, got -1"],
    ["retry", "maxAttempts", 2.5, "a whole number of at least 1, or Infinity, got 2.5"],
    ["retry", "maxAttempts", NaN, "a whole number of at least 1, or Infinity, got NaN"],
    ["retry", "maxAttempts", "3", 'a whole number of at least 1, or Infinity, got "3"'],
    ["retry", "maxAttempts", null, "a whole number of at least 1, or Infinity, got null"],
    ["retry", "maxRetries", -1, "a whole number of at least 0, or Infinity, got -1"],
    ["retry", "initialDelayMs", -1, `${ms}, got -1`],
    ["retry", "initialDelayMs", NaN, `${ms}, got NaN`],
    ["retry", "maxDelayMs", Infinity, `${ms}, got Infinity`],
    ["retry", "maxDelayMs", 2 ** 53, `${ms}, got 9007199254740992`],
    ["retry", "maxDelayMs", 1_000n, `${ms}, got 1000n`],
    ["retry", "backoffMultiplier", -2, "a number from 0 to 1000000, got -2"],
    ["retry", "backoffMultiplier", Infinity, "a number from 0 to 1000000, got Infinity"],
    ["retry", "jitterFactor", 1.1, "a number from 0 to 1, got 1.1"],
    ["retry", "jitter", "half", 'one of "full", "equal", "none", got "half"'],
    ["retry", "strategy", "quadratic", '"decorrelated", or a function, got "quadratic"'],
    [
      "retry",
      "retryableErrors",
      [404],
      "an error class, an error code, a RegExp, a function, or an array of these, got an array",
    ],
    ["retry", "retryableErrors", "", 'or an array of these, got ""'],
    ["retry", "onRetry", {}, "a function, got an object"],
    ["retry", "name", "", 'a non-empty string of at most 512 characters, got ""'],
    ["circuitBreaker", "failureThreshold", 0, "a whole number of at least 1, got 0"],
    ["circuitBreaker", "failureThreshold", Infinity, "a whole number of at least 1, got Infinity"],
    ["circuitBreaker", "successThreshold", 1.5, "a whole number of at least 1, got 1.5"],
    ["circuitBreaker", "recoveryTimeoutMs", -1, `${ms}, got -1`],
    ["circuitBreaker", "timeout", NaN, `${ms}, got NaN`],
    ["circuitBreaker", "timeoutMs", "1s", `${ms}, got "1s"`],
    ["circuitBreaker", "halfOpenMaxConcurrent", 0, "a whole number of at least 1, got 0"],
    ["circuitBreaker", "probeTimeoutMs", 0, `${above0}, got 0`],
    ["circuitBreaker", "volumeThreshold", 0, "a whole number of at least 1, got 0"],
    ["circuitBreaker", "countsAsFailure", 5, "a RegExp, a function, or an array of these, got 5"],
    ["circuitBreaker", "window", [], "an object, got an array"],
    ["circuitBreaker", "recoveryBackoff", true, "an object, got true"],
    ["circuitBreaker", "fallbackOn", "all", 'one of "open", "any", got "all"'],
    ["circuitBreaker", "onStateChange", "log", 'a function, got "log"'],
    ["timeout", "attemptTimeoutMs", 0, `${above0}, got 0`],
    ["timeout", "totalTimeoutMs", NaN, `${above0}, got NaN`],
    ["fallback", "onFallback", 1, "a function, got 1"],
    ["fallback", "name", "x".repeat(513), "a non-empty string of at most 512 characters, got"],
  ] as const)("%s.%s: %o", (owner, option, value, says) => {
    const attempt = build(owner, { [option]: value });
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(`${owner}.${option} must be `);
    expect(attempt).toThrow(says);
  });

  test.each(Object.keys(POLICIES) as (keyof typeof POLICIES)[])(
    "%s: an unknown key, and what is no object (C0.3)",
    (owner) => {
      expect(build(owner, { maxAttempt: 3 })).toThrow(`${owner} has no option "maxAttempt". It knows: name, `);
      expect(build(owner, { maxAttempt: undefined })).toThrow(ConfigError);
      expect(build(owner, JSON.parse('{"__proto__": 1}') as object)).toThrow('has no option "__proto__"');
      for (const options of [null, 5, "fast", []] as unknown as object[])
        expect(build(owner, options)).toThrow(`${owner} takes an options object, got `);
    },
  );

  test("an option that is undefined counts as left out", () => {
    expect(new RetryPolicy({ maxAttempts: undefined, strategy: undefined }).describe().options).toMatchObject({
      maxAttempts: 3,
      strategy: "exponential",
    });
  });
});

describe("aliases", () => {
  test("timeout and timeoutMs of a breaker mean recoveryTimeoutMs, and agreeing with it is allowed (C0.1)", () => {
    for (const options of [
      { timeout: 7 },
      { timeoutMs: 7 },
      { timeout: 7, timeoutMs: 7, recoveryTimeoutMs: 7 },
      { recoveryTimeoutMs: 7 },
    ]) {
      const breaker = new CircuitBreaker(options);
      expect(breaker.getState().recoveryTimeoutMs).toBe(7);
      expect(breaker.describe().options).not.toHaveProperty("timeout");
    }
  });

  test("an alias beside another value of its canonical name is a ConfigError (C0.1)", () => {
    for (const options of [
      { timeout: 7, recoveryTimeoutMs: 8 },
      { timeoutMs: 7, recoveryTimeoutMs: 8 },
      { timeout: 7, timeoutMs: 8 },
    ])
      expect(() => new CircuitBreaker(options)).toThrow("which contradict each other");
  });

  test("maxRetries is maxAttempts less one, and contradicting it is a ConfigError (C0.2)", () => {
    const attempts = (options: object): unknown => new RetryPolicy(options).describe().options["maxAttempts"];
    expect(attempts({ maxRetries: 4 })).toBe(5);
    expect(attempts({ maxRetries: 0 })).toBe(1);
    expect(attempts({ maxRetries: Infinity })).toBe(Infinity);
    expect(attempts({ maxRetries: 4, maxAttempts: 5 })).toBe(5);
    expect(() => attempts({ maxRetries: 4, maxAttempts: 4 })).toThrow("retry got maxRetries: 4 and maxAttempts: 4");
  });
});

describe("names and ids", () => {
  test.each(["__proto__", "constructor", "../x", "a\0b", "🦑", "A", "a", " ", "x".repeat(512)])(
    "%j is an ordinary name (C0.7)",
    (name) => {
      expect(new CircuitBreaker({ name }).name).toBe(name);
      expect(checkId("run id", name)).toBe(name);
    },
  );

  test.each(["", "x".repeat(513), 5, null, undefined, {}])("%j is none (C0.7)", (id) => {
    expect(() => checkId("the run id", id)).toThrow("the run id must be a non-empty string of at most 512 characters");
  });
});

test("checked options are a copy, so that changing the original later changes nothing", () => {
  const original = { delay: 5 };
  const checked = checkOptions("thing", original, { delay: durationMs });
  original.delay = -1;
  expect(checked).toEqual({ delay: 5 });
});

test("a duration may be so long that a millisecond still counts, and no longer (C0.3)", () => {
  const longest = 2 ** 53 - 1;
  for (const rule of [durationMs, positiveMs])
    expect([longest, longest + 1, Infinity].map(rule.allows)).toEqual([true, false, false]);
});

test("both ends of a range are allowed (C0.3)", () => {
  expect([-0.1, 0, 0.5, 1, 1.1].map(numberBetween(0, 1).allows)).toEqual([false, true, true, true, false]);
});

test("what is no boolean, and what cannot share state, is told what it should be (C0.3)", () => {
  const rules = { dryRun: aBoolean, shared: aSharedState, hook: aFunction };
  const check = (options: object) => (): unknown => checkOptions<object>("thing", options, rules);
  expect(check({ dryRun: 1 })).toThrow("thing.dryRun must be true or false, got 1.");
  expect(check({ hook: "log" })).toThrow('thing.hook must be a function, got "log".');
  const update = (): unknown => undefined;
  for (const [shared, shown] of [
    [{}, "an object"],
    [{ update }, "an object"],
    [{ update, sharing: {} }, "an object"],
    [{ sharing: { kind: "sharing" } }, "an object"],
    [null, "null"],
    ["redis://", '"redis://"'],
  ])
    expect(check({ shared })).toThrow(
      `thing.shared must be a shared state, such as openSharedState() gives; one of your own needs { update, close, sharing }, with the sharing that holdfast/policies exports, got ${shown as string}.`,
    );
  const good = { dryRun: false, shared: { update, sharing: { kind: "sharing" } }, hook: () => {} };
  expect(check(good)()).toEqual(good);
});

test("either of two rules says both", () => {
  const rule = either(oneOf("a"), durationMs);
  expect([rule.allows("a"), rule.allows(5), rule.allows("b")]).toEqual([true, true, false]);
  expect(rule.says).toBe('one of "a", or a number of milliseconds, 0 or more');
});

test("options become plain data for a description: code stands there by its name (C3.12)", () => {
  class NotFound extends Error {}
  const options = { a: 1, none: null, matcher: [NotFound, /busy/i, "ECONNRESET"], nested: { hook: () => 1 } };
  expect(plainOptions(options)).toEqual({
    a: 1,
    none: null,
    matcher: ["the function NotFound", "/busy/i", "ECONNRESET"],
    nested: { hook: "the function hook" },
  });
});

test("a value in a message is short and never throws", () => {
  expect(show("x".repeat(80))).toBe(`"${"x".repeat(80)}"`);
  expect(show("x".repeat(81))).toBe(`"${"x".repeat(77)}..."`);
  expect(show("x".repeat(100))).toBe(`"${"x".repeat(77)}..."`);
  expect(show(Symbol("s"))).toBe("Symbol(s)");
  expect(show(() => {})).toBe("the function (anonymous)");
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  expect(show(proxy)).toBe("a value that cannot be printed");
});
