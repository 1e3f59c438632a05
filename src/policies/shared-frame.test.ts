import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { codeOf } from "../core/errors.ts";
import { Pipeline } from "../core/pipeline.ts";
import { type Invoke, type Policy, PolicyBase, type PolicyDescription } from "../core/policy.ts";
import { fakeRuntime } from "../testing/fake-clock.ts";
import { Bulkhead } from "./bulkhead.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Hedge } from "./hedge.ts";
import { Timeout } from "./timeout.ts";

/** Stands between two policies and does nothing, so that neither can take the other into its frame. */
class Apart extends PolicyBase {
  readonly kind = "apart";
  readonly name = "apart";

  execute(): Promise<never> {
    return Promise.reject(new Error("It stands in pipelines only."));
  }

  around(next: Invoke): Invoke {
    return (operation, call) => next(operation, call);
  }

  describe(): PolicyDescription {
    return { kind: this.kind, name: this.name, options: {} };
  }
}

/** One call: when it is made, how long its operation takes and how that ends, and when its caller gives up. */
interface Plan {
  at: number;
  takesMs: number;
  fails: boolean;
  abortAt: number | null;
}

const plans: fc.Arbitrary<Plan[]> = fc.array(
  fc.record({
    at: fc.nat(400),
    takesMs: fc.nat(300),
    fails: fc.boolean(),
    abortAt: fc.option(fc.nat(500)),
  }),
  { minLength: 1, maxLength: 25 },
);

interface Limits {
  maxConcurrent: number;
  maxQueue: number;
  timeoutMs: number;
}

const limits: fc.Arbitrary<Limits> = fc.record({
  maxConcurrent: fc.integer({ min: 1, max: 3 }),
  maxQueue: fc.nat(3),
  // Below 100 ms a timeout has a timer of its own, above it shares one.
  timeoutMs: fc.constantFrom(40, 120),
});

/** Found by chance: the last operation ends after 1206 ms, and the bulkhead holds its slot until then. */
const ONE_AFTER_ANOTHER: Plan[] = [
  [331, 215],
  [28, 268],
  [126, 238],
  [28, 254],
  [27, 98],
  [27, 106],
  [0, 0],
].map(([at = 0, takesMs = 0]) => ({ at, takesMs, fails: false, abortAt: null }));

/** What can be seen of the plans from outside, millisecond by millisecond. */
async function seen(apart: boolean, { maxConcurrent, maxQueue, timeoutMs }: Limits, calls: Plan[]): Promise<string[]> {
  const runtime = fakeRuntime();
  const { clock } = runtime;
  const breaker = new CircuitBreaker({ failureThreshold: 3, successThreshold: 1, recoveryTimeoutMs: 60 }, runtime);
  const bulkhead = new Bulkhead({ maxConcurrent, maxQueue }, runtime);
  const timeout = new Timeout({ attemptTimeoutMs: timeoutMs }, runtime);
  const policies: Policy[] = apart
    ? [breaker, new Apart(), bulkhead, new Apart(), timeout]
    : [breaker, bulkhead, timeout];
  const pipeline = new Pipeline(policies, runtime);
  const log: string[] = [];
  const say = (what: string): unknown => log.push(`${clock.now()} ${what}`);
  for (const [i, plan] of calls.entries()) {
    clock.timer(plan.at, () => {
      const controller = new AbortController();
      if (plan.abortAt !== null && plan.abortAt >= plan.at)
        clock.timer(plan.abortAt - plan.at, () => controller.abort(new Error("given up")));
      const operation = async (): Promise<number> => {
        say(`${i} begins`);
        await clock.sleep(plan.takesMs);
        if (plan.fails) throw new Error("down");
        return i;
      };
      pipeline.execute(operation, { signal: controller.signal }).then(
        (value) => say(`${i} gives ${value}`),
        (error: Error) => say(`${i} fails with ${codeOf(error) ?? error.message}`),
      );
    });
  }
  // The last call comes at 400 ms, and finds one that has just begun and three in line, of 300 ms each at most.
  for (let now = 0; now <= 1700; now += 5) {
    await clock.advance(5);
    const { active, queued, rejected } = bulkhead.getStats();
    const { state, totalCalls, totalFailures, rejected: refused } = breaker.getStats();
    log.push(`${active} ${queued} ${rejected} ${state} ${totalCalls} ${totalFailures} ${refused}`);
  }
  expect(bulkhead.getStats()).toMatchObject({ active: 0, queued: 0 });
  expect(clock.pendingTimers).toBe(0);
  return log;
}

describe("breaker, bulkhead and timeout in one frame", () => {
  test("do what they do one by one, whatever is called, fails, is late or given up (C3.10)", async () => {
    await fc.assert(
      fc.asyncProperty(limits, plans, async (limit, calls) => {
        expect(await seen(false, limit, calls)).toEqual(await seen(true, limit, calls));
      }),
      { numRuns: 60, examples: [[{ maxConcurrent: 1, maxQueue: 3, timeoutMs: 40 }, ONE_AFTER_ANOTHER]] },
    );
  }, 60_000);

  test("the slot is held until the operation has settled, not until its timeout (C3.2)", async () => {
    const runtime = fakeRuntime();
    const bulkhead = new Bulkhead({ maxConcurrent: 1 }, runtime);
    const pipeline = new Pipeline([bulkhead, new Timeout({ attemptTimeoutMs: 20 }, runtime)], runtime);
    let finish = (): void => {};
    const late = pipeline.executeOutcome(() => new Promise<void>((resolve) => (finish = resolve)));
    await runtime.clock.advance(20);
    expect(await late).toMatchObject({ ok: false, error: { code: "TIMEOUT" } });
    expect(bulkhead.getStats().active).toBe(1);
    expect(await pipeline.executeOutcome(() => "never called")).toMatchObject({ ok: false, refused: true });
    finish();
    await runtime.clock.advance(0);
    expect(bulkhead.getStats().active).toBe(0);
  });

  test("a slot is held for the losers of a hedge inside the timeout too (C3.2)", async () => {
    const runtime = fakeRuntime();
    const bulkhead = new Bulkhead({ maxConcurrent: 1 }, runtime);
    const hedge = new Hedge({ delayMs: 10 }, runtime);
    const pipeline = new Pipeline([bulkhead, new Timeout({ attemptTimeoutMs: 200 }, runtime), hedge], runtime);
    const finish: (() => void)[] = [];
    const value = pipeline.execute(() => new Promise<string>((resolve) => finish.push(() => resolve("won"))));
    await runtime.clock.advance(10);
    finish[1]!();
    expect(await value).toBe("won");
    expect(bulkhead.getStats().active).toBe(1);
    finish[0]!();
    await runtime.clock.advance(0);
    expect(bulkhead.getStats().active).toBe(0);
  });
});
