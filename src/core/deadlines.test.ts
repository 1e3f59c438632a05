import fc from "fast-check";
import { expect, test } from "vitest";
import { FakeClock } from "../testing/fake-clock.ts";
import { type Deadline, deadlineQueue, type DeadlineQueue } from "./deadlines.ts";

interface Entry extends Deadline {
  firedAt: number | null;
}

function entry(onExpire: (now: number) => void = () => {}): Entry {
  return {
    expiresAt: 0,
    previous: null,
    following: null,
    firedAt: null,
    expire(now) {
      this.firedAt = now;
      onExpire(now);
    },
  };
}

function add(queue: DeadlineQueue, clock: FakeClock, deadline: Entry = entry()): Entry {
  queue.add(deadline, clock.now());
  return deadline;
}

test("a deadline fires up to one tick late and never early", async () => {
  const clock = new FakeClock();
  const queue = deadlineQueue(clock, 120);
  const first = add(queue, clock);
  await clock.advance(31);
  const second = add(queue, clock);
  await clock.advance(1_000);
  // The tick at 150 comes one millisecond too early for the second.
  expect([first.firedAt, second.firedAt]).toEqual([150, 200]);
});

test("all deadlines of a clock share one timer, which ends when none is left (C0.4)", async () => {
  const clock = new FakeClock();
  const [short, long] = [deadlineQueue(clock, 100), deadlineQueue(clock, 5_000)];
  for (let i = 0; i < 100; i++) [short, long].forEach((queue) => add(queue, clock));
  expect(clock.pendingTimers).toBe(1);
  await clock.advance(100);
  expect(clock.pendingTimers).toBe(1);
  await clock.advance(5_000);
  expect(clock.pendingTimers).toBe(0);
});

test("the timer keeps the process alive only while a deadline is pending, and is used again (C0.4)", async () => {
  const clock = new FakeClock();
  const queue = deadlineQueue(clock, 1_000);
  const first = add(queue, clock);
  queue.remove(first);
  expect(clock.pendingTimers).toBe(0);
  const second = add(queue, clock);
  expect(clock.pendingTimers).toBe(1);
  await clock.advance(1_000);
  expect([first.firedAt, second.firedAt]).toEqual([null, 1_000]);
  expect(clock.pendingTimers).toBe(0);
});

test("a queue is looked at from its first deadline on, and let go with its last, so that none piles up", async () => {
  const clock = new FakeClock();
  const [short, long] = [deadlineQueue(clock, 100), deadlineQueue(clock, 1_000)];
  for (const queue of [short, long]) add(queue, clock);
  expect([short.listed, long.listed]).toEqual([true, true]);
  await clock.advance(500);
  expect([short.listed, long.listed]).toEqual([false, true]);
  await clock.advance(500);
  expect([short.listed, long.listed]).toEqual([false, false]);
});

test("a deadline that another one makes as it expires does not set a second timer going", async () => {
  const clock = new FakeClock();
  const queue = deadlineQueue(clock, 100);
  let last: Entry | undefined;
  const again = (): void => {
    if (clock.now() < 2_000) last = add(queue, clock, entry(again));
  };
  add(queue, clock, entry(again));
  for (let i = 0; i < 40; i++) {
    await clock.advance(50);
    expect(clock.pendingTimers).toBeLessThanOrEqual(1);
  }
  expect(last!.firedAt).toBe(2_000);
});

test("any order of adding and removing fires exactly what is left, each once and within a tick of its time", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("add" as const), queue: fc.nat(2) }),
    fc.record({ do: fc.constant("remove" as const), which: fc.nat() }),
    fc.record({ do: fc.constant("pass" as const), ms: fc.nat(180) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const clock = new FakeClock();
      const queues = [100, 130, 1_000].map((ms) => deadlineQueue(clock, ms));
      const pending = new Map<Entry, DeadlineQueue>();
      for (const step of steps) {
        if (step.do === "add") {
          const queue = queues[step.queue]!;
          const deadline = add(
            queue,
            clock,
            entry((now) => {
              expect(pending.delete(deadline)).toBe(true);
              expect(now - deadline.expiresAt).toBeGreaterThanOrEqual(0);
              expect(now - deadline.expiresAt).toBeLessThanOrEqual(50);
            }),
          );
          pending.set(deadline, queue);
        } else if (step.do === "remove") {
          const victim = [...pending.keys()][step.which % Math.max(1, pending.size)];
          if (victim === undefined) continue;
          pending.get(victim)!.remove(victim);
          pending.delete(victim);
        } else {
          await clock.advance(step.ms);
        }
        expect(clock.pendingTimers).toBe(pending.size === 0 ? 0 : 1);
      }
      await clock.advance(1_050);
      expect(pending.size).toBe(0);
      expect(clock.pendingTimers).toBe(0);
    }),
    { numRuns: 60 },
  );
});
