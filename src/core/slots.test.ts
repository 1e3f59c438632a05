import { getEventListeners } from "node:events";
import fc from "fast-check";
import { expect, test } from "vitest";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { type Call, callFrom } from "./call.ts";
import { callOperation, type Operation } from "./policy.ts";
import { holdUntilSettled, Slots } from "./slots.ts";

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ take: fc.constantFrom(undefined, "a", "b", "c") }) },
  { weight: 3, arbitrary: fc.record({ give: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ abort: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ pass: fc.integer({ min: 1, max: 40 }) }) },
  { weight: 1, arbitrary: fc.record({ resize: fc.integer({ min: 1, max: 4 }) }) },
  // Two things in one turn: an abort may meet a slot that is just being handed on.
  { weight: 1, arbitrary: fc.record({ giveAndAbort: fc.nat(20) }) },
);

/** Who is next in a line in which keys take turns: what Slots must do, written down without its links. */
class Line {
  readonly lanes: { key: string | undefined; ids: number[] }[] = [];

  join(key: string | undefined, id: number): void {
    const lane = this.lanes.find((other) => other.key === key);
    if (lane === undefined) this.lanes.push({ key, ids: [id] });
    else lane.ids.push(id);
  }

  leave(id: number): void {
    for (const lane of this.lanes) lane.ids = lane.ids.filter((other) => other !== id);
    for (let i = this.lanes.length - 1; i >= 0; i--) if (this.lanes[i]!.ids.length === 0) this.lanes.splice(i, 1);
  }

  next(): number | undefined {
    const lane = this.lanes.shift();
    const id = lane?.ids.shift();
    if (lane !== undefined && lane.ids.length > 0) this.lanes.push(lane);
    return id;
  }
}

test("whatever history, slots go to the right waiter, none is lost and none too many given (C3.2)", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 3 }), fc.array(step, { maxLength: 40 }), async (initially, steps) => {
      const { clock } = fakeRuntime();
      const slots = new Slots(initially, clock);
      const line = new Line();
      const expected = new Set<number>();
      const holding = new Set<number>();
      const controllers: AbortController[] = [];
      const until: number[] = [];
      const waiting = (): number[] => line.lanes.flatMap(({ ids }) => ids);
      let limit = initially;
      const handOn = (): void => {
        while (expected.size < limit) {
          const id = line.next();
          if (id === undefined) return;
          expected.add(id);
        }
      };
      const give = (nth: number): void => {
        const id = [...holding][nth % Math.max(1, holding.size)];
        if (id === undefined) return;
        holding.delete(id);
        expected.delete(id);
        handOn();
        slots.give();
      };
      for (const one of steps) {
        if ("take" in one) {
          const id = controllers.length;
          const controller = new AbortController();
          controllers.push(controller);
          until.push(id % 3 === 0 ? Infinity : clock.now() + 30);
          const call = callFrom(clock, { signal: controller.signal });
          if (slots.tryTake()) {
            expect(waiting()).toEqual([]);
            expected.add(id);
            holding.add(id);
          } else {
            line.join(one.take, id);
            const wait = slots.wait(call, until[id]!, one.take);
            void wait.then(
              (mine) => mine && holding.add(id),
              () => {},
            );
          }
        } else if ("give" in one) give(one.give);
        else if ("resize" in one) {
          limit = one.resize;
          handOn();
          slots.resize(limit);
        } else if ("pass" in one) {
          await clock.advance(one.pass);
          for (const id of waiting()) if (until[id]! <= clock.now()) line.leave(id);
        } else {
          const nth = "abort" in one ? one.abort : one.giveAndAbort;
          const before = new Set(holding);
          if ("giveAndAbort" in one) give(nth);
          const id = nth % Math.max(1, controllers.length);
          controllers[id]?.abort();
          line.leave(id);
          // Who was handed a slot in this very turn and is aborted in it passes it on; a holder keeps it.
          if (expected.has(id) && !before.has(id)) {
            expected.delete(id);
            handOn();
          }
        }
        await clock.advance(0);
        expect([...holding].sort()).toEqual([...expected].sort());
        expect(slots.taken).toBe(holding.size);
        expect(slots.waiting).toBe(waiting().length);
        expect(slots.waiting === 0 || slots.taken >= limit).toBe(true);
      }
      while (holding.size > 0) {
        give(0);
        await clock.advance(0);
      }
      expect([slots.taken, slots.waiting, clock.pendingTimers]).toEqual([0, 0, 0]);
      for (const { signal } of controllers) expect(getEventListeners(signal, "abort")).toHaveLength(0);
    }),
    { numRuns: 300 },
  );
});

test("a hundred thousand waiters leave from the front, the back and the middle in no time (C3.2)", async () => {
  const { clock } = fakeRuntime();
  const slots = new Slots(1, clock);
  slots.tryTake();
  const controllers = Array.from({ length: 100_000 }, () => new AbortController());
  const waits = controllers.map(({ signal }) => slots.wait(callFrom(clock, { signal }), Infinity).catch(() => false));
  const began = process.cpuUsage();
  const order = controllers.map((_, i) => (i * 7919) % controllers.length);
  for (const i of order.slice(0, 50_000)) controllers[i]!.abort("gone");
  for (let i = 0; i < 50_000; i++) slots.give();
  const { user } = process.cpuUsage(began);
  expect(slots.waiting).toBe(0);
  expect((await Promise.all(waits)).filter(Boolean)).toHaveLength(50_000);
  // Finding each of them by a search would take minutes.
  expect(user / 1000).toBeLessThan(3_000);
});

test("a higher limit serves as many of those who wait as it has room for, at once (C3.2)", async () => {
  const { clock } = fakeRuntime();
  const slots = new Slots(1, clock);
  slots.tryTake();
  const served: number[] = [];
  for (const i of [1, 2, 3]) void slots.wait(callFrom(clock, undefined), Infinity).then(() => served.push(i));
  slots.resize(3);
  await clock.advance(0);
  expect([served, slots.taken, slots.waiting]).toEqual([[1, 2], 3, 1]);
  slots.give();
  await clock.advance(0);
  expect(served).toEqual([1, 2, 3]);
});

test("slots beyond a lower limit go to nobody when they are given back (C3.2)", async () => {
  const { clock } = fakeRuntime();
  const slots = new Slots(3, clock);
  while (slots.tryTake());
  let served = false;
  void slots.wait(callFrom(clock, undefined), Infinity).then(() => (served = true));
  slots.resize(1);
  for (const taken of [2, 1]) {
    slots.give();
    await clock.advance(0);
    expect([served, slots.taken]).toEqual([false, taken]);
  }
  slots.give();
  await clock.advance(0);
  expect([served, slots.taken]).toEqual([true, 1]);
});

test("a wait ends at its instant, whatever the clock stands at, and one without an end needs no timer (C3.2)", async () => {
  const { clock } = fakeRuntime();
  await clock.advance(1_000);
  const slots = new Slots(1, clock);
  slots.tryTake();
  const forever = slots.wait(callFrom(clock, undefined), Infinity);
  expect(clock.pendingTimers).toBe(0);
  const endings: unknown[] = [];
  void slots.wait(callFrom(clock, undefined), clock.now() + 5).then((mine) => endings.push(mine));
  await clock.advance(4);
  expect(endings).toEqual([]);
  await clock.advance(1);
  expect([endings, slots.waiting]).toEqual([[false], 1]);
  slots.give();
  expect(await forever).toBe(true);
});

test("a slot that comes in the very turn in which the time ends, or the caller gives up, goes on to the next (C3.2)", async () => {
  const { clock } = fakeRuntime();
  const slots = new Slots(1, clock);
  const served: string[] = [];
  slots.tryTake();
  // Falls due before the timer of the wait, in the same turn.
  clock.timer(5, () => slots.give());
  const late = slots.wait(callFrom(clock, undefined), clock.now() + 5);
  const next = slots.wait(callFrom(clock, undefined), Infinity).then(() => served.push("next"));
  await clock.advance(5);
  expect(await late).toBe(false);
  await next;
  expect([served, slots.taken, slots.waiting]).toEqual([["next"], 1, 0]);

  const controller = new AbortController();
  const aborted = slots.wait(callFrom(clock, { signal: controller.signal }), Infinity);
  const last = slots.wait(callFrom(clock, undefined), Infinity).then(() => served.push("last"));
  slots.give();
  controller.abort(new Error("not wanted any more"));
  await expect(aborted).rejects.toThrow("not wanted any more");
  await last;
  expect([served, slots.taken, slots.waiting]).toEqual([["next", "last"], 1, 0]);
});

test("keys take turns, one that has left comes to the end of the line, and a watcher takes beyond the limit (C3.2)", async () => {
  const { clock } = fakeRuntime();
  const slots = new Slots(1, clock);
  slots.takeBeyondLimit();
  slots.takeBeyondLimit();
  expect([slots.limit, slots.taken, slots.tryTake()]).toEqual([1, 2, false]);
  slots.give();
  const served: string[] = [];
  const come = (name: string, key: string): void => {
    void slots.wait(callFrom(clock, undefined), Infinity, key).then(() => served.push(name));
  };
  for (const name of ["a1", "a2", "b1", "a3"]) come(name, name.charAt(0));
  for (let i = 0; i < 3; i++) {
    slots.give();
    await clock.advance(0);
  }
  come("b2", "b");
  come("a4", "a");
  for (let i = 0; i < 3; i++) {
    slots.give();
    await clock.advance(0);
  }
  expect(served).toEqual(["a1", "b1", "a2", "a3", "b2", "a4"]);
  expect([slots.taken, slots.waiting]).toEqual([1, 0]);
});

test("who was sent away in the very turn in which the time ends is told that it was sent away (C3.2)", async () => {
  const { clock } = fakeRuntime();
  const slots = new (class extends Slots {
    sendAway(): void {
      this.evict(this.turns.first!);
    }

    get sizes(): number[] {
      return [...this.lanes.values()].map(({ size }) => size);
    }
  })(1, clock);
  slots.tryTake();
  // Falls due before the timers of the waits, in the same turn.
  clock.timer(5, () => slots.sendAway());
  const waits = [1, 2, 3].map(() => slots.wait(callFrom(clock, undefined), clock.now() + 5));
  expect(slots.sizes).toEqual([3]);
  slots.sendAway();
  expect(slots.sizes).toEqual([2]);
  await clock.advance(5);
  expect(await Promise.all(waits)).toEqual([false, null, null]);
  expect(slots.sizes).toEqual([]);
});

test("a call that is aborted on its way in does not reach what is inside, and releases (C1.6, C3.2)", async () => {
  const reason = new Error("too late");
  const call = callFrom(fakeRuntime().clock, { signal: AbortSignal.abort(reason) });
  let [called, released] = [0, 0];
  const held = holdUntilSettled(
    callOperation,
    () => called++,
    call,
    () => released++,
  );
  await expect(held).rejects.toBe(reason);
  expect([called, released]).toEqual([0, 1]);
});

test("what is inside may go on calling after it has settled, and releases once (C3.2)", async () => {
  const call: Call = callFrom(fakeRuntime().clock, undefined);
  let released = 0;
  let again: () => unknown = () => {};
  const next = (operation: Operation<unknown>): unknown => ((again = () => callOperation(operation, call)), "done");
  const value = await holdUntilSettled(
    next,
    () => 1,
    call,
    () => released++,
  );
  expect([value, released]).toEqual(["done", 1]);
  await again();
  expect(released).toBe(1);
});
