import { describe, expect, test } from "vitest";
import { down, fail, Fleet, held, open, permitted, two, types } from "../../test/breaker-processes.ts";
import { ConfigError } from "../core/errors.ts";
import { Events } from "../core/events.ts";
import { seededRandom } from "../core/random.ts";
import type { Runtime } from "../core/runtime.ts";
import type { SharedChange, SharedState } from "../core/shared-state.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { sharing } from "./sharing.ts";

const neutral = (): Promise<never> => Promise.reject(new ConfigError("wrong"));

/** A place whose updates are made and answered one by one, when the test says so. */
class Gated implements SharedState {
  readonly sharing = sharing;
  /** Lets the updates go on, in the order in which they were asked for. */
  readonly asked: (() => void)[] = [];
  readonly clock = new FakeClock();
  readonly runtime: Runtime = { clock: this.clock, random: seededRandom(1), events: new Events(this.clock) };
  readonly #place = new MemorySharedState({ clock: this.clock });

  async update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R> {
    await new Promise<void>((resolve) => this.asked.push(resolve));
    return this.#place.update(key, change);
  }

  async answer(n: number): Promise<void> {
    this.asked[n]!();
    await this.clock.advance(0);
  }

  async close(): Promise<void> {}
}

test("breakers of different names in one place have nothing in common (C2.9)", async () => {
  const fleet = new Fleet();
  const [crm, erp] = [await fleet.join({ name: "crm" }), await fleet.join({ name: "erp" })];
  for (let n = 0; n < 3; n++) await crm.breaker.executeOutcome(fail);
  await fleet.look(crm, erp);
  expect([crm.breaker.state, erp.breaker.state, await permitted(erp)]).toEqual(["OPEN", "CLOSED", true]);
});

describe("the count of all processes", () => {
  test("goes back to zero at once with a success of one that knows of failures (C2.2, C2.9)", async () => {
    const [a, , fleet] = await two();
    for (const operation of [fail, fail, () => 1, fail, fail]) {
      await a.breaker.executeOutcome(operation);
      await fleet.pass(0);
    }
    expect(a.breaker.getState()).toMatchObject({ state: "closed", failureCount: 2 });
  });

  test("in a window is not written to with each success after a failure (C2.9)", async () => {
    const [a, , fleet] = await two({ window: { kind: "time", sizeMs: 10_000 } });
    await a.breaker.executeOutcome(fail);
    await fleet.pass(0);
    const { updates } = a.state;
    for (let n = 0; n < 10; n++) {
      await a.breaker.executeOutcome(() => 1);
      await fleet.pass(0);
    }
    expect(a.state.updates).toBe(updates);
  });

  test("is not what a breaker goes by that is on its own, or open for itself alone (C2.6, C2.9)", async () => {
    const [a, b, fleet] = await two();
    for (let n = 0; n < 2; n++) await b.breaker.executeOutcome(fail);
    await fleet.pass(250);
    await a.breaker.executeOutcome(neutral);
    await fleet.pass(0);
    expect(a.breaker.getState().failureCount).toBe(2);
    a.state.fault = "refused";
    await a.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(a.breaker.getState()).toMatchObject({ failureCount: 1, shared: { attached: false } });

    const window = { kind: "count", size: 20, minimumCalls: 3 } as const;
    const [alone, fine, others] = await two({ quorum: 2, window });
    for (let n = 0; n < 6; n++) await fine.breaker.executeOutcome(() => 1);
    await others.look(fine);
    for (let n = 0; n < 3; n++) await alone.breaker.executeOutcome(fail);
    await others.pass(0);
    expect(alone.breaker.getStats()).toMatchObject({ state: "open", failureRate: 3 / 4, shared: { alone: true } });
  });
});

describe("a probe", () => {
  test("that is refused its place by a failing connection becomes one of the process's own (C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    const asks = a.state.updates + 2;
    a.state.onUpdate = (n) => (n === asks ? "refused" : undefined);
    const probe = held(a);
    await fleet.pass(0);
    expect(probe.calls).toBe(1);
    expect(a.breaker.getState()).toMatchObject({ state: "half_open", shared: { attached: false } });
  });

  test("whose report fails has its result hold for this process (C2.2, C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    const probe = held(a);
    await fleet.pass(0);
    a.state.fault = "refused";
    probe.end(down);
    await probe.settled;
    expect(a.breaker.getState()).toMatchObject({ state: "open", failureCount: 4, shared: { attached: false } });
  });

  test("that is aborted is not waited for until its report is answered (C0.8, C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(750);
    const controller = new AbortController();
    const call = a.breaker.executeOutcome(({ signal }) => a.clock.sleep(5_000, signal), controller);
    await fleet.pass(0);
    a.state.fault = "hangs";
    controller.abort(down);
    // No time passes for it.
    expect(await call).toMatchObject({ ok: false, error: down });
    await fleet.pass(1_000);
    expect(a.breaker.getState().shared).toEqual({ attached: true, alone: false, fleet: "half_open" });
  });

  test("that is aborted while it waits for its place never runs, and says nothing of the shared state (C0.8, C2.9)", async () => {
    const [a, , fleet] = await open({ fallback: "stale" as never });
    await fleet.pass(750);
    a.state.fault = "hangs";
    const controller = new AbortController();
    const call = a.breaker.executeOutcome(() => "never called", controller);
    controller.abort(down);
    expect(await call).toEqual({ ok: false, error: down, refused: false });
    await fleet.pass(0);
    expect(a.breaker.getState().shared).toMatchObject({ attached: true });
  });

  test("whose place comes once the breaker is isolated gives it back, and its call is refused (C2.3, C2.6, C2.9)", async () => {
    const [a, b, fleet] = await open();
    await fleet.pass(750);
    const asks = a.state.updates + 2;
    a.state.onUpdate = (n) => (n === asks ? "late" : undefined);
    const probe = held(a);
    await fleet.pass(0);
    b.breaker.isolate();
    await fleet.pass(250);
    await a.breaker.executeOutcome(() => 1);
    await fleet.pass(0);
    expect(a.breaker.state).toBe("ISOLATED");
    a.state.release();
    await fleet.pass(0);
    expect(await probe.settled).toMatchObject({ ok: false, refused: true });
    expect([probe.calls, a.breaker.state]).toEqual([0, "ISOLATED"]);
  });

  test("that asks for a place of which the record has gone goes on as a call of the closed state (C2.9)", async () => {
    const [a, b, fleet] = await open();
    await fleet.pass(750);
    const asks = a.state.updates + 2;
    a.state.onUpdate = (n) => (n === asks ? "hangs" : undefined);
    const call = held(a);
    await fleet.pass(10);
    await b.state.update("breaker:circuitBreaker", () => ({ next: undefined, keepMs: 0, result: null }));
    a.state.release();
    await fleet.pass(0);
    expect([call.calls, a.breaker.state]).toEqual([1, "CLOSED"]);
  });

  test("is no change of state where another already runs (C2.6, C2.9)", async () => {
    const [a, , fleet] = await open({ halfOpenMaxConcurrent: 2, successThreshold: 9 });
    await fleet.pass(750);
    held(a);
    await fleet.pass(0);
    const { lastStateChange, shared } = a.breaker.getState();
    expect(shared).toEqual({ attached: true, alone: false, fleet: "half_open" });
    await fleet.pass(100);
    const second = held(a);
    await fleet.pass(0);
    expect([second.calls, a.breaker.getState().lastStateChange]).toEqual([1, lastStateChange]);
  });

  test("is never taken for a call of an older generation (C2.3, C2.9)", async () => {
    const [a, , fleet] = await two({ successThreshold: 20 });
    const old = Array.from({ length: 8 }, () => held(a));
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    for (const call of old) {
      const probe = held(a);
      await fleet.pass(0);
      expect(probe.calls).toBe(1);
      call.end(down);
      await call.settled;
      probe.end();
      await probe.settled;
    }
    expect(a.breaker.getState()).toMatchObject({ state: "half_open", successCount: old.length });
  });

  test("serves the fallback where others have its place (C3.5, C2.9)", async () => {
    const [a, b, fleet] = await open({ fallback: "stale" as never });
    await fleet.pass(750);
    const probe = held(b);
    await fleet.pass(0);
    expect(await a.breaker.executeOutcome(() => "fresh")).toMatchObject({ ok: true, value: "stale" });
    expect(probe.calls).toBe(1);
  });
});

describe("a quorum", () => {
  test("of which one has failed before it heard of the others says that it is alone, once for each time (C2.9)", async () => {
    const fleet = new Fleet({ quorum: 2 });
    const a = await fleet.join();
    a.state.fault = "late";
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    a.state.fault = null;
    a.state.release();
    await fleet.pass(0);
    for (let n = 0; n < 3; n++) await fleet.look(a);
    expect(a.events.filter(({ type }) => type === "breaker.alone")).toMatchObject([
      { policy: "circuitBreaker", failures: 3 },
    ]);
    await fleet.pass(1_000);
    await a.breaker.execute(() => 1);
    await fleet.look(a);
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    for (let n = 0; n < 3; n++) await fleet.look(a);
    expect(types(a).filter((type) => type === "breaker.alone")).toHaveLength(2);
  });

  test("lets one that is alone close by its own probes, however often it looks at the record meanwhile (C2.2, C2.9)", async () => {
    const [a, , fleet] = await two({ quorum: 2, successThreshold: 2 });
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    await fleet.look(a);
    expect(a.breaker.getState()).toMatchObject({ state: "half_open", successCount: 1, shared: { alone: true } });
    await fleet.look(a);
    expect(a.breaker.state).toBe("CLOSED");
  });

  test("lets one whose probe failed alone try again with the others (C2.2, C2.9)", async () => {
    const [a, b, fleet] = await two({ quorum: 2 });
    for (const { breaker } of [a, a, b, b]) await breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    await a.breaker.executeOutcome(fail);
    expect(a.breaker.getState()).toMatchObject({ state: "open", failureCount: 4, shared: { alone: true } });
    await fleet.pass(1_000);
    const probe = held(a);
    await fleet.pass(0);
    expect(probe.calls).toBe(1);
    expect(a.breaker.getState()).toMatchObject({ state: "half_open", shared: { alone: false, fleet: "half_open" } });
  });

  test("has one that is open for itself alone go on by itself, with a probe still under way (C2.9)", async () => {
    const [a, b, fleet] = await two({ quorum: 2, halfOpenMaxConcurrent: 2 });
    for (const { breaker } of [a, a, b, b]) await breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    const [first, second] = [held(a), held(a)];
    await fleet.pass(0);
    first.end(down);
    await first.settled;
    expect(a.breaker.getState()).toMatchObject({ state: "open", shared: { alone: true } });
    a.state.fault = "refused";
    second.end();
    expect(await second.settled).toMatchObject({ ok: true });
    expect(a.breaker.getState()).toMatchObject({ state: "open", shared: { attached: false, alone: false } });
    await fleet.pass(1_000);
    expect([await permitted(a), a.breaker.state]).toEqual([true, "CLOSED"]);
  });
});

describe("an order by hand", () => {
  test("holds at once where it was given, although the shared state has not heard it (C2.6, C2.9)", async () => {
    const [a, , fleet] = await open();
    a.state.fault = "hangs";
    await fleet.pass(750);
    a.breaker.reset();
    // No time passes for it.
    expect(await permitted(a)).toBe(true);
    expect(a.breaker.getState()).toMatchObject({ state: "closed", failureCount: 0 });
  });

  test("waits for the report under way, and goes by itself as soon as that is answered (C2.6, C2.9)", async () => {
    const [a, b, fleet] = await two();
    a.state.fault = "hangs";
    await fleet.look(a);
    a.breaker.isolate();
    expect(a.state.hanging).toBe(1);
    a.state.fault = null;
    a.state.release();
    await fleet.pass(0);
    await fleet.look(b);
    expect(b.breaker.state).toBe("ISOLATED");
  });

  test("that comes while another is on its way is the one that holds (C2.6, C2.9)", async () => {
    const [a, b, fleet] = await two();
    a.state.fault = "late";
    a.breaker.disable();
    a.breaker.isolate();
    await fleet.pass(0);
    a.state.fault = null;
    a.state.release();
    await fleet.pass(0);
    await fleet.look(b);
    expect([a.breaker.state, b.breaker.state]).toEqual(["ISOLATED", "ISOLATED"]);
  });
});

describe("while the shared state is away", () => {
  test("the events name the breaker and say why; whoever hears them can ask it how it stands (C2.9, C3.11)", async () => {
    const fleet = new Fleet();
    const a = await fleet.join();
    const standing: unknown[] = [];
    a.runtime.events.on(({ type }) => {
      if (type.endsWith("tached")) standing.push(a.breaker.getState());
    });
    expect(a.breaker.getStats()).toMatchObject({ failureRate: 0, failureCount: 0 });
    a.state.fault = "hangs";
    await a.breaker.execute(() => 1);
    await fleet.pass(1_000);
    await a.breaker.execute(() => 1);
    a.state.fault = null;
    a.state.release();
    await fleet.pass(0);
    const own = { alone: false, fleet: null };
    expect(standing).toMatchObject([
      { failureCount: 0, shared: { attached: false, ...own } },
      { failureCount: 0, shared: { attached: true, ...own } },
    ]);
    const message = "The shared state did not answer within 1000 ms.";
    expect(a.events).toMatchObject([
      { type: "breaker.detached", policy: "circuitBreaker", error: { code: "STORE_UNAVAILABLE", message } },
      { type: "breaker.attached", policy: "circuitBreaker" },
    ]);
  });

  test("nobody need listen for it (C2.9)", async () => {
    const clock = new FakeClock();
    const runtime = { clock, random: seededRandom(1), events: new Events(clock) };
    const [a] = await two({ quorum: 2 });
    const options = { sharedState: a.state, quorum: 2, failureThreshold: 1 };
    const breaker = new CircuitBreaker<never>(options, runtime);
    const standing = async (): Promise<unknown> => {
      await clock.advance(3_000);
      await breaker.executeOutcome(neutral);
      await clock.advance(0);
      return breaker.getState().shared;
    };
    a.state.fault = "refused";
    expect(await standing()).toMatchObject({ attached: false });
    a.state.fault = null;
    expect(await standing()).toMatchObject({ attached: true });
    await breaker.executeOutcome(fail);
    await clock.advance(0);
    expect(breaker.getState().shared).toEqual({ attached: true, alone: true, fleet: "closed" });
  });

  test("it is looked at each syncMs again from its return on, not with each call (C2.9)", async () => {
    const [a, , fleet] = await two();
    a.state.fault = "refused";
    await fleet.look(a);
    a.state.fault = null;
    await fleet.pass(2_750);
    await fleet.look(a);
    expect(a.breaker.getState().shared).toMatchObject({ attached: true });
    const { updates } = a.state;
    for (let n = 0; n < 20; n++) {
      await fleet.pass(10);
      await a.breaker.execute(() => 1);
    }
    expect(a.state.updates).toBe(updates);
  });

  test("an update that was never answered stands in the way of another for half a minute, and of nothing when it is answered after all (C2.9)", async () => {
    const place = new Gated();
    const breaker = new CircuitBreaker({ sharedState: place }, place.runtime);
    const call = async (): Promise<void> => void (await breaker.execute(() => 1));
    await call();
    await place.clock.advance(1_000);
    await call();
    await place.clock.advance(28_999);
    await call();
    expect(place.asked).toHaveLength(1);
    await place.clock.advance(1);
    await call();
    expect(place.asked).toHaveLength(2);
    await place.clock.advance(1_000);
    await call();
    expect(breaker.getState().shared).toMatchObject({ attached: false });
    await place.answer(0);
    expect(breaker.getState().shared).toMatchObject({ attached: true });
    await place.clock.advance(250);
    await call();
    // The second is known to be late, and still under way.
    expect(breaker.getState().shared).toMatchObject({ attached: true });
    expect(place.asked).toHaveLength(2);
  });

  test("the others may close it anew, and what failed before that is over when it is back (C2.3, C2.9)", async () => {
    const [a, b, fleet] = await two();
    for (const { breaker } of [b, b, a]) {
      await breaker.executeOutcome(fail);
      await fleet.pass(0);
    }
    await fleet.pass(1_000);
    await a.breaker.execute(() => 1);
    b.state.fault = "refused";
    await b.breaker.executeOutcome(neutral);
    await fleet.pass(3_000);
    expect(b.breaker.getState()).toMatchObject({ failureCount: 2, shared: { attached: false } });
    b.state.fault = null;
    await b.breaker.executeOutcome(neutral);
    await fleet.pass(0);
    await b.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(b.breaker.getState()).toMatchObject({ state: "closed", failureCount: 1 });
  });

  test("they may do so too for one that has never heard of them (C2.3, C2.9)", async () => {
    const [a, , fleet] = await two();
    const late = await fleet.join();
    late.state.fault = "refused";
    await late.breaker.executeOutcome(neutral);
    await fleet.pass(0);
    for (let n = 0; n < 2; n++) await late.breaker.executeOutcome(fail);
    for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
    await fleet.pass(1_000);
    await a.breaker.execute(() => 1);
    late.state.fault = null;
    await fleet.pass(2_000);
    await late.breaker.executeOutcome(neutral);
    await fleet.pass(0);
    await late.breaker.executeOutcome(fail);
    await fleet.pass(0);
    expect(late.breaker.getState()).toMatchObject({ state: "closed", failureCount: 1 });
  });

  test("one that closed by itself is open again when it is back and the others still are (C2.2, C2.9)", async () => {
    const [a, b, fleet] = await open();
    b.state.fault = "refused";
    await fleet.pass(1_000);
    await b.breaker.execute(() => 1);
    expect(b.breaker.getState()).toMatchObject({ state: "closed", shared: { attached: false } });
    b.state.fault = null;
    await fleet.pass(3_000);
    await b.breaker.execute(() => 1);
    await fleet.pass(0);
    expect(b.breaker.getState().shared).toEqual({ attached: true, alone: false, fleet: "open" });
    expect(b.breaker.state).toBe("OPEN");
    expect(await permitted(b)).toBe(true);
    await fleet.look(a);
    expect([a.breaker.state, b.breaker.state]).toEqual(["CLOSED", "CLOSED"]);
  });
});

describe("a record of a closed breaker", () => {
  test("has the first failures of whoever starts after it closed count (C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(1_000);
    await a.breaker.execute(() => 1);
    const late = await fleet.join({ failureThreshold: 1, quorum: 2 });
    await fleet.pass(1_000);
    await late.breaker.executeOutcome(fail);
    await fleet.pass(0);
    await fleet.look(a);
    expect(a.breaker.getState().failureCount).toBe(0);
    expect(late.events.map(({ type }) => type)).toEqual(["breaker.changed", "breaker.alone"]);
  });

  test("may be forgotten, and nobody notices (C2.9)", async () => {
    const [a, , fleet] = await open();
    await fleet.pass(1_000);
    await a.breaker.execute(() => 1);
    await fleet.look(a);
    const { lastStateChange } = a.breaker.getState();
    await fleet.pass(4_000_000);
    await fleet.look(a);
    expect(a.breaker.getState()).toMatchObject({ state: "closed", lastStateChange });
  });
});
