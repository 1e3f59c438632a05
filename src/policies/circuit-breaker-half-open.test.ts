import { describe, expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Timeout } from "./timeout.ts";

const down = new Error("down");
const fail = (): Promise<never> => Promise.reject(down);

/** A breaker whose open time of 100 ms has just passed: the next call is a probe. */
async function recovering(
  options: CircuitBreakerOptions<never> = {},
): Promise<{ breaker: CircuitBreaker; runtime: FakeRuntime }> {
  const runtime = fakeRuntime();
  const breaker = new CircuitBreaker<never>({ failureThreshold: 1, recoveryTimeoutMs: 100, ...options }, runtime);
  await breaker.executeOutcome(fail);
  await runtime.clock.advance(100);
  return { breaker, runtime };
}

/** A call that settles when it is told to. */
function held(breaker: CircuitBreaker): {
  resolve(): void;
  reject(error: unknown): void;
  settled: Promise<{ ok: boolean }>;
} {
  let [resolve, reject] = [(): void => {}, (): void => {}] as [() => void, (error: unknown) => void];
  const settled = breaker.executeOutcome(
    () =>
      new Promise<void>((onValue, onError) => {
        [resolve, reject] = [onValue, onError];
      }),
  );
  return { resolve, reject, settled };
}

describe("probes", () => {
  test("the first call after the open time is one, and no timer was needed for it (C2.2, C0.4)", async () => {
    const { breaker, runtime } = await recovering();
    expect(breaker.state).toBe("OPEN");
    expect(runtime.clock.pendingTimers).toBe(0);
    expect(await breaker.execute(() => "probe")).toBe("probe");
    expect(breaker.state).toBe("HALF_OPEN");
  });

  test("two that succeed close it unless told otherwise (C2.1, C2.2)", async () => {
    const { breaker } = await recovering();
    await breaker.execute(() => 1);
    expect([breaker.state, breaker.getState().successCount]).toEqual(["HALF_OPEN", 1]);
    await breaker.execute(() => 1);
    expect([breaker.state, breaker.getState().failureCount]).toEqual(["CLOSED", 0]);
  });

  test("a single one that fails opens it again, for the full time (C2.2)", async () => {
    const { breaker, runtime } = await recovering({ successThreshold: 3 });
    await breaker.execute(() => 1);
    await breaker.execute(() => 1);
    await breaker.executeOutcome(fail);
    expect(breaker.getState()).toMatchObject({ state: "open", failureCount: 2 });
    expect(breaker.state).toBe("OPEN");
    await runtime.clock.advance(99);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(false);
    await runtime.clock.advance(1);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(true);
  });

  test.each([1, 3])(
    "of 1000 calls that arrive together, exactly %d run and the others are refused at once (C2.2)",
    async (permitted) => {
      const { breaker } = await recovering({ halfOpenMaxConcurrent: permitted, successThreshold: 1_000 });
      let [running, most, refused] = [0, 0, 0];
      const finish: (() => void)[] = [];
      const calls = Array.from({ length: 1_000 }, () =>
        breaker.executeOutcome(async () => {
          most = Math.max(most, ++running);
          await new Promise<void>((resolve) => finish.push(resolve));
          running--;
        }),
      );
      for (const call of calls) {
        void call.then((outcome) => {
          if (!outcome.ok && outcome.refused) refused++;
        });
      }
      await new Promise((resolve) => setImmediate(resolve));
      // While the probes are still on their way: nobody waits for them.
      expect([running, refused]).toEqual([permitted, 1_000 - permitted]);
      for (const done of finish) done();
      await Promise.all(calls);
      expect([most, finish.length]).toEqual([permitted, permitted]);
    },
  );

  test("a refusal beside them says when to come back (C2.2)", async () => {
    const { breaker } = await recovering({ probeTimeoutMs: 70 });
    held(breaker);
    expect(await breaker.executeOutcome(() => 1)).toMatchObject({ refused: true, retryAfterMs: 70 });
    await expect(breaker.execute(() => 1)).rejects.toMatchObject({ retryAfterMs: 70, failureCount: 1 });
  });

  test("a place is given back when a probe succeeds, and the next call takes it (C2.3)", async () => {
    const { breaker } = await recovering({ successThreshold: 2 });
    const first = held(breaker);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(false);
    first.resolve();
    await first.settled;
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(true);
  });
});

describe("neutral probes", () => {
  test("one that is aborted by the caller decides nothing and gives its place back (C2.3, C2.4)", async () => {
    const { breaker, runtime } = await recovering();
    const controller = new AbortController();
    const aborted = breaker.executeOutcome(({ signal }) => runtime.clock.sleep(5_000, signal), controller);
    controller.abort();
    await aborted;
    expect([breaker.state, breaker.getState().successCount]).toEqual(["HALF_OPEN", 0]);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(true);
  });

  test("one whose error does not count decides nothing and gives its place back (C2.3, C2.4)", async () => {
    const { breaker } = await recovering();
    await breaker.executeOutcome(() => Promise.reject(new ConfigError("wrong")));
    expect(breaker.state).toBe("HALF_OPEN");
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(true);
  });
});

describe("a probe that hangs", () => {
  test("loses its place after probeTimeoutMs, and what it brings later changes nothing (C2.3)", async () => {
    const { breaker, runtime } = await recovering({ probeTimeoutMs: 1_000, successThreshold: 1 });
    const hung = held(breaker);
    await runtime.clock.advance(999);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(false);
    await runtime.clock.advance(1);
    const second = held(breaker);
    hung.reject(down);
    await hung.settled;
    expect(breaker.state).toBe("HALF_OPEN");
    second.resolve();
    await second.settled;
    expect(breaker.state).toBe("CLOSED");
  });

  test("has a minute unless told otherwise (C2.3)", async () => {
    const { breaker, runtime } = await recovering();
    held(breaker);
    await runtime.clock.advance(59_999);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(false);
    await runtime.clock.advance(1);
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(true);
  });

  test("does not free the place of the one that came after it (C2.3)", async () => {
    const { breaker, runtime } = await recovering({ probeTimeoutMs: 1_000 });
    const hung = held(breaker);
    await runtime.clock.advance(1_000);
    held(breaker);
    hung.resolve();
    await hung.settled;
    expect((await breaker.executeOutcome(() => 1)).ok).toBe(false);
    expect(breaker.getState().successCount).toBe(0);
  });

  test("under a timeout of its own fails when that passes (C3.1)", async () => {
    const { breaker, runtime } = await recovering();
    const probe = pipeline(breaker, new Timeout({ attemptTimeoutMs: 50 }, runtime)).executeOutcome(
      () => new Promise(() => {}),
    );
    await runtime.clock.advance(50);
    await probe;
    expect(breaker.state).toBe("OPEN");
  });
});

describe("a result of an older generation changes nothing (C2.3)", () => {
  test("a success that began while closed neither closes it nor counts for closing it (C2.3)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 100, successThreshold: 1 }, runtime);
    const old = held(breaker);
    const older = held(breaker);
    await breaker.executeOutcome(fail);
    old.resolve();
    await old.settled;
    expect(breaker.state).toBe("OPEN");
    await runtime.clock.advance(100);
    const probe = held(breaker);
    older.resolve();
    await older.settled;
    expect([breaker.state, breaker.getState().successCount]).toEqual(["HALF_OPEN", 0]);
    probe.reject(down);
    await probe.settled;
    expect(breaker.state).toBe("OPEN");
  });

  test("a failure that began while closed does not reopen it, half-open or closed again (C2.3)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 100, successThreshold: 2 }, runtime);
    const [during, after] = [held(breaker), held(breaker)];
    await breaker.executeOutcome(fail);
    await runtime.clock.advance(100);
    await breaker.execute(() => 1);
    during.reject(down);
    await during.settled;
    expect(breaker.state).toBe("HALF_OPEN");
    await breaker.execute(() => 1);
    expect(breaker.state).toBe("CLOSED");
    after.reject(down);
    await after.settled;
    expect([breaker.state, breaker.getState().failureCount]).toEqual(["CLOSED", 0]);
  });

  test("a success that began while closed does not reset the count of a later closed state (C2.3)", async () => {
    const runtime = fakeRuntime();
    const breaker = new CircuitBreaker({ failureThreshold: 2 }, runtime);
    const old = held(breaker);
    breaker.reset();
    await breaker.executeOutcome(fail);
    old.resolve();
    await old.settled;
    expect(breaker.getState().failureCount).toBe(1);
  });

  test("a probe of an earlier half-open state does not decide a later one (C2.3)", async () => {
    const { breaker, runtime } = await recovering({ halfOpenMaxConcurrent: 2, successThreshold: 1 });
    const slow = held(breaker);
    await breaker.executeOutcome(fail);
    await runtime.clock.advance(100);
    const probe = held(breaker);
    slow.resolve();
    await slow.settled;
    expect(breaker.state).toBe("HALF_OPEN");
    probe.resolve();
    await probe.settled;
    expect(breaker.state).toBe("CLOSED");
  });
});
