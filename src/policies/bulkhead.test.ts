import { AsyncLocalStorage } from "node:async_hooks";
import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { ConfigError, TimeoutError } from "../core/errors.ts";
import { Pipeline } from "../core/pipeline.ts";
import { BulkheadFullError } from "../core/policy-errors.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { Bulkhead, type BulkheadOptions } from "./bulkhead.ts";
import { bulkhead } from "./decorate.ts";
import { Hedge } from "./hedge.ts";
import { RetryPolicy } from "./retry.ts";
import { Timeout } from "./timeout.ts";

interface World {
  runtime: FakeRuntime;
  policy: Bulkhead;
  /** The names of the operations that were called, in order. */
  calls: string[];
  /** Starts an operation that settles when it is told to. */
  start(name: string, options?: Parameters<Bulkhead["execute"]>[1]): Promise<string>;
  settle(name: string, error?: Error): Promise<void>;
}

function world(options: BulkheadOptions): World {
  const runtime = fakeRuntime();
  const policy = new Bulkhead(options, runtime);
  const calls: string[] = [];
  const running = new Map<string, (error?: Error) => void>();
  return {
    runtime,
    policy,
    calls,
    start(name, callOptions) {
      const result = policy.execute(() => {
        calls.push(name);
        return new Promise<string>((resolve, reject) =>
          running.set(name, (error) => (error === undefined ? resolve(name) : reject(error))),
        );
      }, callOptions);
      result.catch(() => {});
      return result;
    },
    async settle(name, error) {
      running.get(name)!(error);
      await runtime.clock.advance(0);
    },
  };
}

describe("slots", () => {
  test("no more than maxConcurrent operations run, and one that fails gives its slot back too (C3.2)", async () => {
    const { policy, start, settle, calls } = world({ maxConcurrent: 2 });
    const first = start("a");
    void start("b");
    await expect(start("c")).rejects.toThrow(BulkheadFullError);
    await settle("a", new Error("down"));
    await expect(first).rejects.toThrow("down");
    void start("d");
    expect(calls).toEqual(["a", "b", "d"]);
    expect(policy.getStats()).toMatchObject({ active: 2, queued: 0, rejected: 1, maxConcurrent: 2, maxQueue: 0 });
  });

  test("an operation that throws at once gives its slot back", async () => {
    const policy = new Bulkhead({ maxConcurrent: 1 });
    const broken = (): never => {
      throw new Error("at once");
    };
    for (let i = 0; i < 3; i++) await expect(policy.execute(broken)).rejects.toThrow("at once");
    expect(await policy.executeOutcome(broken)).toMatchObject({ ok: false, refused: false });
    expect(await policy.execute(() => 1)).toBe(1);
    expect(policy.getStats().active).toBe(0);
  });

  test("a freed slot goes to the next in line, which no newcomer overtakes (C3.2)", async () => {
    const { policy, start, settle, calls } = world({ maxConcurrent: 1, maxQueue: 5 });
    for (const name of ["a", "b", "c"]) void start(name);
    expect(policy.getStats()).toMatchObject({ active: 1, queued: 2 });
    const settled = settle("a");
    void start("late");
    await settled;
    expect(calls).toEqual(["a", "b"]);
    await settle("b");
    await settle("c");
    expect(calls).toEqual(["a", "b", "c", "late"]);
    await settle("late");
    expect(policy.getStats()).toMatchObject({ active: 0, queued: 0 });
  });

  test("calls with a key take turns, each key in its own order (C3.2)", async () => {
    const { start, settle, calls } = world({ maxConcurrent: 1, maxQueue: 10 });
    void start("first");
    for (const name of ["a1", "a2", "a3"]) void start(name, { key: "a" });
    for (const name of ["b1", "b2"]) void start(name, { key: "b" });
    for (const name of ["first", "a1", "b1", "a2", "b2"]) await settle(name);
    expect(calls).toEqual(["first", "a1", "b1", "a2", "b2", "a3"]);
  });

  test("a key is found from inside a retry and a timeout (C3.2)", async () => {
    const { runtime, policy, start, settle, calls } = world({ maxConcurrent: 1, maxQueue: 10 });
    const around = new Pipeline(
      [new Timeout({ totalTimeoutMs: 1000 }, runtime), new RetryPolicy({}, runtime), policy],
      runtime,
    );
    void start("first");
    for (const name of ["a1", "a2", "b1"]) void around.execute(() => calls.push(name), { key: name[0] });
    await settle("first");
    await runtime.clock.advance(0);
    expect(calls).toEqual(["first", "a1", "b1", "a2"]);
  });

  test("each operation runs in the async context of its submitter (C3.2)", async () => {
    const tenant = new AsyncLocalStorage<string>();
    const { runtime, policy } = world({ maxConcurrent: 1, maxQueue: 10 });
    const seen: unknown[] = [];
    const alone = async (): Promise<unknown> => {
      await runtime.clock.sleep(10);
      return seen.push(tenant.getStore());
    };
    const guarded = new Pipeline([policy, new Timeout({ attemptTimeoutMs: 500 }, runtime)], runtime);
    for (const name of ["a", "b"]) void tenant.run(name, () => policy.execute(alone));
    void tenant.run("c", () => policy.executeOutcome(alone));
    void tenant.run("d", () => guarded.execute(alone));
    await runtime.clock.advance(100);
    expect(seen).toEqual(["a", "b", "c", "d"]);
  });
});

describe("what still runs still holds its slot", () => {
  test("when a timeout inside has fired (C3.2)", async () => {
    const { runtime, policy, start } = world({ maxConcurrent: 1 });
    const guarded = new Pipeline([policy, new Timeout({ attemptTimeoutMs: 100 }, runtime)], runtime);
    const result = guarded.execute(() => runtime.clock.sleep(1000));
    result.catch(() => {});
    await runtime.clock.advance(200);
    await expect(result).rejects.toThrow(TimeoutError);
    expect(policy.getStats().active).toBe(1);
    await expect(start("b")).rejects.toThrow(BulkheadFullError);
    await runtime.clock.advance(800);
    expect(policy.getStats().active).toBe(0);
  });

  test("when a timeout outside has fired (C3.2)", async () => {
    const { runtime, policy } = world({ maxConcurrent: 1 });
    const guarded = new Pipeline([new Timeout({ attemptTimeoutMs: 100 }, runtime), policy], runtime);
    const result = guarded.execute(() => runtime.clock.sleep(1000));
    result.catch(() => {});
    await runtime.clock.advance(200);
    await expect(result).rejects.toThrow(TimeoutError);
    expect(policy.getStats().active).toBe(1);
    await runtime.clock.advance(800);
    expect(policy.getStats().active).toBe(0);
  });

  test("when a hedge inside has won and the loser goes on (C3.2)", async () => {
    const { runtime, policy } = world({ maxConcurrent: 1 });
    const hedged = new Pipeline([policy, new Hedge({ delayMs: 10 }, runtime)], runtime);
    const result = hedged.execute<unknown>(({ attempt }) => (attempt === 1 ? runtime.clock.sleep(1000) : "quick"));
    await runtime.clock.advance(20);
    expect(await result).toBe("quick");
    expect(policy.getStats().active).toBe(1);
    await runtime.clock.advance(1000);
    expect(policy.getStats().active).toBe(0);
  });

  test("through the waits of a retry inside, and not after its end (C3.2)", async () => {
    const { runtime, policy } = world({ maxConcurrent: 1 });
    const retried = new Pipeline([policy, new RetryPolicy({ strategy: "fixed", jitter: "none" }, runtime)], runtime);
    const result = retried.execute(({ attempt }) => {
      if (attempt < 3) throw new Error("busy");
      return attempt;
    });
    await runtime.clock.advance(500);
    expect(policy.getStats().active).toBe(1);
    await runtime.clock.advance(5000);
    expect(await result).toBe(3);
    expect(policy.getStats().active).toBe(0);
  });
});

describe("leaving the queue", () => {
  test("an abort settles the wait at once and the operation is never called (C1.6, C3.2)", async () => {
    const { runtime, policy, start, settle, calls } = world({ maxConcurrent: 1, maxQueue: 5, queueTimeoutMs: 1000 });
    const caller = new AbortController();
    void start("a");
    const b = start("b", { signal: caller.signal });
    void start("c");
    caller.abort(new Error("no longer needed"));
    await expect(b).rejects.toThrow("no longer needed");
    expect(policy.getStats()).toMatchObject({ queued: 1, rejected: 0 });
    expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
    await settle("a");
    expect(calls).toEqual(["a", "c"]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a call aborted beforehand takes neither a slot nor a place (C1.6)", async () => {
    const { policy, start, calls } = world({ maxConcurrent: 1, maxQueue: 1 });
    const signal = AbortSignal.abort("before");
    await expect(start("a", { signal })).rejects.toBe("before");
    expect(await policy.executeOutcome(() => calls.push("b"), { signal })).toEqual({
      ok: false,
      refused: false,
      error: "before",
    });
    expect(calls).toEqual([]);
    expect(policy.getStats()).toMatchObject({ active: 0, queued: 0, rejected: 0 });
    // Nor is it one of those that a full bulkhead refuses.
    const full = world({ maxConcurrent: 1 });
    void full.start("a");
    await expect(full.start("b", { signal })).rejects.toBe("before");
    expect(await full.policy.executeOutcome(() => 1, { signal })).toMatchObject({ refused: false, error: "before" });
    expect(full.policy.getStats()).toMatchObject({ active: 1, rejected: 0 });
  });

  test("an abort in any microtask after the hand-off passes the slot on or reaches the operation (C3.2)", async () => {
    for (let ticks = 0; ticks < 8; ticks++) {
      for (const inner of [false, true]) {
        const { runtime, policy, start, settle, calls } = world({ maxConcurrent: 1, maxQueue: 5 });
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
        caller.abort("gone");
        await settled;
        await runtime.clock.advance(0);
        expect(abortedAtStart).not.toBe(true);
        expect(calls).toEqual(["a", "c"]);
        await settle("c");
        expect(policy.getStats()).toMatchObject({ active: 0, queued: 0 });
      }
    }
  });

  test("a wait ends after queueTimeoutMs with a refusal that says how long it was (C3.2)", async () => {
    const { runtime, policy, start, calls } = world({
      name: "ocr",
      maxConcurrent: 1,
      maxQueue: 5,
      queueTimeoutMs: 40,
    });
    const log = record(runtime.events);
    void start("a");
    const b = start("b");
    const c = policy.executeOutcome(() => "c");
    await runtime.clock.advance(39);
    expect(policy.getStats().queued).toBe(2);
    await runtime.clock.advance(1);
    await expect(b).rejects.toMatchObject({ code: "BULKHEAD_FULL", bulkheadName: "ocr", waitMs: 40 });
    const outcome = await c;
    expect(outcome).toMatchObject({ ok: false, refused: true, error: { waitMs: 40 } });
    expect(policy.getStats()).toMatchObject({ queued: 0, rejected: 2 });
    expect(calls).toEqual(["a"]);
    expect(log.map(({ type }) => type)).toEqual([
      "bulkhead.queued",
      "bulkhead.queued",
      "bulkhead.rejected",
      "bulkhead.rejected",
    ]);
    expect(log[1]).toMatchObject({ policy: "ocr", queued: 2, dryRun: false });
    expect(log[2]).toMatchObject({ policy: "ocr", waitMs: 40, dryRun: false });
  });

  test("a wait is told from its beginning, however short it is (C3.2)", async () => {
    const { runtime, policy, start, calls } = world({ maxConcurrent: 1, maxQueue: 5, queueTimeoutMs: 1 });
    await runtime.clock.advance(70);
    void start("a");
    const [b, c] = [start("b"), policy.executeOutcome(() => calls.push("c"))];
    await runtime.clock.advance(1);
    await expect(b).rejects.toMatchObject({ waitMs: 1 });
    expect(await c).toMatchObject({ ok: false, refused: true, error: { waitMs: 1 } });
    expect(calls).toEqual(["a"]);
  });

  test("what stands inside is there for a call that has waited, too (C3.2)", async () => {
    const { runtime, policy, start, settle } = world({ maxConcurrent: 1, maxQueue: 5 });
    const guarded = new Pipeline([policy, new Timeout({ attemptTimeoutMs: 100 }, runtime)], runtime);
    for (const way of ["execute", "executeOutcome"] as const) {
      void start("a");
      const waited = guarded[way](() => runtime.clock.sleep(1_000)).catch((error: unknown) => ({ error }));
      await settle("a");
      await runtime.clock.advance(100);
      expect(await waited).toMatchObject({ error: { code: "TIMEOUT" } });
      // The operation itself goes on, and holds the slot.
      expect(policy.getStats()).toMatchObject({ active: 1 });
      await runtime.clock.advance(1_000);
    }
    expect(policy.getStats()).toMatchObject({ active: 0 });
  });

  test("no wait goes past the deadline of its call, and nothing starts at it (C3.1)", async () => {
    const { runtime, start, settle, calls } = world({ maxConcurrent: 1, maxQueue: 5, queueTimeoutMs: 1000 });
    void start("a");
    const b = start("b", { deadlineMs: 30 });
    await runtime.clock.advance(30);
    await expect(b).rejects.toMatchObject({ waitMs: 30 });
    // The slot frees at the very deadline, and before the timer that would end the wait: this one was made first.
    runtime.clock.timer(30, () => void settle("a"));
    const c = start("c", { deadlineMs: 30 });
    await runtime.clock.advance(30);
    await expect(c).rejects.toThrow(BulkheadFullError);
    expect(calls).toEqual(["a"]);
  });
});

describe("a refusal", () => {
  test("names the bulkhead and its limits, says no time to try again, and is not retried (C0.5, C0.8)", async () => {
    const { runtime, policy, start } = world({ name: "ocr", maxConcurrent: 1 });
    void start("a");
    const error = await start("b").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BulkheadFullError);
    expect(error).toMatchObject({ name: "BulkheadFullError", bulkheadName: "ocr", waitMs: 0 });
    expect((error as BulkheadFullError).retryAfterMs).toBeUndefined();
    expect((error as Error).message).toBe(
      'Bulkhead "ocr" is full: all 1 slots are taken, and there is no queue. Send less, or raise its limits.',
    );
    const retried = new Pipeline([new RetryPolicy({}, runtime), policy], runtime);
    await expect(retried.execute(() => 1)).rejects.toBeInstanceOf(BulkheadFullError);
    expect(policy.getStats().rejected).toBe(2);
  });

  test("is a value of executeOutcome, whose error is built when it is read (C3.10)", async () => {
    const { policy, start } = world({ maxConcurrent: 1 });
    expect(await policy.executeOutcome(() => "a value")).toEqual({ ok: true, value: "a value" });
    void start("a");
    const [one, two] = await Promise.all([policy.executeOutcome(() => 1), policy.executeOutcome(() => 2)]);
    expect(one).toBe(two);
    expect(one).toMatchObject({ ok: false, refused: true });
    expect(Object.getOwnPropertyDescriptor(one, "error")).toHaveProperty("get");
    expect(!one.ok && one.error).toBeInstanceOf(BulkheadFullError);
    expect(policy.getStats().rejected).toBe(2);
  });
});

describe("executeSync", () => {
  test("gives the value or throws, and holds a slot meanwhile (C3.10)", () => {
    const policy = new Bulkhead({ maxConcurrent: 1 });
    const inner = policy.executeSync(() => {
      expect(() => policy.executeSync(() => 1)).toThrow(BulkheadFullError);
      return policy.getStats().active;
    });
    expect(inner).toBe(1);
    const broken = (): never => {
      throw new Error("down");
    };
    expect(() => policy.executeSync(broken)).toThrow("down");
    expect(policy.getStats()).toMatchObject({ active: 0, rejected: 1 });
  });

  test("is not for a bulkhead with a queue (C3.10)", () => {
    const policy = new Bulkhead({ maxConcurrent: 1, maxQueue: 1 });
    expect(() => policy.executeSync(() => 1)).toThrow(ConfigError);
    expect(() => policy.executeSync(() => 1)).toThrow(/"bulkhead" cannot executeSync.* Use execute/);
  });
});

test("a dry run lets everything through at once, and reports what would wait or be refused (C2.10)", async () => {
  const { runtime, policy, start, settle, calls } = world({ maxConcurrent: 1, maxQueue: 1, dryRun: true });
  const log = record(runtime.events);
  for (const name of ["a", "b", "c"]) void start(name);
  expect(calls).toEqual(["a", "b", "c"]);
  expect(log).toMatchObject([
    { type: "bulkhead.queued", queued: 1, dryRun: true },
    { type: "bulkhead.rejected", waitMs: 0, dryRun: true },
  ]);
  expect(policy.getStats()).toMatchObject({ active: 3, queued: 0, rejected: 1 });
  for (const name of calls) await settle(name);
  expect(policy.getStats().active).toBe(0);
  // Also where nobody listens.
  const { policy: unheard } = world({ maxConcurrent: 1, maxQueue: 9, dryRun: true });
  expect(await Promise.all([1, 2].map((n) => unheard.execute(() => n)))).toEqual([1, 2]);
  const sync = new Bulkhead({ maxConcurrent: 1, dryRun: true }, runtime);
  expect(sync.executeSync(() => sync.executeSync(() => "inner"))).toBe("inner");
  expect(sync.getStats()).toMatchObject({ active: 0, rejected: 1 });
});

test("wrap keeps name and this, and the wrapper takes the options of the class (C1.8)", async () => {
  const limited = bulkhead({ maxConcurrent: 1 })(function load(this: { prefix: string }, id: number) {
    return this.prefix + id;
  });
  expect(limited.name).toBe("load");
  expect(await limited.call({ prefix: "#" }, 7)).toBe("#7");
  expect(() => bulkhead({ maxConcurrent: 0 })).toThrow(ConfigError);
});

test.each([
  [{}, "bulkhead.maxConcurrent is missing"],
  [{ maxConcurrent: 0 }, "bulkhead.maxConcurrent must be a whole number of at least 1, got 0"],
  [{ maxConcurrent: 1.5 }, "got 1.5"],
  [{ maxConcurrent: 1, maxQueue: -1 }, "bulkhead.maxQueue must be"],
  [{ maxConcurrent: 1, maxQueue: 1, queueTimeoutMs: 0 }, "bulkhead.queueTimeoutMs must be"],
  [{ maxConcurrent: 1, queueTimeoutMs: 10 }, "bulkhead.queueTimeoutMs needs maxQueue"],
  [{ maxConcurrent: 1, maxWaiting: 10 }, 'bulkhead has no option "maxWaiting"'],
])("options %j are refused: %s (C0.3)", (options, message) => {
  expect(() => new Bulkhead(options as BulkheadOptions)).toThrow(message);
});

test("describe gives the options in effect (C3.12)", () => {
  expect(new Bulkhead({ name: "ocr", maxConcurrent: 3 }).describe()).toEqual({
    kind: "bulkhead",
    name: "ocr",
    options: { maxConcurrent: 3, maxQueue: 0, dryRun: false },
  });
});
