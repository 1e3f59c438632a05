import { expect, test } from "vitest";
import { FakeClock, fakeRuntime, record } from "./fake-clock.ts";

test("timers fire in the order in which they fall due, and those of one instant in the order in which they were made", async () => {
  const clock = new FakeClock();
  const log: string[] = [];
  for (const [name, ms] of [
    ["late", 30],
    ["first", 10],
    ["second", 10],
    ["at once", 0],
  ] as const)
    clock.timer(ms, () => log.push(`${name} at ${clock.now()}`));
  await clock.advance(30);
  expect(log).toEqual(["at once at 0", "first at 10", "second at 10", "late at 30"]);
});

test("a timer that is made on the way fires on the way", async () => {
  const clock = new FakeClock();
  const log: number[] = [];
  void (async () => {
    for (;;) {
      await clock.sleep(10);
      // Some promises deep, as through several policies.
      await (async () => (async () => undefined)())();
      log.push(clock.now());
    }
  })();
  await clock.advance(35);
  expect(log).toEqual([10, 20, 30]);
  expect(clock.now()).toBe(35);
});

test("what waits for the end of a turn runs before time passes, also where it makes another turn", async () => {
  const clock = new FakeClock();
  const log: string[] = [];
  clock.timer(1, () => log.push("timer"));
  clock.afterTurn(() => {
    log.push("turn");
    clock.afterTurn(() => log.push("next turn"));
  });
  await clock.advance(1);
  expect(log).toEqual(["turn", "next turn", "timer"]);
});

test("a cancelled timer never fires, and pendingTimers counts those that would keep a process alive", async () => {
  const clock = new FakeClock();
  let fired = 0;
  const count = (): number => fired++;
  const cancelled = clock.timer(10, count);
  const idle = clock.timer(10, count);
  clock.timer(10, count);
  expect(clock.pendingTimers).toBe(3);
  cancelled.cancel();
  idle.unref();
  expect(clock.pendingTimers).toBe(1);
  idle.ref();
  expect(clock.pendingTimers).toBe(2);
  await clock.advance(10);
  expect(fired).toBe(2);
  expect(clock.pendingTimers).toBe(0);
});

test("a jump of the wall clock moves no timer (C0.4)", async () => {
  const clock = new FakeClock(1_000);
  let fired = false;
  clock.timer(10, () => (fired = true));
  clock.jumpWall(-500);
  expect(clock.wallNow()).toBe(500);
  expect(clock.now()).toBe(0);
  await clock.advance(9);
  expect(fired).toBe(false);
  await clock.advance(1);
  expect(fired).toBe(true);
  expect(clock.wallNow()).toBe(510);
});

test("time cannot be moved back", async () => {
  await expect(new FakeClock().advance(-1)).rejects.toThrow("0 or more, got -1");
  await expect(new FakeClock().advance(NaN)).rejects.toThrow("got NaN");
});

test("a fake runtime has its own clock and events, and the same random numbers for the same seed", () => {
  const [a, b, c] = [fakeRuntime({ seed: 7 }), fakeRuntime({ seed: 7 }), fakeRuntime({ seed: 8, startAt: 5 })];
  const numbers = [a.random(), a.random()];
  expect([b.random(), b.random()]).toEqual(numbers);
  expect(c.random()).not.toBe(numbers[0]);
  expect(c.clock.wallNow()).toBe(5);
  const log = record(a.events);
  b.events.emit?.("timeout", { policy: "other", timeoutMs: 1 });
  a.events.emit?.("timeout", { policy: "own", timeoutMs: 1 });
  expect(log).toMatchObject([{ type: "timeout", policy: "own", at: a.clock.wallNow() }]);
});
