import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { CircuitBreakerOpenError, ConfigError } from "../core/errors.ts";
import { systemRuntime } from "../core/runtime.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { CircuitBreakerFactory } from "./breaker-factory.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { circuitBreaker } from "./decorate.ts";
import { getResourceLock } from "./named-locks.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

const fail = (): Promise<never> => Promise.reject(new Error("down"));

async function opened(name: string, runtime: FakeRuntime, options: CircuitBreakerOptions<never> = {}): Promise<void> {
  const breaker = CircuitBreakerFactory.create<never>({ failureThreshold: 1, ...options, name }, runtime);
  await breaker.executeOutcome(fail);
}

/** Asks for so many other things, and collects what nobody holds. */
async function idle(runtime: FakeRuntime, passMs: number): Promise<void> {
  await runtime.clock.advance(passMs);
  for (let n = 0; n < 5; n++) {
    CircuitBreakerFactory.create({ name: "other" }, runtime);
    getResourceLock("other", {}, runtime);
  }
  await new Promise((resolve) => setTimeout(resolve, 1));
  gc();
}

describe("a shared circuit breaker", () => {
  test("is one for all that ask for its name, whichever way (C2.7)", async () => {
    const runtime = fakeRuntime();
    const options = { name: "crm", failureThreshold: 2 };
    const breaker = new CircuitBreaker({ ...options, shared: true }, runtime);
    expect(new CircuitBreaker({ ...options, shared: true }, runtime)).toBe(breaker);
    expect(CircuitBreakerFactory.create(options, runtime)).toBe(breaker);
    expect(CircuitBreakerFactory.get("crm", runtime)).toBe(breaker);
    expect(breaker).toBeInstanceOf(CircuitBreaker);
    await breaker.executeOutcome(fail);
    await CircuitBreakerFactory.create({ name: "crm" }, runtime).executeOutcome(fail);
    expect(breaker.state).toBe("OPEN");
  });

  test("is found by its name alone, whatever its options are (C2.7)", () => {
    const runtime = fakeRuntime();
    const breaker = CircuitBreakerFactory.create({ name: "crm", fallback: "stale", failureThreshold: 1 }, runtime);
    expect(CircuitBreakerFactory.create({ name: "crm" }, runtime)).toBe(breaker);
    expect(new CircuitBreaker({ name: "crm", shared: true, failureThreshold: undefined }, runtime)).toBe(breaker);
  });

  test("is the same by options that mean the same (C2.7, C0.2)", () => {
    const runtime = fakeRuntime();
    const countsAsFailure = [/ECONN/, "EPIPE"];
    const given = { name: "crm", recoveryTimeoutMs: 5, window: { kind: "count", size: 9 }, countsAsFailure } as const;
    const breaker = CircuitBreakerFactory.create(given, runtime);
    const { recoveryTimeoutMs: timeout, ...same } = { ...given, countsAsFailure: [/ECONN/, "EPIPE"] };
    expect(CircuitBreakerFactory.create({ ...same, timeout, failureThreshold: 5 }, runtime)).toBe(breaker);
  });

  test.each<[string, CircuitBreakerOptions]>([
    ["failureThreshold", { failureThreshold: 4 }],
    ["fallback", { failureThreshold: 3 }],
    ["fallback", { failureThreshold: 3, fallback: "other" }],
    ["onStateChange", { failureThreshold: 3, fallback: "stale", onStateChange: () => {} }],
    ["countsAsFailure", { failureThreshold: 3, fallback: "stale", countsAsFailure: () => true }],
    ["dryRun", { failureThreshold: 3, fallback: "stale", dryRun: true }],
    ["sharedState", { failureThreshold: 3, fallback: "stale", sharedState: new MemorySharedState() }],
  ])("asked for with another %s is a ConfigError (C2.7)", (option, asked) => {
    const runtime = fakeRuntime();
    const breaker = CircuitBreakerFactory.create({ name: "crm", failureThreshold: 3, fallback: "stale" }, runtime);
    for (const ask of [
      () => CircuitBreakerFactory.create({ ...asked, name: "crm" }, runtime),
      () => new CircuitBreaker({ ...asked, name: "crm", shared: true }, runtime),
    ]) {
      expect(ask).toThrow(ConfigError);
      expect(ask).toThrow(`Circuit breaker "crm" exists with another ${option}.`);
    }
    expect(CircuitBreakerFactory.get("crm", runtime)).toBe(breaker);
  });

  test("one made with new is on its own, unless it says otherwise; so is that of another runtime (C2.7)", () => {
    const runtime = fakeRuntime();
    const own = new CircuitBreaker({ name: "crm" }, runtime);
    expect(CircuitBreakerFactory.get("crm", runtime)).toBeUndefined();
    const shared = CircuitBreakerFactory.create({ name: "crm" }, runtime);
    expect(shared).not.toBe(own);
    expect(new CircuitBreaker({ name: "crm", shared: false }, runtime)).not.toBe(shared);
    expect(CircuitBreakerFactory.get("crm", fakeRuntime())).toBeUndefined();
  });

  test("a wrapper shares it too, in the runtime of the process (C1.8, C2.7)", async () => {
    const breaker = CircuitBreakerFactory.create({ name: "named.test", failureThreshold: 1 });
    await expect(circuitBreaker({ name: "named.test", shared: true })(fail)()).rejects.toThrow("down");
    expect(breaker.state).toBe("OPEN");
    expect(CircuitBreakerFactory.get("named.test", systemRuntime)).toBe(breaker);
    expect(CircuitBreakerFactory.getAllStats()["named.test"]).toMatchObject({ state: "open" });
    expect(CircuitBreakerFactory.reset("named.test")).toBe(1);
    expect(CircuitBreakerFactory.delete("named.test")).toBe(true);
  });

  test("needs a name, and cannot be a subclass, which would be built twice (C0.3, C2.7)", () => {
    expect(() => new CircuitBreaker({ shared: true })).toThrow("circuitBreaker.shared needs a name");
    expect(() => CircuitBreakerFactory.create({} as { name: string })).toThrow("needs a name");
    class Mine extends CircuitBreaker {}
    expect(() => new Mine({ name: "crm", shared: true })).toThrow('"crm" cannot be shared, since Mine is a subclass');
    expect(new Mine({ name: "crm" })).toBeInstanceOf(Mine);
  });

  test("options that are refused leave nothing behind (C0.3, C2.7)", () => {
    const runtime = fakeRuntime();
    expect(() => CircuitBreakerFactory.create({ name: "crm", failureThreshold: 0 }, runtime)).toThrow(ConfigError);
    expect(CircuitBreakerFactory.get("crm", runtime)).toBeUndefined();
  });
});

describe("CircuitBreakerFactory", () => {
  test("tells the statistics of all, also under names that an object has already (C2.7)", async () => {
    const runtime = fakeRuntime();
    await opened("crm", runtime);
    CircuitBreakerFactory.create({ name: "__proto__" }, runtime);
    const stats = CircuitBreakerFactory.getAllStats(runtime);
    expect(Object.keys(stats).toSorted()).toEqual(["__proto__", "crm"]);
    expect(stats.crm).toMatchObject({ name: "crm", state: "open", totalFailures: 1 });
  });

  test("resets one or all, and says how many (C2.7)", async () => {
    const runtime = fakeRuntime();
    for (const name of ["a", "b", "c"]) await opened(name, runtime);
    const states = (): string[] => ["a", "b", "c"].map((name) => CircuitBreakerFactory.get(name, runtime)!.state);
    expect(CircuitBreakerFactory.reset("b", runtime)).toBe(1);
    expect(states()).toEqual(["OPEN", "CLOSED", "OPEN"]);
    expect(CircuitBreakerFactory.reset("nobody", runtime)).toBe(0);
    expect(CircuitBreakerFactory.reset(undefined, runtime)).toBe(3);
    expect(states()).toEqual(["CLOSED", "CLOSED", "CLOSED"]);
  });

  test("deletes a name: the next to ask gets a new one, and whoever has the old one keeps it (C2.7)", async () => {
    const runtime = fakeRuntime();
    await opened("crm", runtime);
    const old = CircuitBreakerFactory.get("crm", runtime)!;
    expect(CircuitBreakerFactory.delete("crm", runtime)).toBe(true);
    expect(CircuitBreakerFactory.delete("crm", runtime)).toBe(false);
    expect(CircuitBreakerFactory.create({ name: "crm", failureThreshold: 9 }, runtime).state).toBe("CLOSED");
    await expect(old.execute(() => 1)).rejects.toThrow(CircuitBreakerOpenError);
  });

  test("forgets what is closed and idle, and keeps an order by hand for ever (C2.7)", async () => {
    const runtime = fakeRuntime();
    await opened("closed", runtime, { failureThreshold: 2 });
    CircuitBreakerFactory.create({ name: "isolated" }, runtime).isolate();
    CircuitBreakerFactory.create({ name: "disabled" }, runtime).disable();
    for (let n = 0; n < 3; n++) await idle(runtime, 3_600_000);
    const stats = CircuitBreakerFactory.getAllStats(runtime);
    expect(Object.keys(stats).toSorted()).toEqual(["disabled", "isolated", "other"]);
  });

  test("keeps what is open for as long as it refuses, and forgets it afterwards (C2.7)", async () => {
    const runtime = fakeRuntime();
    await opened("short", runtime);
    await opened("long", runtime, { recoveryTimeoutMs: 10_000_000 });
    await opened("probing", runtime, { recoveryTimeoutMs: 4_000_000 });
    await runtime.clock.advance(4_000_000);
    await CircuitBreakerFactory.get("probing", runtime)!.execute(() => "one of two probes");
    await idle(runtime, 3_600_000);
    await idle(runtime, 0);
    const names = (): string[] => Object.keys(CircuitBreakerFactory.getAllStats(runtime)).toSorted();
    expect(names()).toEqual(["long", "other", "probing"]);
    for (let n = 0; n < 3; n++) await idle(runtime, 3_600_000);
    expect(names()).toEqual(["other"]);
  });

  test("two hundred thousand names leave the heap bounded (C2.7)", async () => {
    const runtime = fakeRuntime();
    const collect = async (): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      gc();
    };
    await collect();
    const before = process.memoryUsage().heapUsed;
    for (let n = 0; n < 200_000; n++) {
      CircuitBreakerFactory.create({ name: `tenant ${n}` }, runtime);
      // A weak reference lives as long as the task that made it.
      if (n % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await collect();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(30e6);
  }, 60_000);
});

describe("getResourceLock", () => {
  test("gives the one lock of a name (C3.3)", async () => {
    const runtime = fakeRuntime();
    const lock = getResourceLock("ledger", { maxConcurrent: 2, acquireTimeoutMs: 30_000 }, runtime);
    expect(lock.name).toBe("ledger");
    expect(getResourceLock("ledger", {}, runtime)).toBe(lock);
    expect(getResourceLock("ledger", { maxConcurrent: undefined, leaseMs: undefined }, runtime)).toBe(lock);
    expect(getResourceLock("ledger", { maxConcurrent: 2 }, runtime)).toBe(lock);
    expect(getResourceLock("stock", {}, runtime)).not.toBe(lock);
    expect(getResourceLock("ledger", {}, fakeRuntime())).not.toBe(lock);
    const permit = await getResourceLock("ledger", {}, runtime).acquire("import");
    expect(lock.getStats().currentHolders).toEqual(["import"]);
    permit.release();
    expect(getResourceLock("named.test")).toBe(getResourceLock("named.test"));
  });

  test("with other options than it has it is a ConfigError that names one (C3.3, C0.3)", () => {
    const runtime = fakeRuntime();
    getResourceLock("ledger", { maxConcurrent: 2 }, runtime);
    expect(() => getResourceLock("ledger", { maxConcurrent: 3 }, runtime)).toThrow(ConfigError);
    expect(() => getResourceLock("ledger", { maxConcurrent: 2, acquireTimeoutMs: 0 }, runtime)).toThrow(
      'Lock "ledger" exists with another acquireTimeoutMs.',
    );
    expect(() => getResourceLock("stock", { maxConcurrent: 0 }, runtime)).toThrow("lock.maxConcurrent");
    expect(() => getResourceLock("", {}, runtime)).toThrow("lock.name");
  });

  test("a shared one is the same only in the same place (C3.3)", () => {
    const runtime = fakeRuntime();
    const place = new MemorySharedState();
    const lock = getResourceLock("ledger", { lease: place, leaseMs: 500 }, runtime);
    expect(getResourceLock("ledger", { lease: place, leaseMs: 500 }, runtime)).toBe(lock);
    const elsewhere = { lease: new MemorySharedState(), leaseMs: 500 };
    expect(() => getResourceLock("ledger", elsewhere, runtime)).toThrow("another lease.");
    expect(() => getResourceLock("ledger", { lease: place }, runtime)).toThrow("another leaseMs.");
    expect(() => getResourceLock("ledger", { maxConcurrent: 1 }, runtime)).toThrow("another lease.");
  });

  test("is kept while it is held, also where nobody has more of it than a permit (C3.3)", async () => {
    const runtime = fakeRuntime();
    const permit = await getResourceLock("held", { maxConcurrent: 2 }, runtime).acquire("import");
    getResourceLock("free", { maxConcurrent: 2 }, runtime);
    for (let n = 0; n < 3; n++) await idle(runtime, 3_600_000);
    expect(getResourceLock("held", {}, runtime).getStats().currentHolders).toEqual(["import"]);
    // The old one had room for two.
    expect(getResourceLock("free", {}, runtime).getStats().capacity).toBe(1);
    permit.release();
  });
});
