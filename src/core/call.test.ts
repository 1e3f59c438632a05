import { getEventListeners } from "node:events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { FakeClock } from "../testing/fake-clock.ts";
import { type Call, callFrom } from "./call.ts";
import { TimeoutError } from "./errors.ts";

const clock = new FakeClock();

afterEach(() => void vi.unstubAllGlobals());

function listeners(signal: AbortSignal): number {
  return getEventListeners(signal, "abort").length;
}

function scopeUnder(signal?: AbortSignal): Call {
  return callFrom(clock, signal && { signal }).scope(Infinity);
}

/** Says how many signals have been made from now on. */
function controllersMade(): () => number {
  let made = 0;
  class Counted extends AbortController {
    constructor() {
      super();
      made++;
    }
  }
  vi.stubGlobal("AbortController", Counted);
  return () => made;
}

describe("a call of a caller who said nothing", () => {
  test("is attempt 1, has no deadline and cannot be aborted", () => {
    const call = callFrom(clock, undefined);
    expect([call.attempt, call.deadline, call.aborted, call.reason]).toEqual([1, Infinity, false, undefined]);
    expect(call.waitSignal).toBeUndefined();
    expect(call.signal.aborted).toBe(false);
  });

  test("gives no two callers the same signal, on which their listeners would pile up", () => {
    const call = callFrom(clock, undefined);
    expect(call.signal).not.toBe(call.signal);
    expect(callFrom(clock, undefined)).toBe(call);
  });
});

describe("what the caller says", () => {
  test("a Call passes as it is", () => {
    const call = callFrom(clock, { deadlineMs: 5 });
    expect(callFrom(clock, call)).toBe(call);
  });

  test("the operation sees the caller's own signal where nothing in between can abort", () => {
    const { signal } = new AbortController();
    const call = callFrom(clock, { signal });
    expect(call.signal).toBe(signal);
    expect(call.forAttempt(2).signal).toBe(signal);
    expect(call.forAttempt(2).attempt).toBe(2);
    expect(listeners(signal)).toBe(0);
  });

  test("a deadline is an instant on the monotonic clock (C3.1)", async () => {
    const ownClock = new FakeClock();
    await ownClock.advance(100);
    ownClock.jumpWall(3_600_000);
    expect(callFrom(ownClock, { deadlineMs: 20 }).deadline).toBe(120);
  });

  test.each([0, -5])("with %d ms left, it is over before it begins (C3.1)", (deadlineMs) => {
    const call = callFrom(clock, { deadlineMs });
    expect([call.aborted, call.deadline]).toEqual([true, clock.now()]);
    expect(call.reason).toBeInstanceOf(TimeoutError);
    expect((call.reason as Error).message).toBe(`the call did not settle within ${deadlineMs} ms. It was not made.`);
  });

  test("a deadline alone gives waits no signal to listen to, since nothing but time could end them (C3.10)", () => {
    expect(callFrom(clock, { deadlineMs: 5 }).waitSignal).toBeUndefined();
  });

  test("its key, cost and priority are those of every part of it, and a caller who said nothing has none", () => {
    const outer = callFrom(clock, { key: "tenant", priority: "low", cost: { tokens: 5 } });
    const inner = outer.scope(Infinity).forAttempt(2);
    expect([inner.key, inner.priority, inner.cost]).toEqual(["tenant", "low", { tokens: 5 }]);
    const root = callFrom(clock, undefined).forAttempt(1);
    expect([root.key, root.priority, root.cost, root.degraded]).toEqual([undefined, undefined, undefined, false]);
  });

  test("a scope has the earlier of two deadlines (C3.1)", () => {
    const call = callFrom(clock, { deadlineMs: 50 });
    expect(call.scope(20).deadline).toBe(20);
    expect(call.scope(200).deadline).toBe(50);
    expect(call.forAttempt(3).deadline).toBe(50);
  });
});

describe("a part of a call that may be aborted on its own", () => {
  test("makes its signal when somebody reads it, and only then (C3.10)", () => {
    const made = controllersMade();
    const call = scopeUnder();
    call.abort(new Error("over"));
    expect(call.aborted).toBe(true);
    expect(made()).toBe(0);
    expect(call.signal.aborted).toBe(true);
    expect(call.signal).toBe(call.signal);
    expect(made()).toBe(1);
  });

  test("costs what it is part of no signal either, when it ends unread (C3.10)", () => {
    const made = controllersMade();
    const outer = scopeUnder();
    outer.scope(Infinity).end();
    outer.scope(Infinity).abort(new Error("over"));
    expect(made()).toBe(0);
  });

  test("has the reason it was aborted with, whether its signal was read before or after", () => {
    const reason = new Error("over");
    for (const readBefore of [true, false]) {
      const call = scopeUnder();
      if (readBefore) void call.signal;
      call.abort(reason);
      expect([call.aborted, call.reason, call.signal.reason]).toEqual([true, reason, reason]);
    }
  });

  test("does not abort what it is part of", () => {
    const controller = new AbortController();
    const parent = callFrom(clock, { signal: controller.signal });
    const call = parent.scope(Infinity);
    call.abort(new Error("over"));
    expect(parent.aborted).toBe(false);
    expect(controller.signal.aborted).toBe(false);
  });

  test("follows its caller, whether its signal was read before the abort or after it", () => {
    const reason = new Error("cancelled");
    for (const readBefore of [true, false]) {
      const controller = new AbortController();
      const call = scopeUnder(controller.signal);
      const seen = readBefore ? call.signal : undefined;
      controller.abort(reason);
      expect([call.aborted, call.reason, call.signal.reason]).toEqual([true, reason, reason]);
      if (seen !== undefined) expect(seen.reason).toBe(reason);
    }
  });

  test("follows its caller through attempts and other parts", () => {
    const controller = new AbortController();
    const outer = scopeUnder(controller.signal);
    const inner = outer.forAttempt(2).scope(Infinity).forAttempt(1);
    const { signal } = inner;
    controller.abort("why");
    expect([signal.aborted, signal.reason, inner.reason]).toEqual([true, "why", "why"]);
  });

  test("leaves no listener on the caller's signal once it has ended, been aborted or followed", () => {
    const controller = new AbortController();
    const [ended, aborted, outer] = [1, 2, 3].map(() => scopeUnder(controller.signal));
    const inner = outer!.scope(Infinity);
    for (const call of [ended!, aborted!, inner]) void call.signal;
    expect(listeners(controller.signal)).toBe(1);
    ended!.end();
    aborted!.abort(new Error("over"));
    expect(listeners(controller.signal)).toBe(1);
    inner.end();
    outer!.end();
    expect(listeners(controller.signal)).toBe(0);
    controller.abort();
    expect(ended!.signal.aborted).toBe(false);
  });

  test("read for the first time after it has ended, follows nobody", () => {
    const controller = new AbortController();
    const call = scopeUnder(controller.signal);
    call.end();
    expect(call.signal.aborted).toBe(false);
    expect(listeners(controller.signal)).toBe(0);
  });
});
