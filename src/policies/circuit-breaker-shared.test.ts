import { describe, expect, test } from "vitest";
import { down, fail, Fleet, held, open, permitted, type Process, two, types } from "../../test/breaker-processes.ts";
import { CircuitBreakerOpenError, ConfigError } from "../core/errors.ts";
import { Events } from "../core/events.ts";
import { pipeline } from "../core/pipeline.ts";
import { seededRandom } from "../core/random.ts";
import type { SharedState } from "../core/shared-state.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { FakeClock, record } from "../testing/fake-clock.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { sharing } from "./sharing.ts";
import { Timeout } from "./timeout.ts";

describe("the count of all processes", () => {
  test("opens the breaker of each of them, from the next look at the record on (C2.9)", async () => {
    const [a, b, fleet] = await two();
    await a.breaker.executeOutcome(fail);
    await b.breaker.executeOutcome(fail);
    expect(a.breaker.state).toBe("CLOSED");
    await a.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(a.breaker.state).toBe("OPEN");
    // It has failed once only by its own count.
    await fleet.look(b);
    expect(b.breaker.state).toBe("OPEN");
    await expect(b.breaker.execute(() => 1)).rejects.toMatchObject({ failureCount: 3, retryAfterMs: 750 });
    expect(types(b)).toContain("breaker.changed");
  });

  test("goes back to zero when one of them succeeds (C2.2, C2.9)", async () => {
    const [a, b, fleet] = await two();
    await a.breaker.executeOutcome(fail);
    await a.breaker.executeOutcome(fail);
    await fleet.look(b);
    expect(b.breaker.getState().failureCount).toBe(0);
    await fleet.look(a, b);
    await a.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect([a.breaker.state, a.breaker.getState().failureCount]).toEqual(["CLOSED", 1]);
  });

  test("is not ended by what succeeded before it began, though it is told later (C2.2, C2.9)", async () => {
    const fleet = new Fleet();
    const all = [];
    for (let n = 0; n < 3; n++) all.push(await fleet.join());
    await fleet.look(...all);
    for (const { breaker } of all) {
      for (let n = 0; n < 5; n++) await breaker.execute(() => 1);
      await breaker.executeOutcome(fail);
      await fleet.pass(0);
    }
    expect(all[2]!.breaker.state).toBe("OPEN");
  });

  test("has the rate of a window over all of them (C2.1, C2.9)", async () => {
    const window = { kind: "time", sizeMs: 10_000, failureRateThreshold: 0.5, minimumCalls: 6 } as const;
    const [a, b, fleet] = await two({ window });
    for (let n = 0; n < 2; n++) await a.breaker.executeOutcome(fail);
    await fleet.look(b);
    expect(b.breaker.getStats()).toMatchObject({ failureCount: 2, state: "closed" });
    for (let n = 0; n < 2; n++) await b.breaker.executeOutcome(fail);
    await fleet.look(a);
    expect([a.breaker.state, b.breaker.state]).toEqual(["OPEN", "OPEN"]);
    expect(a.breaker.getState().failureCount).toBeGreaterThanOrEqual(3);
  });

  test("has slow calls of all of them (C2.1, C2.9)", async () => {
    const window = { kind: "count", size: 10, minimumCalls: 4 } as const;
    const [a, b, fleet] = await two({ window, slowCallMs: 10, slowCallRateThreshold: 0.5 });
    const slow = [held(a), held(b)];
    await fleet.pass(11);
    for (const call of slow) call.end();
    await fleet.pass(0);
    await fleet.look(a, b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["OPEN", "OPEN"]);
  });
});

describe("the closed state", () => {
  test("is left alone by successes: they write nothing, and look at the record each syncMs only (C2.9)", async () => {
    const fleet = new Fleet();
    const a = await fleet.join({ syncMs: 100 });
    for (let n = 0; n < 1_000; n++) await a.breaker.execute(() => n);
    expect(a.state.updates).toBe(1);
    await fleet.pass(99);
    await a.breaker.execute(() => 1);
    expect(a.state.updates).toBe(1);
    await fleet.pass(1);
    for (let n = 0; n < 1_000; n++) await a.breaker.execute(() => n);
    expect(a.state.updates).toBe(2);
  });

  test("delays no call, also while the shared state does not answer (C2.9)", async () => {
    const fleet = new Fleet({ failureThreshold: 100 });
    const a = await fleet.join();
    a.state.fault = "hangs";
    // No time passes for these.
    for (let n = 0; n < 50; n++)
      expect((await a.breaker.executeOutcome(n % 2 === 0 ? fail : () => 1)).ok).toBe(n % 2 !== 0);
    expect(a.state.hanging).toBe(1);
  });

  test("has one report under way at most, and what comes meanwhile goes with the next (C2.9)", async () => {
    const [a, b, fleet] = await two({ failureThreshold: 20 });
    a.state.fault = "hangs";
    for (let n = 0; n < 5; n++) await a.breaker.executeOutcome(fail);
    expect(a.state.hanging).toBe(1);
    const before = a.state.updates;
    a.state.fault = null;
    a.state.release();
    await fleet.look(b);
    expect(a.state.updates).toBe(before + 1);
    await a.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(a.breaker.getState().failureCount).toBe(1);
  });

  test("has no timer, neither closed nor open nor between probes (C0.4, C2.9)", async () => {
    const [a, , fleet] = await open();
    expect(a.clock.pendingTimers).toBe(0);
    await fleet.pass(1_000);
    const probe = held(a);
    await fleet.pass(0);
    expect([probe.calls, a.clock.pendingTimers]).toEqual([1, 0]);
    probe.end();
    await probe.settled;
    expect(a.clock.pendingTimers).toBe(0);
  });
});

describe("the open state", () => {
  test("refuses in each process without asking, by its own clock (C2.2, C2.9)", async () => {
    const [a, b, fleet] = await open();
    const asked = b.state.updates;
    for (let n = 0; n < 100; n++) expect(await permitted(b)).toBe(false);
    expect(b.state.updates).toBe(asked);
    await fleet.pass(700);
    const outcome = await a.breaker.executeOutcome(() => 1);
    expect(outcome).toMatchObject({ ok: false, refused: true, retryAfterMs: 50 });
    expect(!outcome.ok && outcome.error).toBeInstanceOf(CircuitBreakerOpenError);
  });

  test("is not moved by a jump of anybody's wall clock (C0.4, C2.9)", async () => {
    const [a, b, fleet] = await open();
    a.clock.jumpWall(1e10);
    b.clock.jumpWall(-1e10);
    expect([await permitted(a), await permitted(b)]).toEqual([false, false]);
    await fleet.pass(750);
    expect(await permitted(b)).toBe(true);
  });
});

describe("probes", () => {
  test("are as few over all processes as in one (C2.2, C2.9)", async () => {
    const [a, b, fleet] = await open();
    await fleet.pass(750);
    const calls = Array.from({ length: 1_000 }, (_, n) => held(n % 2 === 0 ? a : b));
    await fleet.pass(0);
    expect(calls.reduce((sum, { calls: made }) => sum + made, 0)).toBe(1);
    for (const call of calls) call.end();
    const outcomes = await Promise.all(calls.map(({ settled }) => settled));
    expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1);
  });

  test.each([2, 3])("run %d at a time in one process where so many may (C2.2, C2.9)", async (most) => {
    const [a, b, fleet] = await open({ halfOpenMaxConcurrent: most, successThreshold: 9 });
    await fleet.pass(750);
    const calls = Array.from({ length: 20 }, () => held(a));
    await fleet.pass(0);
    expect(calls.reduce((sum, { calls: made }) => sum + made, 0)).toBe(most);
    expect(await permitted(b)).toBe(false);
    for (const call of calls) call.end();
    await Promise.all(calls.map(({ settled }) => settled));
    expect(await permitted(a)).toBe(true);
  });

  test("that succeed close it for all, each at its next look (C2.2, C2.9)", async () => {
    const [a, b, fleet] = await open({ successThreshold: 2 });
    await fleet.pass(750);
    await a.breaker.execute(() => 1);
    expect(a.breaker.getState()).toMatchObject({ state: "half_open", successCount: 1 });
    await a.breaker.execute(() => 1);
    expect(a.breaker.state).toBe("CLOSED");
    await fleet.look(b);
    expect([b.breaker.state, await permitted(b)]).toEqual(["CLOSED", true]);
  });

  test("that fail open it for all, for the full time (C2.2, C2.9)", async () => {
    const [a, b, fleet] = await open();
    await fleet.pass(750);
    await a.breaker.executeOutcome(fail);
    expect(a.breaker.getState()).toMatchObject({ state: "open", failureCount: 4 });
    expect(await permitted(b)).toBe(false);
    await fleet.pass(999);
    expect([await permitted(a), await permitted(b)]).toEqual([false, false]);
    await fleet.pass(1);
    expect(await permitted(a)).toBe(true);
  });

  test("that others have are not asked for with each call, but each syncMs (C2.9)", async () => {
    const [a, b, fleet] = await open({ successThreshold: 9 });
    await fleet.pass(750);
    held(a);
    await fleet.pass(0);
    await permitted(b);
    const asked = b.state.updates;
    for (let n = 0; n < 100; n++) await permitted(b);
    expect(b.state.updates).toBe(asked);
  });

  test("that are neutral or aborted give their place back (C2.3, C2.4, C2.9)", async () => {
    const [a, b, fleet] = await open();
    await fleet.pass(750);
    await a.breaker.executeOutcome(() => Promise.reject(new ConfigError("wrong")));
    const controller = new AbortController();
    const aborted = b.breaker.executeOutcome(({ signal }) => b.clock.sleep(5_000, signal), controller);
    await fleet.pass(0);
    expect(await permitted(a)).toBe(false);
    controller.abort();
    await aborted;
    await fleet.look(a);
    expect(a.breaker.state).toBe("CLOSED");
  });

  test("that hang lose their place to another process, and what they bring changes nothing (C2.3, C2.9)", async () => {
    const [a, b, fleet] = await open({ probeTimeoutMs: 2_000, successThreshold: 2 });
    await fleet.pass(750);
    const hung = held(a);
    await fleet.pass(1_999);
    expect(await permitted(b)).toBe(false);
    await fleet.pass(250);
    expect([await permitted(b), b.breaker.getState().successCount]).toEqual([true, 1]);
    hung.end();
    await hung.settled;
    await fleet.look(a);
    expect([a.breaker.state, b.breaker.getState().successCount]).toEqual(["CLOSED", 1]);
  });

  test("that hang lose their place to another of the same process, too (C2.3, C2.9)", async () => {
    const [a, , fleet] = await open({ probeTimeoutMs: 2_000 });
    await fleet.pass(750);
    held(a);
    await fleet.pass(1_999);
    expect(await permitted(a)).toBe(false);
    await fleet.pass(1);
    expect([await permitted(a), a.breaker.state]).toEqual([true, "CLOSED"]);
  });

  test("that hang take no place from those of the next time (C2.3, C2.9)", async () => {
    const [a, , fleet] = await open({ halfOpenMaxConcurrent: 2, successThreshold: 3 });
    await fleet.pass(750);
    const old = [held(a), held(a)];
    await fleet.pass(0);
    old[0]!.end(down);
    await fleet.pass(1_000);
    const next = [held(a), held(a), held(a)];
    await fleet.pass(0);
    expect(next.map(({ calls }) => calls)).toEqual([1, 1, 0]);
    old[1]!.end();
    for (const call of next) call.end();
    await Promise.all(next.map(({ settled }) => settled));
    expect(a.breaker.getState()).toMatchObject({ state: "half_open", successCount: 2 });
  });

  test("under a timeout fail when that passes (C3.1, C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    const guarded = pipeline(a.breaker, new Timeout({ attemptTimeoutMs: 50 }, a.runtime));
    const probe = guarded.executeOutcome(() => new Promise(() => {}));
    await fleet.pass(50);
    expect(await probe).toMatchObject({ ok: false, error: { code: "TIMEOUT" } });
    await fleet.pass(0);
    expect(a.breaker.getState()).toMatchObject({ state: "open", failureCount: 4 });
  });

  test("are not waited for by a call that is aborted meanwhile, and the place comes back (C2.3, C2.9)", async () => {
    const [a, b, fleet] = await open();
    await fleet.pass(750);
    a.state.fault = "hangs";
    const controller = new AbortController();
    const aborted = a.breaker.execute(() => "never called", controller);
    const reason = new Error("changed my mind");
    controller.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    a.state.fault = null;
    a.state.release();
    await fleet.pass(0);
    expect([await permitted(b), a.clock.pendingTimers]).toEqual([true, 0]);
  });

  test("whose call is aborted at the moment when it has its place give that back (C2.3, C2.9)", async () => {
    const fleet = new Fleet();
    const controller = new AbortController();
    const a = await fleet.join({
      onStateChange: ({ to }) => {
        if (to === "HALF_OPEN") controller.abort(new Error("changed my mind"));
      },
    });
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    await expect(a.breaker.execute(() => "never called", controller)).rejects.toThrow("changed my mind");
    await fleet.pass(0);
    expect(await permitted(a)).toBe(true);
  });

  test("are not waited for past the deadline of a call (C3.1, C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    a.state.fault = "hangs";
    const call = a.breaker.executeOutcome(() => "never called", { deadlineMs: 40 });
    await fleet.pass(40);
    expect(await call).toMatchObject({ ok: false, refused: true });
    expect(a.breaker.getState().shared).toMatchObject({ attached: true });
  });

  test("serve the fallback where there is no place for them (C3.5, C2.9)", async () => {
    const [a, b, fleet] = await open();
    const other = new CircuitBreaker({ failureThreshold: 3, sharedState: b.state, fallback: "stale" }, b.runtime);
    await other.executeOutcome(() => 1);
    await fleet.pass(750);
    held(a);
    await fleet.pass(0);
    expect(await other.execute(() => "fresh")).toBe("stale");
    expect(await other.executeOutcome(() => "fresh")).toMatchObject({ ok: true, value: "stale", fallbackUsed: true });
  });
});

describe("a result of an older generation", () => {
  test("changes nothing, whoever brings it (C2.3, C2.9)", async () => {
    const [a, b, fleet] = await two({ failureThreshold: 1 });
    const old = [held(a), held(b)];
    await fleet.pass(0);
    await a.breaker.executeOutcome(fail);
    await fleet.look(b);
    await fleet.pass(750);
    await b.breaker.execute(() => 1);
    await fleet.look(a, b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["CLOSED", "CLOSED"]);
    for (const call of old) call.end(down);
    await fleet.look(a, b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["CLOSED", "CLOSED"]);
    expect(a.breaker.getState().failureCount).toBe(0);
  });

  test("is known as such by the record where the process has not heard of the new one yet (C2.3, C2.9)", async () => {
    const [a, b, fleet] = await two({ failureThreshold: 1 });
    const old = held(b);
    await fleet.pass(0);
    await a.breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    await a.breaker.execute(() => 1);
    expect(a.breaker.state).toBe("CLOSED");
    // It opens for itself at once, and learns with the answer that this was long ago.
    old.end(down);
    await old.settled;
    await fleet.pass(0);
    await fleet.look(a, b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["CLOSED", "CLOSED"]);
  });
});

test("an answer that comes after a younger one changes nothing (C2.9)", async () => {
  const [a, , fleet] = await open({ successThreshold: 2 });
  await fleet.pass(750);
  const look = a.state.updates + 1;
  a.state.onUpdate = (n) => (n === look ? "late" : undefined);
  const probe = held(a);
  await fleet.pass(0);
  expect([probe.calls, a.breaker.state]).toEqual([1, "HALF_OPEN"]);
  // It says that the breaker is open, and so it was.
  a.state.release();
  await fleet.pass(0);
  expect(a.breaker.state).toBe("HALF_OPEN");
  probe.end();
  await probe.settled;
  expect(a.breaker.getState().successCount).toBe(1);
});

describe("a process that has just started", () => {
  test("has its first failures counted, and its first call is not delayed (C2.9)", async () => {
    const [a, , fleet] = await two();
    for (let n = 0; n < 2; n++) await a.breaker.executeOutcome(fail);
    await fleet.pass(10);
    const late = await fleet.join();
    await late.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(late.breaker.state).toBe("OPEN");
  });

  test("finds the breaker open (C2.9)", async () => {
    const [, , fleet] = await open();
    const late = await fleet.join();
    expect(await permitted(late)).toBe(true);
    await fleet.pass(0);
    expect([late.breaker.state, await permitted(late)]).toEqual(["OPEN", false]);
  });
});

describe("a quorum", () => {
  test("keeps a process that fails alone from opening it for the others; it opens for itself, and says so (C2.9)", async () => {
    const [a, b, fleet] = await two({ quorum: 2 });
    for (let n = 0; n < 4; n++) await a.breaker.executeOutcome(fail);
    await fleet.look(b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["OPEN", "CLOSED"]);
    expect(a.breaker.getState().shared).toEqual({ attached: true, alone: true, fleet: "closed" });
    expect(a.events.filter(({ type }) => type === "breaker.alone")).toMatchObject([{ failures: 3 }]);
    // By its own probes it closes again.
    await fleet.pass(1_000);
    expect(await permitted(a)).toBe(true);
    expect(a.breaker.getState()).toMatchObject({ state: "closed", shared: { alone: false } });
    expect(b.events.filter(({ type }) => type === "breaker.changed")).toEqual([]);
  });

  test("is reached when a second one fails, too (C2.9)", async () => {
    const [a, b, fleet] = await two({ quorum: 2 });
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    await b.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(b.breaker.state).toBe("OPEN");
    await fleet.look(a);
    expect(a.breaker.getState().shared).toEqual({ attached: true, alone: false, fleet: "open" });
  });

  test("is needed to open again, so that one that stays broken does not keep it open (C2.9)", async () => {
    const [a, b, fleet] = await two({ quorum: 2 });
    for (const { breaker } of [a, a, b, b]) await breaker.executeOutcome(fail);
    await fleet.look(a, b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["OPEN", "OPEN"]);
    await fleet.pass(1_000);
    await a.breaker.executeOutcome(fail);
    expect(a.breaker.getState()).toMatchObject({ state: "open", shared: { alone: true, fleet: "half_open" } });
    await fleet.pass(250);
    expect(await permitted(b)).toBe(true);
    expect(b.breaker.state).toBe("CLOSED");
  });
});

describe("a quorum and probes", () => {
  /** Both have failed, it is open for both, and the open time is over. */
  async function due(options: CircuitBreakerOptions<never> = {}): Promise<[Process, Process, Fleet]> {
    const [a, b, fleet] = await two({ quorum: 2, ...options });
    for (const { breaker } of [a, a, b, b]) await breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    return [a, b, fleet];
  }

  test("one that fails alone does not keep the others of its process from being heard (C2.9)", async () => {
    const [a, b, fleet] = await due({ halfOpenMaxConcurrent: 2 });
    const [first, second] = [held(a), held(a)];
    await fleet.pass(0);
    first.end(down);
    await first.settled;
    expect(a.breaker.getState().shared).toMatchObject({ alone: true });
    second.end();
    await second.settled;
    await fleet.look(b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["CLOSED", "CLOSED"]);
  });

  test("one that failed alone opens nothing after a reset (C2.3, C2.9)", async () => {
    const [a, , fleet] = await due();
    const probe = held(a);
    await fleet.pass(0);
    a.state.fault = "late";
    probe.end(down);
    await fleet.pass(0);
    a.breaker.reset();
    a.state.fault = null;
    a.state.release();
    await probe.settled;
    await fleet.pass(0);
    expect([a.breaker.state, await permitted(a)]).toEqual(["CLOSED", true]);
  });
});

describe("orders by hand", () => {
  test("hold in all processes (C2.6, C2.9)", async () => {
    const [a, b, fleet] = await two();
    a.breaker.isolate();
    expect(await permitted(a)).toBe(false);
    await fleet.look(b);
    expect([b.breaker.state, await permitted(b)]).toEqual(["ISOLATED", false]);
    b.breaker.disable();
    await fleet.look(a);
    expect([a.breaker.state, await permitted(a)]).toEqual(["DISABLED", true]);
    a.breaker.reset();
    await fleet.look(b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["CLOSED", "CLOSED"]);
  });

  test("given while the shared state is away are carried out when it is back (C2.6, C2.9)", async () => {
    const [a, b, fleet] = await two();
    a.state.fault = "refused";
    a.breaker.isolate();
    await fleet.look(a);
    await fleet.pass(3_000);
    expect([await permitted(a), a.breaker.state]).toEqual([false, "ISOLATED"]);
    a.state.fault = null;
    await fleet.pass(3_000);
    await permitted(a);
    await fleet.look(b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["ISOLATED", "ISOLATED"]);
  });

  test("a reset lets what begins after it count at once (C2.3, C2.6, C2.9)", async () => {
    const [a, , fleet] = await open();
    a.breaker.reset();
    for (let n = 0; n < 2; n++) await a.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(a.breaker.getState()).toMatchObject({ state: "closed", failureCount: 2 });
  });
});

describe("while the shared state is away", () => {
  test("a breaker goes on by itself, and says when that begins and when it ends (C2.9)", async () => {
    const [a, b, fleet] = await two();
    a.state.fault = "refused";
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(a.breaker.getState()).toMatchObject({ state: "open", failureCount: 3, shared: { attached: false } });
    await fleet.pass(1_000);
    expect(await permitted(a)).toBe(true);
    expect(a.breaker.state).toBe("CLOSED");
    a.state.fault = null;
    await fleet.pass(3_000);
    await fleet.look(a, b);
    expect(a.breaker.getState().shared).toEqual({ attached: true, alone: false, fleet: "closed" });
    expect(types(a).filter((type) => type.endsWith("tached"))).toEqual(["breaker.detached", "breaker.attached"]);
    expect(b.events).toEqual([]);
  });

  test("it is tried every three seconds at most, when there are calls (C2.9)", async () => {
    const [a, , fleet] = await two();
    a.state.fault = "refused";
    await fleet.look(a);
    const before = a.state.updates;
    for (let n = 0; n < 100; n++) {
      await a.breaker.executeOutcome(n % 10 === 0 ? fail : () => 1);
      await fleet.pass(100);
    }
    expect(a.state.updates - before).toBeLessThanOrEqual(4);
    await fleet.pass(1e6);
    expect(a.state.updates - before).toBeLessThanOrEqual(4);
  });

  test("a probe waits a second for its place, then is one of the process's own (C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    a.state.fault = "hangs";
    const [first, second] = [held(a), held(a)];
    expect((await second.settled).ok).toBe(false);
    await fleet.pass(999);
    expect(first.calls).toBe(0);
    await fleet.pass(1);
    expect(first.calls).toBe(1);
    expect(await permitted(a)).toBe(false);
    first.end();
    await first.settled;
    expect(a.breaker.getState()).toMatchObject({ state: "closed", shared: { attached: false } });
    expect(types(a).filter((type) => type === "breaker.detached")).toHaveLength(1);
  });

  test("it is away for a probe whose place is not answered, whatever else is (C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    // The look at the record comes first.
    const asks = a.state.updates + 2;
    a.state.onUpdate = (n) => (n === asks ? "hangs" : undefined);
    const probe = held(a);
    await fleet.pass(1_000);
    expect([probe.calls, types(a).at(-2)]).toEqual([1, "breaker.detached"]);
  });

  test("the report of a probe is waited for a second, then holds for this process (C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    const probe = held(a);
    await fleet.pass(0);
    a.state.fault = "hangs";
    probe.end(down);
    let settled = false;
    void probe.settled.then(() => (settled = true));
    await fleet.pass(999);
    expect(settled).toBe(false);
    await fleet.pass(1);
    expect([settled, a.breaker.state, a.clock.pendingTimers]).toEqual([true, "OPEN", 0]);
  });

  test("probes under way count as its own (C2.2, C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    const probe = held(a);
    await fleet.pass(0);
    a.state.fault = "refused";
    await fleet.look(a);
    expect(a.breaker.getState().shared).toMatchObject({ attached: false });
    expect(await permitted(a)).toBe(false);
    probe.end();
    await probe.settled;
    expect(a.breaker.state).toBe("CLOSED");
  });

  test("a place that is granted too late is given back (C2.9)", async () => {
    const [a, b, fleet] = await open({ successThreshold: 2 });
    await fleet.pass(750);
    a.state.fault = "hangs";
    const late = a.breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    await late;
    a.state.fault = null;
    a.state.release();
    await fleet.pass(0);
    expect(await permitted(b)).toBe(true);
  });

  test("an answer that comes after all brings it back; one that never comes is given up after a while (C2.9)", async () => {
    const [a, b, fleet] = await two();
    for (const process of [a, b]) process.state.fault = "hangs";
    await fleet.look(a, b);
    await fleet.pass(1_000);
    await permitted(a);
    await permitted(b);
    expect([a.breaker.getState().shared?.attached, b.breaker.getState().shared?.attached]).toEqual([false, false]);
    for (const process of [a, b]) process.state.fault = null;
    a.state.release();
    await fleet.pass(0);
    expect(a.breaker.getState().shared?.attached).toBe(true);
    await fleet.pass(28_000);
    await permitted(b);
    expect([b.state.hanging, b.breaker.getState().shared?.attached]).toEqual([1, false]);
    await fleet.pass(2_000);
    await fleet.look(b);
    expect(b.breaker.getState().shared?.attached).toBe(true);
  });

  test("of those that come back some have opened alone, and others find it open (C2.9)", async () => {
    const [a, b, fleet] = await two();
    b.state.fault = "refused";
    await fleet.look(b);
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    await fleet.pass(2_990);
    b.state.fault = null;
    a.breaker.isolate();
    await fleet.pass(10);
    await fleet.look(b);
    expect(b.breaker.state).toBe("ISOLATED");
  });

  test("an answer that makes no sense is no answer (C0.6, C2.9)", async () => {
    const clock = new FakeClock();
    const runtime = { clock, random: seededRandom(1), events: new Events(clock) };
    const events = record(runtime.events);
    const nonsense = { sharing, update: () => Promise.resolve(undefined as never), close: () => Promise.resolve() };
    const breaker = new CircuitBreaker({ sharedState: nonsense, failureThreshold: 1 }, runtime);
    expect(await breaker.execute(() => 1)).toBe(1);
    await clock.advance(0);
    expect(events.map(({ type }) => type)).toEqual(["breaker.detached"]);
    await breaker.executeOutcome(fail);
    expect(breaker.state).toBe("OPEN");
  });
});

describe("a place that was emptied", () => {
  test("is followed as it is then, although its time has begun anew (C2.9)", async () => {
    const clock = new FakeClock();
    const runtime = { clock, random: seededRandom(1), events: new Events(clock) };
    let place = new MemorySharedState({ clock });
    const sharedState: SharedState = {
      sharing,
      update: (key, change) => place.update(key, change),
      close: () => Promise.resolve(),
    };
    await clock.advance(1_000_000);
    const breaker = new CircuitBreaker({ sharedState, failureThreshold: 2 }, runtime);
    for (let n = 0; n < 2; n++) await breaker.executeOutcome(fail);
    await clock.advance(250);
    expect(breaker.state).toBe("OPEN");
    place = new MemorySharedState({ clock: new FakeClock() });
    await breaker.executeOutcome(fail);
    await clock.advance(0);
    expect(breaker.state).toBe("CLOSED");
    for (let n = 0; n < 2; n++) await breaker.executeOutcome(fail);
    await clock.advance(0);
    expect(breaker.getState()).toMatchObject({ state: "open", shared: { alone: false, fleet: "open" } });
  });
});

test("a dry run refuses nothing, and follows the others all the same (C2.10, C2.9)", async () => {
  const [a, b, fleet] = await open({ dryRun: true });
  expect([await permitted(a), await permitted(b)]).toEqual([true, true]);
  expect(b.events.at(-1)).toMatchObject({ type: "breaker.rejected", dryRun: true });
  await fleet.pass(750);
  const probe = held(a);
  await fleet.pass(0);
  expect([probe.calls, await permitted(b), b.breaker.state]).toEqual([1, true, "HALF_OPEN"]);
  probe.end();
  await fleet.look(a, b);
  expect([a.breaker.state, b.breaker.state]).toEqual(["CLOSED", "CLOSED"]);
});

describe("the options", () => {
  test("quorum and syncMs need a shared state, which needs an update (C0.3, C2.9)", () => {
    expect(() => new CircuitBreaker({ quorum: 2 })).toThrow("need sharedState");
    expect(() => new CircuitBreaker({ syncMs: 2 })).toThrow("need sharedState");
    expect(() => new CircuitBreaker({ sharedState: {} as never })).toThrow("must be a shared state");
  });

  test("a call that cannot wait is none for a breaker that may have to (C3.10, C2.9)", async () => {
    const { breaker } = await new Fleet().join();
    expect(() => breaker.executeSync(() => 1)).toThrow(ConfigError);
  });

  test("a breaker that shares its state says so, and no timeout takes it into its frame (C3.12, C2.9)", async () => {
    const { breaker } = await new Fleet().join();
    expect(breaker.describe().options).toMatchObject({ hasSharedState: true, quorum: 1, syncMs: 250 });
    expect(breaker.getState().shared).toEqual({ attached: false, alone: false, fleet: null });
    expect(breaker.guard).toBeUndefined();
    expect(new CircuitBreaker().getState()).not.toHaveProperty("shared");
  });
});
