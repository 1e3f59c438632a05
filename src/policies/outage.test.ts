import { expect, test } from "vitest";
import { pipeline } from "../core/pipeline.ts";
import { type FakeRuntime, fakeRuntime } from "../testing/fake-clock.ts";
import { RetryPolicy } from "./retry.ts";
import { RetryBudget } from "./retry-budget.ts";
import { Timeout } from "./timeout.ts";

/** One answer every 10 ms, and room for three seconds of work. Its callers give up after one. */
const SERVICE_MS = 10;
const QUEUE = 300;
const CLIENTS = 20;
/** 70 requests a second come, of the 100 that it can answer. */
const REQUEST_EVERY_MS = 1000 / 70;
const DOWN_FROM = 5_000;
const DOWN_UNTIL = 35_000;
const END = 65_000;

/** A server that goes on with what nobody waits for any more, as servers do, and refuses what finds its queue full. */
class Server {
  calls = 0;
  readonly #runtime: FakeRuntime;
  readonly #queue: (() => void)[] = [];

  constructor(runtime: FakeRuntime) {
    this.#runtime = runtime;
    this.#serve();
  }

  answer(): Promise<void> {
    this.calls++;
    if (this.#queue.length >= QUEUE) return Promise.reject(new Error("connection refused"));
    return new Promise((resolve) => this.#queue.push(resolve));
  }

  #serve(): void {
    const { clock } = this.#runtime;
    const down = clock.now() >= DOWN_FROM && clock.now() < DOWN_UNTIL;
    if (!down) this.#queue.shift()?.();
    if (clock.now() < END + 10_000) clock.timer(SERVICE_MS, () => this.#serve());
  }
}

/** What a fleet of clients asks and gets before, during and after an outage of thirty seconds. */
async function outage(retryBudget: (runtime: FakeRuntime) => RetryBudget | undefined) {
  const runtime = fakeRuntime();
  const { clock } = runtime;
  const server = new Server(runtime);
  const shared = retryBudget(runtime);
  const clients = Array.from({ length: CLIENTS }, (_, n) => {
    const options = { name: `client ${n}`, maxAttempts: 4, initialDelayMs: 200, maxDelayMs: 2_000 };
    return pipeline(
      new RetryPolicy(shared === undefined ? options : { ...options, retryBudget: shared }, runtime),
      new Timeout({ attemptTimeoutMs: 1_000 }, runtime),
    );
  });
  let requests = 0;
  let served = 0;
  const request = (): void => {
    void clients[requests++ % CLIENTS]!.executeOutcome(() => server.answer()).then(({ ok }) => ok && served++);
    if (clock.now() < END) clock.timer(REQUEST_EVERY_MS, request);
  };
  request();
  const during = async (untilMs: number) => {
    const before = { requests, served, calls: server.calls };
    await clock.advance(untilMs - clock.now());
    return {
      requests: requests - before.requests,
      served: served - before.served,
      calls: server.calls - before.calls,
    };
  };
  const before = await during(DOWN_FROM);
  const down = await during(DOWN_UNTIL);
  await during(END - 10_000);
  const after = await during(END);
  await clock.advance(20_000);
  return { before, down, after };
}

test("in an outage a fleet that shares a retry budget asks a tenth more, and is served again after it (C1.7)", async () => {
  const { before, down, after } = await outage((runtime) => new RetryBudget({}, runtime));
  expect(before.calls).toBe(before.requests);
  expect(before.served).toBeGreaterThan(0.98 * before.requests);
  expect(down.served).toBeLessThan(0.01 * down.requests);
  const floor = 10 + (DOWN_UNTIL - DOWN_FROM) / 1_000;
  expect(down.calls - down.requests).toBeLessThanOrEqual(0.1 * down.requests + floor);
  expect(after.served).toBeGreaterThan(0.98 * after.requests);
});

test("without one, the retries alone keep the server down for good: what the budget is there for", async () => {
  const { down, after } = await outage(() => undefined);
  expect(down.calls).toBeGreaterThan(3 * down.requests);
  expect(after.served).toBeLessThan(0.2 * after.requests);
});
