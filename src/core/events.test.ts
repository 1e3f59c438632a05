import { describe, expect, expectTypeOf, test } from "vitest";
import { FakeClock, record } from "../testing/fake-clock.ts";
import { callHook, type EventListener, Events, type HoldfastEvent } from "./events.ts";
import { onEvent, systemRuntime } from "./runtime.ts";

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function timedOut(events: Events, policy = "p"): void {
  events.emit?.("timeout", { policy, timeoutMs: 5 });
}

describe("delivery", () => {
  test("an event has its type, the wall-clock instant and a number that rises by one (C10.6)", async () => {
    const clock = new FakeClock(1_000);
    const events = new Events(clock);
    const log = record(events);
    timedOut(events);
    await clock.advance(10);
    timedOut(events);
    expect(log).toEqual([
      { type: "timeout", at: 1_000, seq: 1, policy: "p", timeoutMs: 5 },
      { type: "timeout", at: 1_010, seq: 2, policy: "p", timeoutMs: 5 },
    ]);
  });

  test("every listener gets an event until it unsubscribes, and then no event is built at all (C10.6)", () => {
    const events = new Events(new FakeClock());
    expect(events.emit).toBeNull();
    const [a, b]: [string[], string[]] = [[], []];
    const stopA = events.on((event) => a.push(event.type));
    const stopB = events.on((event) => b.push(event.type));
    timedOut(events);
    stopA();
    stopA();
    timedOut(events);
    stopB();
    expect(events.emit).toBeNull();
    expect([a, b]).toEqual([["timeout"], ["timeout", "timeout"]]);
  });

  test("onEvent hears the events of the process, and its result ends that (C10.6)", () => {
    const heard: HoldfastEvent[] = [];
    const stop = onEvent((event) => heard.push(event));
    timedOut(systemRuntime.events, "of the process");
    stop();
    timedOut(systemRuntime.events, "unheard");
    expect(heard).toMatchObject([{ type: "timeout", policy: "of the process" }]);
  });

  test("an event's fields are typed by its type (C10.6)", () => {
    const listener: EventListener = (event) => {
      if (event.type === "retry.scheduled") expectTypeOf(event.delayMs).toEqualTypeOf<number>();
      if (event.type === "breaker.changed")
        expectTypeOf(event).toExtend<{ policy: string; from: string; to: string }>();
      // @ts-expect-error an event of this type has no such field
      if (event.type === "timeout") void event.delayMs;
    };
    expect(listener).toBeTypeOf("function");
  });
});

describe("a listener that fails", () => {
  test("does not reach the one who emits, nor the listeners after it, and is reported one time (C0.6)", () => {
    const events = new Events(new FakeClock());
    const error = new Error("a bad listener");
    events.on(() => {
      throw error;
    });
    const log = record(events);
    timedOut(events);
    timedOut(events);
    expect(log.filter((event) => event.type === "timeout")).toHaveLength(2);
    expect(log.filter((event) => event.type === "listener.failed")).toMatchObject([{ listening: "timeout", error }]);
  });

  test("may be an async one, whose rejection is reported too (C0.6)", async () => {
    const events = new Events(new FakeClock());
    const error = new Error("a bad async listener");
    const log = record(events);
    events.on(async () => Promise.reject(error));
    timedOut(events);
    timedOut(events);
    await settled();
    expect(log.filter((event) => event.type === "listener.failed")).toMatchObject([{ listening: "timeout", error }]);
  });
});

describe("a hook that fails", () => {
  test("is reported as an event and goes no further, whether it throws or rejects (C0.6)", async () => {
    const events = new Events(new FakeClock());
    const log = record(events);
    const [thrown, rejected] = [new Error("thrown"), new Error("rejected")];
    const throwing = (): void => {
      throw thrown;
    };
    callHook(events, "onRetry", throwing);
    callHook(events, "onFallback", () => Promise.reject(rejected));
    await settled();
    expect(log).toMatchObject([
      { type: "listener.failed", listening: "onRetry", error: thrown },
      { type: "listener.failed", listening: "onFallback", error: rejected },
    ]);
  });

  test("goes no further where nobody listens to events either (C0.6)", async () => {
    const events = new Events(new FakeClock());
    const fail = (): void => {
      throw new Error("a bad hook");
    };
    expect(() => callHook(events, "onRetry", fail)).not.toThrow();
    callHook(events, "onRetry", () => Promise.reject(new Error("a bad async hook")));
    await settled();
  });

  test("is called with what it is for, and may be left out", () => {
    const events = new Events(new FakeClock());
    const got: unknown[] = [];
    callHook(events, "onRetry", (a: number, b: string) => got.push(a, b), 1, "two");
    callHook(events, "onRetry", undefined);
    expect(got).toEqual([1, "two"]);
  });
});
