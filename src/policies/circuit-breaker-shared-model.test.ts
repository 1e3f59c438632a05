import fc from "fast-check";
import { expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { Events } from "../core/events.ts";
import { seededRandom } from "../core/random.ts";
import type { SharedChange, SharedState } from "../core/shared-state.ts";
import { MemorySharedState } from "../stores/memory-shared-state.ts";
import { FakeClock, record } from "../testing/fake-clock.ts";
import { FaultySharedState, type StateFault } from "../testing/faulty-shared-state.ts";
import type { CircuitBreakerOptions } from "./breaker-options.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import type { BreakerRecord, LeaseAnswer } from "./shared-breaker.ts";
import { sharing } from "./sharing.ts";

const PROCESSES = 3;
const SYNC_MS = 50;

const options = fc.record({
  failureThreshold: fc.integer({ min: 1, max: 3 }),
  successThreshold: fc.integer({ min: 1, max: 3 }),
  halfOpenMaxConcurrent: fc.integer({ min: 1, max: 2 }),
  recoveryTimeoutMs: fc.constantFrom(0, 100),
  probeTimeoutMs: fc.constantFrom(60, 5_000),
  quorum: fc.constantFrom(1, 1, 2),
  window: fc.constantFrom<CircuitBreakerOptions["window"]>(
    { kind: "consecutive" },
    { kind: "time", sizeMs: 300, minimumCalls: 2 },
    { kind: "count", size: 4, failureRateThreshold: 0.5 },
  ),
});

type Result = "success" | "failure" | "neutral" | "abort";

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("begin" as const), process: fc.nat(PROCESSES - 1) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("end" as const),
      which: fc.nat(),
      result: fc.constantFrom<Result>("success", "success", "failure", "failure", "neutral", "abort"),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("answer" as const), count: fc.integer({ min: 1, max: 12 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(10, 50, 50, 100, 1_000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("jump" as const), ms: fc.constantFrom(-1e9, 1e9) }) },
);

const orders = fc.record({
  do: fc.constantFrom("reset" as const, "isolate" as const, "disable" as const),
  process: fc.nat(PROCESSES - 1),
});

/** An operation that runs, and when it was granted its place as a probe, if it is one of the fleet's. */
interface Running {
  lease: { generation: number; at: number } | null;
  controller: AbortController;
  settle(error: Error | null): void;
}

/** One connection to the place, whose updates arrive when the scheduler says so, as do the answers. */
class Delayed implements SharedState {
  readonly sharing = sharing;
  /** What was granted last to this process. */
  lease: { generation: number; at: number } | null = null;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  async update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R> {
    await this.#world.scheduler.schedule(Promise.resolve(), "asks");
    const answer = await this.#world.update(key, change);
    const { granted, view } = answer as Partial<LeaseAnswer>;
    await this.#world.scheduler.schedule(Promise.resolve(), "answers");
    if (granted === true) this.lease = { generation: view!.generation, at: view!.at };
    return answer;
  }

  async close(): Promise<void> {}
}

class World {
  readonly clock = new FakeClock();
  readonly scheduler: fc.Scheduler;
  readonly running: Running[] = [];
  /** What lies in the place now. */
  record: BreakerRecord | undefined;
  /** Probes of a generation that have ended well. */
  readonly succeeded = new Map<number, number>();
  closedByProbes = 0;
  readonly #options: CircuitBreakerOptions<never>;
  readonly #place = new MemorySharedState({ clock: this.clock });

  constructor(given: CircuitBreakerOptions<never>, scheduler: fc.Scheduler) {
    this.#options = given;
    this.scheduler = scheduler;
  }

  update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R> {
    return this.#place.update<T, R>(key, (last, now) => {
      const made = change(last, now);
      this.#watch(last as BreakerRecord | undefined, made.next as BreakerRecord | undefined);
      return made;
    });
  }

  #watch(last: BreakerRecord | undefined, next: BreakerRecord | undefined): void {
    this.record = next;
    if (last === undefined || next === undefined) return;
    if (next.generation === last.generation) {
      expect(next.kind).toBe(last.kind);
      return;
    }
    expect(next.generation).toBeGreaterThan(last.generation);
    if (next.kind === "half_open") expect(last.kind).toBe("open");
    if (next.kind === "open") expect(["closed", "half_open"]).toContain(last.kind);
    if (last.kind !== "half_open" || next.kind !== "closed") return;
    const enough = this.#options.successThreshold!;
    if ((this.succeeded.get(last.generation) ?? 0) >= enough) this.closedByProbes++;
    else this.closedTooEarly = true;
  }

  /** Only an order by hand may do that. */
  closedTooEarly = false;

  /** At no time do more operations run that were granted their place in one stay than may, hung ones left aside. */
  checkProbes(): void {
    const now = this.clock.now();
    const counts = new Map<number, number>();
    for (const { lease } of this.running) {
      if (lease === null || now - lease.at >= this.#options.probeTimeoutMs!) continue;
      counts.set(lease.generation, (counts.get(lease.generation) ?? 0) + 1);
    }
    for (const count of counts.values()) expect(count).toBeLessThanOrEqual(this.#options.halfOpenMaxConcurrent!);
  }

  async answer(): Promise<void> {
    if (this.scheduler.count() > 0) await this.scheduler.waitOne();
    await new Promise((resolve) => setImmediate(resolve));
  }

  async answerAll(): Promise<void> {
    do await this.answer();
    while (this.scheduler.count() > 0);
  }
}

type Step =
  | { do: "begin"; process: number }
  | { do: "end"; which: number; result: Result }
  | { do: "answer"; count: number }
  | { do: "pass" | "jump"; ms: number }
  | { do: "reset" | "isolate" | "disable"; process: number };

/** Lets the steps happen, checks at each of them what must always hold, and in the end that all agree. */
async function history(
  scheduler: fc.Scheduler,
  given: CircuitBreakerOptions<never>,
  steps: readonly Step[],
  faults: readonly StateFault[],
): Promise<World> {
  const world = new World(given, scheduler);
  const { clock, running } = world;
  const processes = Array.from({ length: PROCESSES }, (_, n) => {
    const line = new Delayed(world);
    const state = new FaultySharedState(line);
    state.onUpdate = (count) => faults[count * PROCESSES + n];
    const runtime = { clock, random: seededRandom(n), events: new Events(clock) };
    const breaker = new CircuitBreaker<never>({ ...given, sharedState: state, syncMs: SYNC_MS }, runtime);
    return { breaker, line, state, events: record(runtime.events) };
  });
  let undecided = 0;
  const settled: Promise<unknown>[] = [];

  const begin = ({ breaker, line }: (typeof processes)[number]): void => {
    const controller = new AbortController();
    let decided = false;
    undecided++;
    const decide = (): void => {
      if (!decided) undecided--;
      decided = true;
    };
    const operation = (): Promise<void> =>
      new Promise((resolve, reject) => {
        decide();
        const { state, shared } = breaker.getState();
        const probe = state === "half_open" && shared!.attached && !shared!.alone;
        const settle = (error: Error | null): void => (error === null ? resolve() : reject(error));
        running.push({ lease: probe ? line.lease : null, controller, settle });
        world.checkProbes();
      });
    settled.push(breaker.executeOutcome(operation, { signal: controller.signal }).then(decide));
  };

  for (const next of steps) {
    switch (next.do) {
      case "begin":
        begin(processes[next.process]!);
        break;
      case "end": {
        const [call] = running.splice(next.which % Math.max(1, running.length), 1);
        if (call === undefined) break;
        const { lease } = call;
        if (next.result === "success" && lease !== null)
          world.succeeded.set(lease.generation, (world.succeeded.get(lease.generation) ?? 0) + 1);
        if (next.result === "abort") call.controller.abort();
        call.settle(next.result === "success" ? null : next.result === "neutral" ? new ConfigError("no") : new Error());
        break;
      }
      case "answer":
        for (let n = 0; n < next.count; n++) await world.answer();
        break;
      case "pass":
        await clock.advance(next.ms);
        // Whatever the place does, a call is decided within a second.
        if (next.ms === 1_000) expect(undecided).toBe(0);
        break;
      case "jump":
        clock.jumpWall(next.ms);
        break;
      default:
        processes[next.process]!.breaker[next.do]();
    }
    await new Promise((resolve) => setImmediate(resolve));
    for (const { state } of processes) expect(state.hanging).toBeLessThanOrEqual(2 + given.halfOpenMaxConcurrent!);
    world.checkProbes();
  }

  // The place is well again, and all calls end without a word.
  for (const { state } of processes) state.onUpdate = () => undefined;
  for (let round = 0; round < 8; round++) {
    for (const { state } of processes) state.release();
    for (const call of running.splice(0)) call.settle(new ConfigError("over"));
    await world.answerAll();
    await clock.advance(round === 0 ? 35_000 : SYNC_MS);
    for (const process of processes) begin(process);
    await world.answerAll();
  }
  for (const call of running.splice(0)) call.settle(new ConfigError("over"));
  await world.answerAll();
  await Promise.all(settled);

  const kind = world.record?.kind ?? "closed";
  for (const { breaker, events } of processes) {
    const { state, shared } = breaker.getState();
    expect(shared).toMatchObject({ attached: true, fleet: kind });
    if (!shared!.alone) expect(state).toBe(kind);
    const links = events.map(({ type }) => type).filter((type) => type.endsWith("tached"));
    expect(links).toEqual(links.map((_, i) => (i % 2 === 0 ? "breaker.detached" : "breaker.attached")));
  }
  expect(clock.pendingTimers).toBe(0);
  return world;
}

test("three processes, however their updates and answers are delayed, admit no more probes than one would, close after as many as they must, and agree in the end (C2.2, C2.3, C2.9)", async () => {
  let closed = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      options,
      fc.array(step, { maxLength: 150, size: "max" }),
      async (scheduler, given, steps) => {
        const world = await history(scheduler, given, steps, []);
        expect(world.closedTooEarly).toBe(false);
        closed += world.closedByProbes;
      },
    ),
    { numRuns: 300 },
  );
  // The histories are such that there is something to see.

  expect(closed).toBeGreaterThan(20);
}, 60_000);

test("they do so when updates are refused, lose their answer or hang, and under orders by hand (C2.3, C2.6, C2.9)", async () => {
  const faults = fc.array(fc.constantFrom<StateFault>(null, null, null, "refused", "unanswered", "hangs", "late"), {
    maxLength: 200,
    size: "max",
  });
  const steps = fc.array(fc.oneof({ weight: 22, arbitrary: step }, { weight: 1, arbitrary: orders }), {
    maxLength: 150,
    size: "max",
  });
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), options, steps, faults, async (scheduler, given, all, wrong) => {
      await history(scheduler, given, all, wrong);
    }),
    { numRuns: 300 },
  );
}, 60_000);
