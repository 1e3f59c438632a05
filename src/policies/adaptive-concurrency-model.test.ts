import { getEventListeners } from "node:events";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Priority } from "../core/call.ts";
import { fakeRuntime, record } from "../testing/fake-clock.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";

const LEVELS: readonly Priority[] = ["critical", "high", "normal", "low"];
const SHARES = { critical: 1, high: 0.9, normal: 0.7, low: 0.5 };

type Result = "value" | "overload" | "late overload" | "other error";

const overload = (retryAfterMs?: number): Error => Object.assign(new Error("overload"), { status: 503, retryAfterMs });

interface CallOf {
  id: number;
  priority: Priority;
  number: number;
  until: number;
}

/** What the policy must do, written down with lists that are searched. */
class Model {
  limit: number;
  readonly running: CallOf[] = [];
  readonly waiting: CallOf[] = [];
  readonly refused: number[] = [];
  readonly options: { minLimit: number; maxLimit: number; increase: number; maxQueue: number };
  readonly aborted = new Set<number>();
  overloads = 0;
  /** Priorities with somebody waiting; the one that was served last at the end. */
  turns: Priority[] = [];
  handedOn = 0;
  begun = 0;
  shrunkAt = 0;
  successes = 0;
  used = false;
  pausedUntil = -1;

  constructor(limit: number, options: Model["options"]) {
    this.limit = limit;
    this.options = options;
  }

  open = (priority: Priority): boolean => this.running.length < Math.max(1, Math.floor(this.limit * SHARES[priority]));

  come(call: CallOf): void {
    if (this.open(call.priority)) {
      this.begin(call);
      this.used ||= !this.open(call.priority);
      return;
    }
    this.used = true;
    if (this.waiting.length >= this.options.maxQueue) {
      const least = this.waiting.reduce<CallOf | undefined>(
        (found, other) =>
          found === undefined || LEVELS.indexOf(other.priority) >= LEVELS.indexOf(found.priority) ? other : found,
        undefined,
      );
      if (least === undefined || LEVELS.indexOf(least.priority) <= LEVELS.indexOf(call.priority)) {
        this.refused.push(call.id);
        return;
      }
      this.leave(least.id);
      this.refused.push(least.id);
    }
    this.waiting.push(call);
    if (!this.turns.includes(call.priority)) this.turns.push(call.priority);
  }

  begin(call: CallOf): void {
    this.running.push(call);
    call.number = ++this.begun;
  }

  leave(id: number): void {
    const at = this.waiting.findIndex((call) => call.id === id);
    if (at >= 0) this.waiting.splice(at, 1);
    this.turns = this.turns.filter((priority) => this.waiting.some((call) => call.priority === priority));
  }

  handOn(): void {
    for (;;) {
      const order = this.handedOn % 10 === 9 ? this.turns : LEVELS.filter((level) => this.turns.includes(level));
      const priority = order.find(this.open);
      if (priority === undefined) return;
      this.handedOn++;
      const call = this.waiting.find((other) => other.priority === priority)!;
      this.turns = [...this.turns.filter((other) => other !== priority), priority];
      this.leave(call.id);
      this.begin(call);
      this.used = true;
    }
  }

  settle(id: number, result: Result, now: number): void {
    const call = this.running.find((other) => other.id === id)!;
    if (!this.aborted.has(id)) this.judge(call, result, now);
    this.running.splice(this.running.indexOf(call), 1);
    this.handOn();
  }

  judge({ number }: CallOf, result: Result, now: number): void {
    const { minLimit, maxLimit, increase } = this.options;
    if (result === "other error") return;
    if (result !== "value") {
      this.overloads++;
      if (result === "late overload") this.pausedUntil = Math.max(this.pausedUntil, now + 30);
    }
    if (number <= this.shrunkAt) return;
    if (result === "value") {
      if (++this.successes < this.limit) return;
      const grows = this.used && now >= this.pausedUntil;
      this.used = false;
      this.successes = 0;
      if (grows) this.limit = Math.min(maxLimit, this.limit + increase);
    } else {
      this.shrunkAt = this.begun;
      this.used = false;
      this.successes = 0;
      this.limit = Math.max(minLimit, Math.floor(this.limit * 0.6));
    }
    this.handOn();
  }
}

const result = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Result>("value") },
  { weight: 1, arbitrary: fc.constantFrom<Result>("overload", "late overload", "other error") },
);

const lessKind = fc.oneof({ weight: 3, arbitrary: fc.constant<Result>("value") }, fc.constant<Result>("overload"));

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ come: fc.constantFrom(...LEVELS) }) },
  { weight: 6, arbitrary: fc.record({ settle: fc.nat(20), result }) },
  { weight: 1, arbitrary: fc.record({ abort: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ pass: fc.integer({ min: 1, max: 40 }) }) },
);

const given = fc.record({
  initialLimit: fc.integer({ min: 2, max: 6 }),
  minLimit: fc.integer({ min: 1, max: 2 }),
  maxLimit: fc.integer({ min: 6, max: 9 }),
  increase: fc.integer({ min: 1, max: 2 }),
  maxQueue: fc.constantFrom(0, 1, 3, 30),
});

test("whatever happens, limit, queue and refusals are those of the model (C3.8)", async () => {
  let grown = 0;
  let shrunk = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(given, fc.array(step, { maxLength: 150, size: "max" }), async (options, steps) => {
      const runtime = fakeRuntime();
      const { clock } = runtime;
      const log = record(runtime.events);
      const timed = options.maxQueue === 0 ? {} : { queueTimeoutMs: 70 };
      const policy = new AdaptiveConcurrency({ ...options, ...timed, backoffRatio: 0.6, shares: SHARES }, runtime);
      const model = new Model(options.initialLimit, options);
      const settlers = new Map<number, (outcome: Result) => void>();
      const controllers: AbortController[] = [];
      const refusals: number[] = [];
      const settle = (nth: number, outcome: Result): void => {
        const ids = [...settlers.keys()].sort((a, b) => a - b);
        const id = ids[nth % Math.max(1, ids.length)];
        if (id === undefined) return;
        model.settle(id, outcome, clock.now());
        settlers.get(id)!(outcome);
        settlers.delete(id);
      };
      const come = (priority: Priority): void => {
        const id = controllers.push(new AbortController()) - 1;
        model.come({ id, priority, number: 0, until: clock.now() + 70 });
        const operation = (): Promise<void> =>
          new Promise((resolve, reject) =>
            settlers.set(id, (outcome) => {
              if (outcome === "value") resolve();
              else if (outcome === "other error") reject(new Error("not found"));
              else reject(overload(outcome === "late overload" ? 30 : undefined));
            }),
          );
        const call = { priority, signal: controllers[id]!.signal };
        void policy.executeOutcome(operation, call).then((outcome) => {
          if (!outcome.ok && outcome.refused) refusals.push(id);
        });
      };
      for (const one of steps) {
        if ("come" in one) come(one.come);
        else if ("settle" in one) settle(one.settle, one.result);
        else if ("abort" in one) {
          if (controllers.length === 0) continue;
          const id = one.abort % controllers.length;
          controllers[id]!.abort();
          model.aborted.add(id);
          model.leave(id);
        } else {
          await clock.advance(one.pass);
          for (const { id, until } of [...model.waiting])
            if (until <= clock.now()) {
              model.leave(id);
              model.refused.push(id);
            }
        }
        await clock.advance(0);
        const { limit, active, queued, rejected, overloads } = policy.getStats();
        expect([limit, active, overloads]).toEqual([model.limit, model.running.length, model.overloads]);
        expect([...settlers.keys()].sort()).toEqual(model.running.map(({ id }) => id).sort());
        expect(refusals.sort()).toEqual(model.refused.sort());
        for (const level of LEVELS)
          expect(queued[level]).toBe(model.waiting.filter(({ priority }) => priority === level).length);
        expect(Object.values(rejected).reduce((sum, count) => sum + count)).toBe(refusals.length);
        expect(limit).toBeGreaterThanOrEqual(options.minLimit);
        expect(limit).toBeLessThanOrEqual(options.maxLimit);
      }
      for (const event of log) {
        if (event.type !== "adaptive.limit_changed") continue;
        if (event.to > event.from) grown++;
        else shrunk++;
      }
      refused += refusals.length;
      while (settlers.size > 0) {
        settle(0, "value");
        await clock.advance(0);
      }
      expect(policy.getStats()).toMatchObject({ active: 0, queued: { critical: 0, high: 0, normal: 0, low: 0 } });
      expect(clock.pendingTimers).toBe(0);
      for (const { signal } of controllers) expect(getEventListeners(signal, "abort")).toHaveLength(0);
    }),
    { numRuns: 300 },
  );
  // The histories are such that everything happens in them.
  for (const count of [grown, shrunk, refused]) expect(count).toBeGreaterThan(50);
}, 60_000);

test("however calls interleave, the limit shrinks once for all that began before (C3.8)", async () => {
  let shrunkTwice = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.record({ result: lessKind, priority: fc.constantFrom(...LEVELS), late: fc.boolean() }), {
        minLength: 1,
        maxLength: 40,
        size: "max",
      }),
      fc.constantFrom(0, 4, 30),
      async (scheduler, calls, maxQueue) => {
        const runtime = fakeRuntime();
        const policy = new AdaptiveConcurrency({ initialLimit: 4, minLimit: 1, maxLimit: 6, maxQueue }, runtime);
        let running = 0;
        let most = 0;
        let highest = 4;
        /** Whether a call that began after the last time the limit shrank has met overload. */
        let reason = false;
        let shrunk = 0;
        runtime.events.on((event) => {
          if (event.type !== "adaptive.limit_changed") return;
          const { from, to } = event;
          highest = Math.max(highest, to);
          if (to > from) return expect(to).toBe(from + 1);
          expect(to).toBe(Math.max(1, Math.floor(from * 0.7)));
          expect(reason).toBe(true);
          reason = false;
          shrunk++;
        });
        const all = calls.map(async ({ result: outcome, priority, late }, n) => {
          if (late) await scheduler.schedule(Promise.resolve(), `call ${n} comes`);
          const operation = async (): Promise<void> => {
            const before = shrunk;
            most = Math.max(most, ++running);
            await scheduler.schedule(Promise.resolve(), `call ${n} ends`);
            running--;
            if (outcome === "other error") throw new Error(outcome);
            if (outcome === "value") return;
            reason ||= shrunk === before;
            throw overload();
          };
          return policy.executeOutcome(operation, { priority });
        });
        await scheduler.waitFor(Promise.all(all));
        await scheduler.waitIdle();
        expect(most).toBeLessThanOrEqual(highest);
        expect(policy.getStats()).toMatchObject({ active: 0, queued: { critical: 0, high: 0, normal: 0, low: 0 } });
        if (shrunk > 1) shrunkTwice++;
      },
    ),
    { numRuns: 300 },
  );
  expect(shrunkTwice).toBeGreaterThan(10);
}, 60_000);
