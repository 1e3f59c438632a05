import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { Bulkhead } from "../policies/bulkhead.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { followAbort, unfollowAbort } from "./aborts.ts";

describe("following a signal", () => {
  test("many who follow one signal are one listener, called in the order in which they came (C1.6)", () => {
    const { signal, abort } = aborting();
    const called: number[] = [];
    for (let i = 0; i < 20; i++) followAbort(signal, () => called.push(i));
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    abort();
    expect(called).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });

  test("the listener goes with the last of them, and who has left is not called (C1.6)", () => {
    const { signal, abort } = aborting();
    const called: string[] = [];
    const [first, second] = [() => void called.push("first"), () => void called.push("second")];
    followAbort(signal, first);
    followAbort(signal, second);
    unfollowAbort(signal, first);
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    unfollowAbort(signal, () => {});
    unfollowAbort(signal, second);
    unfollowAbort(signal, second);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    followAbort(signal, second);
    abort();
    expect(called).toEqual(["second"]);
  });

  test("a follower that leaves, or brings another, while all are called disturbs nobody", () => {
    const { signal, abort } = aborting();
    const called: string[] = [];
    const last = (): void => void called.push("last");
    followAbort(signal, () => {
      called.push("first");
      unfollowAbort(signal, last);
      followAbort(signal, () => called.push("too late"));
    });
    followAbort(signal, () => called.push("second"));
    followAbort(signal, last);
    abort();
    expect(called.slice(0, 2)).toEqual(["first", "second"]);
    expect(called).not.toContain("too late");
  });

  test("no signal, and one that has aborted, call nobody", () => {
    const called: string[] = [];
    followAbort(undefined, () => called.push("none"));
    unfollowAbort(undefined, () => called.push("none"));
    followAbort(AbortSignal.abort(), () => called.push("aborted"));
    expect(called).toEqual([]);
  });

  test("fifty calls that wait under one signal give Node no cause to warn of a leak (C3.2)", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on("warning", onWarning);
    const runtime = fakeRuntime();
    const bulkhead = new Bulkhead({ maxConcurrent: 1, maxQueue: 50 }, runtime);
    const { signal, abort } = aborting();
    let finish = (): void => {};
    const first = bulkhead.execute(() => new Promise<void>((resolve) => (finish = resolve)));
    const waiting = Array.from({ length: 50 }, () => bulkhead.executeOutcome(() => "never called", { signal }));
    await runtime.clock.advance(0);
    abort();
    expect((await Promise.all(waiting)).every(({ ok }) => !ok)).toBe(true);
    finish();
    await first;
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
  });
});

function aborting(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort(new Error("enough")) };
}
