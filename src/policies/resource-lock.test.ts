import { getEventListeners } from "node:events";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { runPrograms } from "../../test/programs.ts";
import { ConfigError, TimeoutError } from "../core/errors.ts";
import { Pipeline } from "../core/pipeline.ts";
import { ContentionDetectedError } from "../core/policy-errors.ts";
import { type FakeRuntime, fakeRuntime, record } from "../testing/fake-clock.ts";
import { detectContention } from "./decorate.ts";
import { type LockPermit, ResourceLock, type ResourceLockOptions } from "./resource-lock.ts";
import { Timeout } from "./timeout.ts";

function world(options: ResourceLockOptions = {}): { runtime: FakeRuntime; lock: ResourceLock } {
  const runtime = fakeRuntime();
  return { runtime, lock: new ResourceLock(options, runtime) };
}

describe("acquire", () => {
  test("one holds it, the others follow in the order in which they came (C3.3)", async () => {
    const { runtime, lock } = world();
    const order: string[] = [];
    const first = await lock.acquire("a");
    for (const id of ["b", "c"])
      void lock.acquire(id).then((permit) => {
        order.push(id);
        permit.release();
      });
    await runtime.clock.advance(10);
    expect(order).toEqual([]);
    expect(lock.getStats().currentHolders).toEqual(["a"]);
    first.release();
    await runtime.clock.advance(0);
    expect(order).toEqual(["b", "c"]);
    expect(lock.getStats().currentHolders).toEqual([]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("a permit that is released twice gives its slot back once (C3.3)", async () => {
    const { lock } = world({ acquireTimeoutMs: 0 });
    const first = await lock.acquire("a");
    first.release();
    const second = await lock.acquire("b");
    first.release();
    expect(lock.getStats().currentHolders).toEqual(["b"]);
    await expect(lock.acquire("c")).rejects.toThrow(ContentionDetectedError);
    second.release();
  });

  test("acquireTimeoutMs bounds the wait; the error names resource, wait and holders (C3.3, C10.2)", async () => {
    const { runtime, lock } = world({ name: "ledger", maxConcurrent: 2, acquireTimeoutMs: 200 });
    const log = record(runtime.events);
    await lock.acquire("import");
    await lock.acquire("import");
    const waiting = lock.acquire("report").catch((error: unknown) => error);
    await runtime.clock.advance(199);
    expect(log).toEqual([]);
    await runtime.clock.advance(1);
    const error = await waiting;
    expect(error).toBeInstanceOf(ContentionDetectedError);
    expect(error).toMatchObject({ code: "CONTENTION", resource: "ledger", waitMs: 200, holders: ["import", "import"] });
    expect((error as Error).message).toBe(
      'Lock "ledger" was not acquired within 200 ms. It is held by "import", "import". Come back later, or wait longer for it.',
    );
    expect(log).toMatchObject([
      { type: "lock.contended", policy: "ledger", waitMs: 200, holders: ["import", "import"] },
      { type: "lock.timed_out", policy: "ledger", waitMs: 200, holders: ["import", "import"] },
    ]);
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("acquireTimeoutMs never covers the hold (C3.3)", async () => {
    const { runtime, lock } = world({ acquireTimeoutMs: 50 });
    const slow = lock.withPermit(() => runtime.clock.sleep(10_000).then(() => "done"));
    await runtime.clock.advance(10_000);
    expect(await slow).toBe("done");
  });

  test("with 0 it tries once (C3.3)", async () => {
    const { runtime, lock } = world({ acquireTimeoutMs: 0 });
    const [one, other] = await Promise.allSettled([lock.acquire("a"), lock.acquire("b")]);
    expect(one.status).toBe("fulfilled");
    expect(other).toMatchObject({ status: "rejected", reason: { waitMs: 0, holders: ["a"] } });
    expect(runtime.clock.pendingTimers).toBe(0);
  });

  test("an abort ends the wait at once, is not a timeout, and passes on what was just handed to it (C1.6)", async () => {
    for (let ticks = -1; ticks < 4; ticks++) {
      const { runtime, lock } = world();
      const caller = new AbortController();
      const first = await lock.acquire("a");
      const second = lock.acquire("b", { signal: caller.signal });
      second.then(
        (permit) => permit.release(),
        () => {},
      );
      const third = lock.acquire("c");
      if (ticks >= 0) first.release();
      for (let i = 0; i < ticks; i++) await Promise.resolve();
      caller.abort("gone");
      if (ticks < 0) await expect(second).rejects.toBe("gone");
      first.release();
      await runtime.clock.advance(0);
      (await third).release();
      expect(lock.getStats()).toMatchObject({ timeouts: 0, currentHolders: [] });
      expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
      expect(runtime.clock.pendingTimers).toBe(0);
    }
    const { lock } = world();
    await expect(lock.acquire("a", { signal: AbortSignal.abort("before") })).rejects.toBe("before");
    expect(lock.getStats()).toMatchObject({ totalAcquisitions: 0, currentHolders: [] });
  });

  test("a deadline bounds the wait too (C3.1)", async () => {
    const { runtime, lock } = world();
    await lock.acquire("a");
    const waiting = lock.acquire("b", { deadlineMs: 30 });
    waiting.catch(() => {});
    await runtime.clock.advance(30);
    await expect(waiting).rejects.toMatchObject({ waitMs: 30 });
  });

  test("any text is a holder, except an empty or a very long one (C0.7)", async () => {
    const { lock } = world({ maxConcurrent: 9 });
    for (const id of ["__proto__", "../x", "\0", "A", "a"]) await lock.acquire(id);
    expect(lock.getStats().currentHolders).toEqual(["__proto__", "../x", "\0", "A", "a"]);
    await expect(lock.acquire("")).rejects.toThrow(ConfigError);
    await expect(lock.acquire("")).rejects.toThrow('the holder of lock "lock"');
    await expect(lock.acquire("x".repeat(513))).rejects.toThrow(ConfigError);
  });
});

describe("contention", () => {
  test("is reported while the wait goes on, with those who hold it then (C3.3)", async () => {
    const { runtime, lock } = world({ name: "ledger", contentionThresholdMs: 100 });
    const log = record(runtime.events);
    const first = await lock.acquire("import");
    void lock.acquire("report");
    await runtime.clock.advance(99);
    expect(log).toEqual([]);
    await runtime.clock.advance(1);
    expect(log).toMatchObject([{ type: "lock.contended", policy: "ledger", waitMs: 100, holders: ["import"] }]);
    await runtime.clock.advance(5_000);
    first.release();
    await runtime.clock.advance(0);
    expect(log).toHaveLength(1);
    expect(lock.getStats()).toMatchObject({ contentionCount: 1, contentionRate: 0.5, timeouts: 0 });
  });

  test("is counted also where the threshold was passed by a blocked event loop (C3.3)", async () => {
    const { runtime, lock } = world({ contentionThresholdMs: 100 });
    const first = await lock.acquire("a");
    // Both fall due together, and this timer was made first.
    runtime.clock.timer(100, () => first.release());
    void lock.acquire("b");
    await runtime.clock.advance(100);
    expect(lock.getStats()).toMatchObject({ contentionCount: 1, totalAcquisitions: 2 });
  });

  test("a threshold beyond acquireTimeoutMs is passed when the time is up, and not later (C3.3)", async () => {
    const { runtime, lock } = world({ acquireTimeoutMs: 50, contentionThresholdMs: 60 });
    const log = record(runtime.events);
    await runtime.clock.advance(1_000);
    const first = await lock.acquire("import");
    const waiting = lock.executeOutcome(() => "never called");
    await runtime.clock.advance(1_000);
    expect(await waiting).toMatchObject({ refused: true, error: { waitMs: 50 } });
    first.release();
    expect(log).toMatchObject([
      { type: "lock.contended", policy: "lock", waitMs: 50 },
      { type: "lock.timed_out", policy: "lock", waitMs: 50 },
    ]);
  });

  test("a short wait is none (C3.3)", async () => {
    const { runtime, lock } = world();
    const first = await lock.acquire("a");
    void lock.acquire("b");
    await runtime.clock.advance(4_999);
    first.release();
    await runtime.clock.advance(10_000);
    expect(lock.getStats()).toMatchObject({ contentionCount: 0, contentionRate: 0, maxWaitMs: 4_999 });
  });
});

test("getStats has what it promises, and nothing grows with the calls (C3.3, C10.9)", async () => {
  const { runtime, lock } = world({ acquireTimeoutMs: 100, contentionThresholdMs: 60 });
  expect(lock.getStats()).toEqual({
    totalAcquisitions: 0,
    contentionCount: 0,
    contentionRate: 0,
    timeouts: 0,
    avgWaitMs: 0,
    p95WaitMs: 0,
    maxWaitMs: 0,
    currentHolders: [],
    capacity: 1,
  });
  const holder = await lock.acquire("a");
  const timesOut = lock.acquire("b").catch(() => {});
  await runtime.clock.advance(100);
  await timesOut;
  const waits = lock.acquire("c");
  await runtime.clock.advance(20);
  holder.release();
  await waits;
  const { p95WaitMs, ...exact } = lock.getStats();
  expect(exact).toEqual({
    totalAcquisitions: 2,
    contentionCount: 1,
    contentionRate: 1 / 3,
    timeouts: 1,
    avgWaitMs: 40,
    maxWaitMs: 100,
    currentHolders: ["c"],
    capacity: 1,
  });
  expect(p95WaitMs).toBe(100);
});

describe("withPermit and execute", () => {
  test("an error of the body comes out as it was thrown, and the permit is back (C3.3)", async () => {
    const { lock } = world();
    const thrown = { not: "an error" };
    const broken = (): never => {
      throw thrown as unknown as Error;
    };
    await expect(lock.withPermit(broken)).rejects.toBe(thrown);
    await expect(lock.execute(broken)).rejects.toBe(thrown);
    expect(await lock.executeOutcome(broken)).toEqual({ ok: false, refused: false, error: thrown });
    expect(lock.getStats()).toMatchObject({ totalAcquisitions: 3, currentHolders: [] });
  });

  test("the holder is whom the caller names (C3.3)", async () => {
    const { lock } = world({ maxConcurrent: 2 });
    const holders = (): string[] => lock.getStats().currentHolders;
    expect(await lock.withPermit((permit) => [permit.holderId, ...holders()], "import")).toEqual(["import", "import"]);
    expect(await lock.withPermit(holders)).toEqual(["unnamed"]);
    expect(await lock.execute(holders, { key: "tenant 7" })).toEqual(["tenant 7"]);
    expect(await lock.executeOutcome(holders, { key: "tenant 7" })).toEqual({ ok: true, value: ["tenant 7"] });
    expect(await lock.executeOutcome(holders)).toEqual({ ok: true, value: ["unnamed"] });
    const permits = [await lock.acquire("a"), await lock.acquire("b")];
    const waiting = [lock.execute(holders, { key: "tenant 7" }), lock.execute(holders)];
    permits[0]!.release();
    expect(await Promise.all(waiting)).toEqual([
      ["b", "tenant 7"],
      ["b", "unnamed"],
    ]);
    permits[1]!.release();
  });

  test("a call that was aborted before, or does not get the lock in time, is not made (C1.6, C3.3)", async () => {
    const { runtime, lock } = world({ acquireTimeoutMs: 10 });
    const never = (): never => expect.unreachable();
    await expect(lock.execute(never, { signal: AbortSignal.abort("before") })).rejects.toBe("before");
    expect(lock.getStats()).toMatchObject({ totalAcquisitions: 0, contentionRate: 0 });
    const permit = await lock.acquire("a");
    const late = lock.execute(never).catch((error: unknown) => error);
    await runtime.clock.advance(10);
    expect(await late).toMatchObject({ code: "CONTENTION", holders: ["a"] });
    permit.release();
  });

  test("a permit has one signal, and leaving its block releases it (C3.3)", async () => {
    const { lock } = world();
    const permit = await lock.acquire("a");
    expect(permit.signal).toBe(permit.signal);
    permit[Symbol.dispose]();
    expect(lock.getStats().currentHolders).toEqual([]);
  });

  test("a refusal is a value of executeOutcome, with the holders of its moment (C3.10)", async () => {
    const { lock } = world({ acquireTimeoutMs: 0 });
    const permit = await lock.acquire("a");
    const outcome = await lock.executeOutcome(() => "never called");
    permit.release();
    expect(Object.getOwnPropertyDescriptor(outcome, "error")).toHaveProperty("get");
    expect(outcome).toMatchObject({ ok: false, refused: true, error: { code: "CONTENTION", holders: ["a"] } });
  });

  test("the lock is held until the operation itself has settled, also when a timeout fires (C3.2)", async () => {
    const { runtime, lock } = world({ acquireTimeoutMs: 0 });
    const timeout = new Timeout({ attemptTimeoutMs: 100 }, runtime);
    for (const order of [
      [lock, timeout],
      [timeout, lock],
    ]) {
      const guarded = new Pipeline(order, runtime);
      const result = guarded.execute(() => runtime.clock.sleep(1_000));
      result.catch(() => {});
      await runtime.clock.advance(200);
      await expect(result).rejects.toThrow(TimeoutError);
      await expect(lock.acquire("b")).rejects.toThrow(ContentionDetectedError);
      await runtime.clock.advance(800);
      (await lock.acquire("b")).release();
    }
  });

  test("the wrapper keeps name and this, and takes the options of the class (C1.8)", async () => {
    const book = detectContention({ name: "ledger" })(function book(this: { prefix: string }, id: number) {
      return this.prefix + id;
    });
    expect(book.name).toBe("book");
    expect(await book.call({ prefix: "#" }, 7)).toBe("#7");
    expect(() => detectContention({ maxConcurrent: 0 })).toThrow(ConfigError);
  });
});

describe("using", () => {
  let printed: string;
  beforeAll(async () => {
    const { program } = await runPrograms({
      program: `
        import { ResourceLock } from "SRC/policies/index.ts";

        const lock = new ResourceLock();
        async function book(fails: boolean): Promise<string[]> {
          using permit = await lock.acquire("import");
          if (fails) throw new Error("down " + permit.holderId);
          return lock.getStats().currentHolders;
        }
        console.log(await book(false), lock.getStats().currentHolders);
        console.log(await book(true).catch((error: Error) => error.message), lock.getStats().currentHolders);`,
    });
    printed = program;
  });

  test("releases the permit at the end of its block, whatever comes of it (C3.3)", () => {
    expect(printed).toBe("[ 'import' ] []\ndown import []\n");
  });
});

test("under any interleaving no more hold it than may, and everyone gets it in the end (C3.3)", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.integer({ min: 1, max: 3 }),
      fc.array(fc.record({ fails: fc.boolean(), twice: fc.boolean() }), { minLength: 1, maxLength: 8 }),
      async (scheduler, maxConcurrent, bodies) => {
        const { runtime, lock } = world({ maxConcurrent });
        let inside = 0;
        let most = 0;
        const body = async (fails: boolean, permit: LockPermit, twice: boolean): Promise<void> => {
          most = Math.max(most, ++inside);
          await scheduler.schedule(Promise.resolve());
          inside--;
          if (twice) permit.release();
          if (fails) throw new Error("down");
        };
        const results = bodies.map(({ fails, twice }, i) =>
          scheduler
            .schedule(Promise.resolve())
            .then(() => lock.withPermit((permit) => body(fails, permit, twice), `holder ${i}`)),
        );
        const settled = Promise.allSettled(results);
        await scheduler.waitFor(settled);
        expect((await settled).map(({ status }) => status === "rejected")).toEqual(bodies.map(({ fails }) => fails));
        expect(most).toBeLessThanOrEqual(maxConcurrent);
        expect(lock.getStats()).toMatchObject({ totalAcquisitions: bodies.length, currentHolders: [] });
        expect(runtime.clock.pendingTimers).toBe(0);
      },
    ),
    { numRuns: 100 },
  );
});

test("describe gives the options in effect, and says that the lock is local (C3.3, C3.12)", () => {
  expect(new ResourceLock({ name: "ledger" }).describe()).toEqual({
    kind: "lock",
    name: "ledger",
    options: { maxConcurrent: 1, acquireTimeoutMs: 30_000, contentionThresholdMs: 5_000, hasSharedState: false },
  });
});

test.each([
  [{ maxConcurrent: 0 }, "lock.maxConcurrent must be a whole number of at least 1, got 0"],
  [{ acquireTimeoutMs: -1 }, "lock.acquireTimeoutMs must be"],
  [{ contentionThresholdMs: Number.NaN }, "lock.contentionThresholdMs must be"],
  [{ timeoutMs: 1 }, 'lock has no option "timeoutMs"'],
])("options %j are refused: %s (C0.3)", (options, message) => {
  expect(() => new ResourceLock(options as ResourceLockOptions)).toThrow(message);
});
