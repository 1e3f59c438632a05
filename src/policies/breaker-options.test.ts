import { expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { breakerSettings, type CircuitBreakerOptions } from "./breaker-options.ts";

const sharedState = new MemorySharedState({ clock: new FakeClock() });

test("breakers that are made alike, one after the other, keep one object of settings (C2.8)", () => {
  const options = { failureThreshold: 3, countsAsFailure: Error };
  const settings = breakerSettings(options);
  expect(breakerSettings({ ...options })).toBe(settings);
  const others = breakerSettings({ ...options, failureThreshold: 4 });
  expect([settings.failureThreshold, others.failureThreshold]).toEqual([3, 4]);
});

test("nothing counts as a failure but what does by itself, and only an open circuit is served for, unless told otherwise (C2.1, C3.5)", () => {
  expect(breakerSettings({})).toMatchObject({
    errorFails: undefined,
    valueFails: undefined,
    fallbackOn: "open",
    dryRun: false,
    shared: false,
  });
  expect(breakerSettings({ fallback: 1, fallbackOn: "open" })).toMatchObject({ fallbackOn: "open" });
  expect(breakerSettings({ fallback: 1, fallbackOn: "any" })).toMatchObject({ fallbackOn: "any" });
  expect(breakerSettings({ countsAsFailure: Error }).errorFails).toBeInstanceOf(Function);
  expect(breakerSettings({ countsAsFailure: (value: unknown) => value === null }).valueFails?.(null)).toBe(true);
  expect(breakerSettings({ shared: false })).toMatchObject({ shared: false });
});

test.each<[string, CircuitBreakerOptions]>([
  ["circuitBreaker got timeout: 1 and recoveryTimeoutMs: 2", { timeout: 1, recoveryTimeoutMs: 2 }],
  ["circuitBreaker got timeoutMs: 1 and recoveryTimeoutMs: 2", { timeoutMs: 1, recoveryTimeoutMs: 2 }],
  ["circuitBreaker.shared needs a name", { shared: true }],
  ["circuitBreaker.sharedState", { sharedState: null as never }],
  ["adaptive and sharedState exclude each other", { sharedState, adaptive: true }],
  ["adaptive and sharedState exclude each other", { sharedState, adaptive: { badRate: 0.5 } }],
])("%s: the error names what is wrong (C0.3)", (message, options) => {
  expect(() => breakerSettings(options)).toThrow(ConfigError);
  expect(() => breakerSettings(options)).toThrow(message);
});

test("a shared state goes with adaptive where that is off, and adaptive is fine alone (C2.1, C2.9)", () => {
  expect(breakerSettings({ sharedState, adaptive: false }).sharedState).toBe(sharedState);
  expect(breakerSettings({ adaptive: true }).adaptive).toBeDefined();
});
