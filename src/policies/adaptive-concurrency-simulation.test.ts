import { describe, expect, test } from "vitest";
import type { Priority } from "../core/call.ts";
import type { Operation } from "../core/policy.ts";
import { seededRandom } from "../core/random.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { AdaptiveConcurrency } from "./adaptive-concurrency.ts";
import type { AdaptiveConcurrencyOptions } from "./adaptive-options.ts";

/** The time from the beginning of a call to its end, on average: one round trip. */
const ROUND_MS = 100;

/** A server that carries out so many requests at a time, and refuses those that are too many. */
class Server {
  capacity: number;
  active = 0;
  readonly #runtime: FakeRuntime;
  readonly #random = seededRandom(7);

  constructor(capacity: number, runtime: FakeRuntime) {
    this.capacity = capacity;
    this.#runtime = runtime;
  }

  readonly handle = async (): Promise<void> => {
    const { clock } = this.#runtime;
    if (this.active >= this.capacity) {
      await clock.sleep(5);
      throw Object.assign(new Error("Too many requests"), { status: 429 });
    }
    this.active++;
    await clock.sleep(ROUND_MS * (0.7 + 0.6 * this.#random()));
    this.active--;
  };
}

test("the limit finds the capacity of the server, and finds it again when that changes (C3.8)", async () => {
  const runtime = fakeRuntime();
  const { clock } = runtime;
  const server = new Server(60, runtime);
  const policy = new AdaptiveConcurrency({ maxQueue: 1_000 }, runtime);
  let stopped = false;
  const client = async (): Promise<void> => {
    while (!stopped) await policy.executeOutcome(server.handle);
  };
  /** The limit after each of so many rounds. */
  const limits = async (rounds: number): Promise<number[]> => {
    const seen: number[] = [];
    for (let i = 0; i < rounds; i++) {
      await clock.advance(ROUND_MS);
      seen.push(policy.getStats().limit);
    }
    return seen;
  };
  /** While the capacity stays as it is, the limit goes up and down between these two. */
  const expectNear = (seen: readonly number[], capacity: number): void => {
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(Math.floor(capacity * 0.7));
    expect(Math.max(...seen)).toBeLessThanOrEqual(capacity + 2);
  };

  for (let i = 0; i < 200; i++) void client();
  // From 20 to 60 by one a round.
  const rise = await limits(45);
  expect(rise.findIndex((limit) => limit > 58)).toBeGreaterThan(30);
  expectNear(await limits(100), 60);

  // From 60 to 15 in four steps, the first of which may come a round late.
  server.capacity = 15;
  await limits(6);
  const { overloads } = policy.getStats();
  expectNear(await limits(100), 15);
  // It takes 5 rounds from 11 to 16, and then one or two calls meet overload.
  expect(policy.getStats().overloads - overloads).toBeLessThan(2 * (100 / 5));

  server.capacity = 40;
  await limits(35);
  expectNear(await limits(100), 40);

  stopped = true;
  await clock.advance(60_000);
  expect(policy.getStats()).toMatchObject({ active: 0, queued: { normal: 0 } });
  expect(clock.pendingTimers).toBe(0);
}, 30_000);

describe("three times the load that a server bears", () => {
  const MIX: Record<Priority, number> = { critical: 0.15, high: 0.1, normal: 0.35, low: 0.4 };
  const SECONDS = 40;

  /** Which share of the calls of each priority is served. */
  async function served(options: AdaptiveConcurrencyOptions | null): Promise<Record<Priority, number>> {
    const runtime = fakeRuntime();
    const { clock } = runtime;
    const server = new Server(20, runtime);
    const policy = options === null ? null : new AdaptiveConcurrency(options, runtime);
    const asked = { critical: 0, high: 0, normal: 0, low: 0 };
    const done = { ...asked };
    const draw = seededRandom(11);
    const ask = async (priority: Priority): Promise<void> => {
      asked[priority]++;
      const call: Operation<void> = server.handle;
      try {
        await (policy === null ? call(undefined as never) : policy.execute(call, { priority }));
        done[priority]++;
      } catch {
        // A call that is refused, here or there, is lost.
      }
    };
    // 20 at a time of 100 ms each are 200 a second: this asks for 600.
    for (let ms = 0; ms < SECONDS * 1_000; ms += 5) {
      for (let i = 0; i < 3; i++) {
        let point = draw();
        void ask((Object.keys(MIX) as Priority[]).find((priority) => (point -= MIX[priority]) < 0) ?? "low");
      }
      await clock.advance(5);
    }
    await clock.advance(10_000);
    return Object.fromEntries(
      (Object.keys(MIX) as Priority[]).map((priority) => [priority, done[priority] / asked[priority]]),
    ) as Record<Priority, number>;
  }

  test("loses calls of all priorities alike without a policy", async () => {
    const share = await served(null);
    for (const priority of Object.keys(MIX) as Priority[]) expect(share[priority]).toBeCloseTo(0.33, 1);
  });

  test("serves nearly all critical calls and sheds the low ones first (C3.8)", async () => {
    const share = await served({ maxQueue: 20, queueTimeoutMs: 300 });
    expect(share.critical).toBeGreaterThan(0.97);
    expect(share.high).toBeGreaterThan(0.93);
    expect(share.normal).toBeCloseTo(0.1, 1);
    expect(share.low).toBeLessThan(0.01);
    // The server can do a third of what it is asked: of that, four fifths are done in spite of the ups and downs.
    const all = (Object.keys(MIX) as Priority[]).reduce((sum, priority) => sum + MIX[priority] * share[priority], 0);
    expect(all).toBeGreaterThan(0.8 / 3);
  });
});
