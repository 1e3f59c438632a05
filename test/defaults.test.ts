import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openDefaultStore } from "../src/default-engine.ts";
import { RetryExhaustedError } from "../src/core/errors.ts";
import { seededRandom } from "../src/core/random.ts";
import {
  AdaptiveConcurrency,
  type AdaptiveConcurrencyOptions,
  type AdaptiveOptions,
  type BackoffOptions,
  Budget,
  type BudgetOptions,
  Bulkhead,
  type BulkheadOptions,
  Chaos,
  type ChaosInjection,
  type ChaosOptions,
  CircuitBreaker,
  CircuitBreakerOpenError,
  type CircuitBreakerOptions,
  ConfigError,
  createEngine,
  type EngineOptions,
  Fallback,
  type ForkOptions,
  Hedge,
  type HedgeOptions,
  type HoldfastError,
  httpRequest,
  MemoryBlobs,
  MemorySharedState,
  MemoryStore,
  type NodeContext,
  type NodeOptions,
  type Policy,
  type Priority,
  type PriorityShares,
  type RecoveryBackoff,
  resilientQueueRun,
  ResourceLock,
  type ResourceLockOptions,
  RetryBudget,
  type RetryBudgetOptions,
  RateLimiter,
  type RateLimit,
  type RateLimiterOptions,
  RetryPolicy,
  type SnapshotOptions,
  SqliteSharedState,
  SqliteStore,
  Timeout,
  Workflow,
  type WorkflowDefinition,
  WorkflowCheckpoint,
  type WorkflowCheckpointOptions,
  type WorkflowOptions,
} from "../src/index.ts";
import { planWorkflow } from "../src/workflow/plan.ts";
import { FakeClock, type FakeRuntime, fakeRuntime } from "../src/testing/index.ts";
import { appendOf, claimOf, letterOf } from "../src/testing/store-bench.ts";
import { forget } from "./leak-oracle.ts";
import { ENGINE_PROBES } from "./engine-probes.ts";
import { documentedDefaults, printedDefaults, type Probe, wrongDefaults } from "./option-docs.ts";
import { read, sourcePaths } from "./repository.ts";
import { REDRIVE_PROBES } from "./redrive-probes.ts";
import { SCHEDULE_PROBES } from "./schedule-probes.ts";

const pragmas: string[] = [];
vi.mock("../src/stores/sqlite-driver.ts", async (original) => {
  const driver = await original<typeof import("../src/stores/sqlite-driver.ts")>();
  const openDriver: typeof driver.openDriver = (path) => {
    const database = driver.openDriver(path);
    const exec = database.exec.bind(database);
    database.exec = (sql: string): void => {
      pragmas.push(sql);
      exec(sql);
    };
    return database;
  };
  return { ...driver, openDriver };
});

let folder: string;
const before = process.cwd();
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-defaults-"));
  process.chdir(folder);
  vi.stubEnv("RESILIENCE_STORE_URL", undefined);
});
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

/** A store with more ended runs than any list gives at once, each with a dead letter that is settled. */
async function filledStore(): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (let i = 0; i <= 1000; i++) {
    const runId = `r-${i}`;
    const deadLetters = [letterOf(`dl-${i}`, { runId, status: "succeeded" })];
    const { token } = await store.claim(claimOf(runId));
    await store.append(appendOf(runId, token, 0, { status: "failed", deadLetters }));
  }
  return store;
}

const fail = (): never => {
  throw new Error("down");
};

function breaker(options: CircuitBreakerOptions, other: unknown, key: keyof CircuitBreakerOptions): Probe {
  return { other, observe: (value) => new CircuitBreaker({ ...options, [key]: value }).describe() };
}

/** The waits of a retry, which show all of its backoff. */
function backoff(options: BackoffOptions, other: unknown, key: keyof BackoffOptions): Probe {
  return { other, observe: (value) => waits({ ...options, [key]: value }) };
}

function waits(options: BackoffOptions): number[] {
  const retry = new RetryPolicy(options, fakeRuntime());
  return Array.from({ length: 12 }, (_, n) => retry.delayFor(n + 1));
}

const budgetOf = (options: Partial<BudgetOptions>): Budget => new Budget({ limitTokens: 9, estimate: 5, ...options });

/** What a budget has charged after a call. */
async function charged(options: BudgetOptions, operation: () => unknown): Promise<[number, number]> {
  const budget = new Budget(options);
  await budget.execute(operation).catch(() => {});
  const { spent, unconfirmed } = budget.getState();
  return [spent, unconfirmed];
}

function retryBudget(other: unknown, key: keyof RetryBudgetOptions): Probe {
  return { other, observe: (value) => new RetryBudget({ [key]: value }) };
}

function adaptive(other: unknown, key: keyof AdaptiveOptions): Probe {
  return { other, observe: (value) => new CircuitBreaker({ adaptive: { [key]: value } }).describe() };
}

/** How long a breaker stays open the first three times. */
async function openTimes(recoveryBackoff: RecoveryBackoff): Promise<number[]> {
  const runtime = fakeRuntime();
  const circuit = new CircuitBreaker({ failureThreshold: 1, recoveryTimeoutMs: 100, recoveryBackoff }, runtime);
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    await circuit.execute(fail).catch(() => {});
    const { openedAt, nextAttemptAt } = circuit.getState();
    times.push(Math.round(nextAttemptAt! - openedAt!));
    await runtime.clock.advance(1e9);
  }
  return times;
}

function recovery(options: RecoveryBackoff, other: unknown, key: keyof RecoveryBackoff): Probe {
  return { other, observe: (value) => openTimes({ ...options, [key]: value }) };
}

/** Whether a breaker that opens at the first failure has opened after a call. */
async function opensAfter(error: unknown, signal?: AbortSignal): Promise<boolean> {
  const circuit = new CircuitBreaker({ failureThreshold: 1 });
  await circuit.execute(() => Promise.reject(error), { signal }).catch(() => {});
  return circuit.state === "OPEN";
}

async function abortedWhileCalled(): Promise<boolean> {
  const caller = new AbortController();
  const circuit = new CircuitBreaker({ failureThreshold: 1 });
  const call = circuit.execute(() => (caller.abort(), fail()), { signal: caller.signal });
  await call.catch(() => {});
  return circuit.state === "OPEN";
}

async function callsMade(error: unknown): Promise<number> {
  let calls = 0;
  const retry = new RetryPolicy({ initialDelayMs: 0, maxAttempts: 2 });
  await retry.execute(() => (calls++, Promise.reject(error))).catch(() => {});
  return calls;
}

const engineOption = (
  other: unknown,
  observe: (options: Partial<EngineOptions>) => unknown,
  key: keyof EngineOptions,
): Probe => ({
  other,
  observe: (value) => observe({ [key]: value }),
});

function hedged(options: Partial<HedgeOptions>, other: unknown, key: keyof HedgeOptions): Probe {
  return { other, observe: (value) => new Hedge({ delayMs: 1, ...options, [key]: value }).describe() };
}

/** Which of twenty calls chaos befalls, half of them unless told otherwise. */
async function callsHit(options: ChaosOptions, injection: ChaosInjection): Promise<number[]> {
  const chaos = new Chaos({ ...options, inject: [{ rate: 0.5, ...injection, result: () => "wrong" }] });
  const hit: number[] = [];
  for (let n = 0; n < 20; n++) if ((await chaos.execute(() => "right")) === "wrong") hit.push(n);
  return hit;
}

function slots(other: unknown, key: keyof BulkheadOptions): Probe {
  return { other, observe: (value) => new Bulkhead({ maxConcurrent: 1, [key]: value }).describe() };
}

function adaptiveSlots(other: unknown, key: keyof AdaptiveConcurrencyOptions): Probe {
  return { other, observe: (value) => new AdaptiveConcurrency({ [key]: value }).describe() };
}

function share(other: unknown, key: keyof PriorityShares): Probe {
  const smaller = { critical: 0.01, high: 0.01, normal: 0.01, low: 0.01 };
  const below = { ...smaller, [key]: undefined };
  const priorities = ["critical", "high", "normal", "low"] as const;
  for (const priority of priorities.slice(0, priorities.indexOf(key))) below[priority] = 1;
  return { other, observe: (value) => new AdaptiveConcurrency({ shares: { ...below, [key]: value } }).describe() };
}

/** To what a limit of 100 has fallen after a call has brought this. */
async function limitAfter(operation: () => unknown): Promise<number> {
  const policy = new AdaptiveConcurrency({ initialLimit: 100 });
  await policy.executeOutcome(operation);
  return policy.getStats().limit;
}

/** How important a call is taken for that is refused. */
async function priorityOf(priority: unknown): Promise<unknown> {
  const policy = new AdaptiveConcurrency({ maxLimit: 1 });
  const options = { priority: priority as Priority | undefined };
  await policy.execute(() => policy.executeOutcome(() => 1, options));
  return policy.getStats().rejected;
}

function lock(other: unknown, key: keyof ResourceLockOptions): Probe {
  const lease = key === "leaseMs" ? new MemorySharedState() : undefined;
  return { other, observe: (value) => new ResourceLock({ lease, [key]: value }).describe() };
}

/** How long a call waits at most in the queue of a policy whose only slot is never free. */
async function queueWait(deadlineMs: number, build: (runtime: FakeRuntime) => Policy): Promise<number> {
  const runtime = fakeRuntime();
  const policy = build(runtime);
  void policy.execute(() => new Promise(() => {}));
  const waiting = policy.execute(() => 0, { deadlineMs }).catch(() => runtime.clock.now());
  await runtime.clock.advance(1e9);
  return waiting;
}

async function waitsForItsDeadline(build: (runtime: FakeRuntime) => Policy): Promise<boolean> {
  return (await queueWait(7, build)) === 7 && (await queueWait(1e8, build)) === 1e8;
}

/** How many of five runs are under way at the same time. */
async function runsAtOnce(options: Partial<EngineOptions>): Promise<number> {
  let running = 0;
  let most = 0;
  const workflow = new Workflow({ id: "w" }).addNode("n", async () => {
    most = Math.max(most, ++running);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    running--;
  });
  const engine = createEngine({ store: new MemoryStore(), ...options });
  await Promise.all(Array.from({ length: 5 }, () => engine.run(workflow, undefined)));
  return most;
}

async function leaseTaken(options: Partial<EngineOptions>): Promise<number> {
  const runtime = fakeRuntime();
  const store = new MemoryStore({ clock: runtime.clock });
  let lease = 0;
  const workflow = new Workflow({ id: "w" }).addNode("n", async () => {
    lease = (await store.get("r"))!.leaseUntil - runtime.clock.wallNow();
  });
  await createEngine({ store, runtime, ...options }).run(workflow, undefined, { runId: "r" });
  return lease;
}

/** Which record of a run of many steps holds its state. What the steps return cannot be made much shorter. */
async function newestSnapshot(snapshots: SnapshotOptions, steps: number): Promise<number | undefined> {
  const random = seededRandom(1);
  // Sizes depend on instants, too.
  const runtime = fakeRuntime();
  const store = new MemoryStore({ clock: runtime.clock });
  const workflow = new Workflow({ id: "w" }).addNode("n", async (_, context) => {
    for (let i = 0; i < steps; i++)
      await context.step(`${i}`, () => Array.from({ length: 3 }, () => random().toString(36).slice(2, 11)).join(""));
  });
  await createEngine({ store, snapshots, runtime }).run(workflow, undefined, { runId: "r" });
  return (await store.get("r"))!.snapshot?.seq;
}

/** The runs that are left when an engine is closed which carries out one of half a millisecond. */
async function whatIsLeft(drainMs: unknown): Promise<string[]> {
  const runtime = fakeRuntime();
  const engine = createEngine({ store: new MemoryStore(), runtime });
  const workflow = new Workflow({ id: "w" }).addNode("n", () => runtime.clock.sleep(0.5));
  await engine.start(workflow, undefined, { runId: "r" });
  const closing = engine.close({ drainMs: drainMs as number });
  await runtime.clock.advance(1);
  return (await closing).left;
}

async function redrivesAllowed(options: Partial<EngineOptions>): Promise<number | undefined> {
  const workflow = new Workflow({ id: "w" }).addNode("n", fail);
  const { deadLetters } = await createEngine({ store: new MemoryStore(), ...options }).run(workflow, undefined);
  return deadLetters[0]?.maxRetries;
}

/** When a checkpoint is saved by itself for the first time. */
async function firstCheckpointAfter(options: WorkflowCheckpointOptions): Promise<number> {
  const runtime = fakeRuntime();
  const checkpoint = new WorkflowCheckpoint<number>("c", { store: new MemorySharedState(), runtime, ...options });
  const begun = runtime.clock.now();
  let after = 0;
  checkpoint.startAutoCheckpoint(() => (after ||= runtime.clock.now() - begun));
  await runtime.clock.advance(100_000);
  await checkpoint.stopAutoCheckpoint();
  return after;
}

/** Whether inputs of 16 MB and of a byte more are refused. */
async function valuesRefused(options: Partial<EngineOptions>): Promise<boolean[]> {
  const workflow = new Workflow({ id: "w" }).addNode("n", (text: string) => text.length);
  const engine = createEngine({ store: new MemoryStore(), ...options });
  const inputs = [16 * 1024 * 1024 - 2, 16 * 1024 * 1024 - 1].map((length) => "x".repeat(length));
  const refused = inputs.map((input) =>
    engine.run(workflow, input).then(
      () => false,
      () => true,
    ),
  );
  return Promise.all(refused);
}

/** The blobs that are left of one a day old and one a millisecond older. */
async function blobsSwept(options: object): Promise<number[]> {
  const runtime = fakeRuntime();
  const blobs = new MemoryBlobs({ clock: runtime.clock });
  const engine = createEngine({ store: new MemoryStore(), blobs, runtime });
  await blobs.put(Uint8Array.of(1));
  await runtime.clock.advance(1);
  await blobs.put(Uint8Array.of(1, 2));
  await runtime.clock.advance(86_400_000);
  await engine.sweepBlobs(options);
  const left: number[] = [];
  for await (const { bytes } of blobs.list()) left.push(bytes);
  return left;
}

/** How often a node is started that never ends, each time by another engine that finds the lease of the last run out. */
async function startsAllowed(options: Partial<EngineOptions>): Promise<number> {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  let starts = 0;
  for (let lives = 0; lives < 30; lives++) {
    const started = starts;
    let begun = (): void => {};
    const began = new Promise<void>((resolve) => (begun = resolve));
    const hanging = new Workflow({ id: "w" }).addNode("n", () => (starts++, begun(), new Promise(() => {})));
    const run = createEngine({ store, runtime: fakeRuntime(), ...options }).run(hanging, undefined, { runId: "r" });
    await Promise.race([began, run]);
    if (starts === started) break;
    await clock.advance(3_600_000);
  }
  return starts;
}

async function whatIsKept(enableCheckpointing: unknown): Promise<boolean> {
  const store = new MemoryStore();
  const workflow = new Workflow({ id: "w" }).addNode("n", () => 1);
  const choice = { enableCheckpointing: enableCheckpointing as boolean | undefined };
  await resilientQueueRun({ workflow, workflowInput: undefined, workflowInvocationId: "r", store, ...choice });
  return (await store.get("r")) !== undefined;
}

async function whatAnOldRunGives(resumeFromCheckpoint: unknown): Promise<string> {
  const workflow = new Workflow({ id: "w" }).addNode("n", () => 1);
  const run = { workflow, workflowInput: undefined, workflowInvocationId: "r", store: new MemoryStore() };
  await resilientQueueRun(run);
  const choice = { resumeFromCheckpoint: resumeFromCheckpoint as boolean | undefined };
  return resilientQueueRun({ ...run, ...choice }).then(
    () => "its result",
    (error: Error) => error.name,
  );
}

async function onDefaultStore(
  run: (workflow: Workflow, runId: string) => Promise<unknown>,
  runId: string,
): Promise<boolean> {
  await run(new Workflow({ id: "w" }).addNode("n", () => 1) as unknown as Workflow, runId);
  const store = openDefaultStore();
  const found = await store.get(runId);
  await store.close();
  return found !== undefined && store.location === join(process.cwd(), ".holdfast/holdfast.db");
}

function limited(options: Partial<RateLimiterOptions>, other: unknown, key: keyof RateLimiterOptions): Probe {
  const limits = { requests: { limit: 1 } };
  return { other, observe: (value) => new RateLimiter({ limits, ...options, [key]: value }).describe() };
}

/** When each of four calls goes through that come at once. */
function rate(options: Partial<RateLimit>, other: unknown, key: keyof RateLimit): Probe {
  const observe = async (value: unknown): Promise<number[]> => {
    const runtime = fakeRuntime();
    const limits = { requests: { limit: 2, ...options, [key]: value } };
    const limiter = new RateLimiter({ limits, maxWaitMs: Infinity }, runtime);
    const times: number[] = [];
    const calls = [1, 2, 3, 4].map(() => limiter.execute(() => times.push(runtime.clock.now())));
    await runtime.clock.advance(1e6);
    await Promise.all(calls);
    return times;
  };
  return { other, observe };
}

const PROBES: Record<string, Probe> = {
  "BackoffOptions.initialDelayMs": backoff({}, 999, "initialDelayMs"),
  "BackoffOptions.maxDelayMs": backoff({}, 29_999, "maxDelayMs"),
  "BackoffOptions.strategy": backoff({}, "linear", "strategy"),
  "BackoffOptions.jitter": backoff({}, "none", "jitter"),
  "BackoffOptions.backoffMultiplier": {
    words: "2 for exponential, 1 for linear",
    holds: () =>
      `${waits({ backoffMultiplier: 2 })}` === `${waits({})}` &&
      `${waits({ strategy: "linear", backoffMultiplier: 1 })}` === `${waits({ strategy: "linear" })}`,
  },
  "RetryOptions.name": { other: "r", observe: (name) => new RetryPolicy({ name: name as string }).name },
  "RetryOptions.maxAttempts": {
    other: 2,
    observe: (value) => {
      const retry = new RetryPolicy({ maxAttempts: value as number, strategy: "immediate" });
      return retry.execute(fail).catch((error: RetryExhaustedError) => error.attempts);
    },
  },
  "RetryOptions.retryBudget": {
    words: "none",
    holds: async () => {
      for (let i = 0; i < 30; i++) if ((await callsMade("no error")) !== 2) return false;
      return new RetryPolicy().describe().options.retryBudget === undefined;
    },
  },
  "RetryBudgetOptions.name": retryBudget("r", "name"),
  "RetryBudgetOptions.ratio": retryBudget(0.2, "ratio"),
  "RetryBudgetOptions.minRetriesPerSecond": retryBudget(2, "minRetriesPerSecond"),
  "RetryBudgetOptions.capacity": retryBudget(11, "capacity"),
  "BudgetOptions.name": { other: "b", observe: (name) => budgetOf({ name: name as string }).name },
  "BudgetOptions.estimate": {
    words: "1 call",
    holds: async () => `${await charged({ limitCalls: 5 }, () => 1)}` === "1,0",
  },
  "BudgetOptions.cost": {
    words: "the estimate",
    holds: async () => `${await charged({ limitTokens: 9, estimate: 5 }, () => 1)}` === "5,0",
  },
  "BudgetOptions.costOfFailure": {
    words: "nothing, except that a call made is a call",
    holds: async () =>
      `${await charged({ limitTokens: 9, estimate: 5 }, fail)}` === "0,0" &&
      `${await charged({ limitCalls: 9 }, fail)}` === "1,0",
  },
  "BudgetOptions.unconfirmedErrors": {
    words: "timeouts and aborts",
    holds: async () => {
      const timeout = new Timeout({ attemptTimeoutMs: 1 });
      const hang = (): Promise<never> => timeout.execute(() => new Promise<never>(() => {}));
      return `${await charged({ limitTokens: 9, estimate: 5 }, hang)}` === "0,5";
    },
  },
  "BudgetOptions.onExhausted": {
    other: "queue",
    observe: (value) => budgetOf({ onExhausted: value as "deny" }).describe(),
  },
  "BudgetOptions.maxQueue": {
    other: 999,
    observe: (value) => budgetOf({ onExhausted: "queue", maxQueue: value as number }).describe(),
  },
  "BudgetOptions.reservationLeaseMs": {
    other: 59_999,
    observe: (value) =>
      budgetOf({ sharedState: new MemorySharedState(), reservationLeaseMs: value as number }).describe(),
  },
  "ReserveOptions.wait": {
    other: false,
    observe: async (wait) => {
      const budget = budgetOf({});
      const held = budget.reserve(9);
      const next = budget.reserveWhenFree(9, { wait: wait as boolean | undefined }).then(
        () => "held",
        () => "refused",
      );
      held.release();
      return next;
    },
  },
  "BudgetOptions.dryRun": { other: true, observe: (value) => budgetOf({ dryRun: value as boolean }).describe() },
  "RetryOptions.retryableErrors": {
    words: "all, except those that Holdfast never retries",
    holds: async () =>
      (await callsMade(new TypeError("x"))) === 2 &&
      (await callsMade("no error")) === 2 &&
      (await callsMade(new ConfigError("x"))) === 1 &&
      (await callsMade(new RetryExhaustedError("inner", 3, fail, ""))) === 1 &&
      (await callsMade(new CircuitBreakerOpenError("c", 1, undefined))) === 1,
  },
  "RateLimiterOptions.name": limited({}, "r", "name"),
  "RateLimiterOptions.maxWaitMs": limited({}, 59_999, "maxWaitMs"),
  "RateLimiterOptions.learn": limited({}, false, "learn"),
  "RateLimiterOptions.dryRun": limited({}, true, "dryRun"),
  "RateLimit.intervalMs": rate({}, 59_999, "intervalMs"),
  "RateLimit.algorithm": rate({}, "sliding-window", "algorithm"),
  "RateLimit.burst": {
    words: "the limit",
    holds: async () => {
      const limiter = new RateLimiter({ limits: { requests: { limit: 7 } } });
      return limiter.getStats().available.requests === 7;
    },
  },
  "RateLimit.cost": rate({}, 2, "cost"),
  "CallOptions.priorAttempts": {
    other: 1,
    observe: (value) => new RetryPolicy().execute(({ attempt }) => attempt, { priorAttempts: value as number }),
  },
  "TimeoutOptions.name": {
    other: "t",
    observe: (name) => new Timeout({ attemptTimeoutMs: 1, name: name as string }).name,
  },
  "HedgeOptions.name": { other: "h", observe: (name) => new Hedge({ delayMs: 1, name: name as string }).name },
  "HedgeOptions.minimumCalls": hedged({ percentile: 50 }, 19, "minimumCalls"),
  "HedgeOptions.maxHedges": hedged({}, 2, "maxHedges"),
  "HedgeOptions.maxExtraShare": hedged({}, 0.2, "maxExtraShare"),
  "ChaosOptions.name": { other: "c", observe: (name) => new Chaos({ name: name as string }).name },
  "ChaosOptions.enabled": { other: true, observe: (enabled) => callsHit({ enabled: enabled as boolean }, {}) },
  "ChaosOptions.seed": { other: 2, observe: (seed) => callsHit({ enabled: true, seed: seed as number }, {}) },
  "ChaosInjection.rate": {
    other: 0.5,
    observe: (rate) => callsHit({ enabled: true }, { rate: rate as number | undefined, count: 9 }),
  },
  "ChaosInjection.count": {
    other: 3,
    observe: (count) => callsHit({ enabled: true }, { count: count as number | undefined }),
  },
  "BulkheadOptions.name": slots("b", "name"),
  "BulkheadOptions.maxQueue": slots(1, "maxQueue"),
  "BulkheadOptions.dryRun": slots(true, "dryRun"),
  "BulkheadOptions.queueTimeoutMs": {
    words: "as long as its deadline allows",
    holds: () => waitsForItsDeadline((runtime) => new Bulkhead({ maxConcurrent: 1, maxQueue: 1 }, runtime)),
  },
  "AdaptiveConcurrencyOptions.name": adaptiveSlots("a", "name"),
  "AdaptiveConcurrencyOptions.initialLimit": {
    words: "20, or the nearest that the other two allow",
    holds: () => {
      const initial = (options: AdaptiveConcurrencyOptions) => new AdaptiveConcurrency(options).getStats().limit;
      return `${[initial({}), initial({ maxLimit: 5 }), initial({ minLimit: 30 })]}` === "20,5,30";
    },
  },
  "AdaptiveConcurrencyOptions.minLimit": adaptiveSlots(2, "minLimit"),
  "AdaptiveConcurrencyOptions.maxLimit": adaptiveSlots(199, "maxLimit"),
  "AdaptiveConcurrencyOptions.increase": adaptiveSlots(2, "increase"),
  "AdaptiveConcurrencyOptions.backoffRatio": adaptiveSlots(0.8, "backoffRatio"),
  "AdaptiveConcurrencyOptions.overloadErrors": {
    words: "the statuses 429, 503 and 529, and timeouts",
    holds: async () => {
      const limits: number[] = [];
      for (const status of [429, 503, 529, 404, 500])
        limits.push(await limitAfter(() => Promise.reject(Object.assign(new Error("x"), { status }))));
      limits.push(await limitAfter(() => new Timeout({ attemptTimeoutMs: 1 }).execute(() => new Promise(() => {}))));
      return `${limits}` === "70,70,70,100,100,70";
    },
  },
  "AdaptiveConcurrencyOptions.maxQueue": adaptiveSlots(1, "maxQueue"),
  "AdaptiveConcurrencyOptions.queueTimeoutMs": {
    words: "as long as its deadline allows",
    holds: () => waitsForItsDeadline((runtime) => new AdaptiveConcurrency({ maxLimit: 1, maxQueue: 1 }, runtime)),
  },
  "AdaptiveConcurrencyOptions.dryRun": adaptiveSlots(true, "dryRun"),
  "PriorityShares.critical": share(0.9, "critical"),
  "PriorityShares.high": share(0.9, "high"),
  "PriorityShares.normal": share(0.9, "normal"),
  "PriorityShares.low": share(0.9, "low"),
  "CallOptions.priority": { other: "low", observe: priorityOf },
  "ResourceLockOptions.name": lock("l", "name"),
  "ResourceLockOptions.maxConcurrent": lock(2, "maxConcurrent"),
  "ResourceLockOptions.acquireTimeoutMs": lock(29_999, "acquireTimeoutMs"),
  "ResourceLockOptions.contentionThresholdMs": lock(4_999, "contentionThresholdMs"),
  "ResourceLockOptions.leaseMs": lock(9_999, "leaseMs"),
  "FallbackOptions.name": { other: "f", observe: (name) => new Fallback({ fallback: 1, name: name as string }).name },
  "CircuitBreakerOptions.name": breaker({}, "c", "name"),
  "CircuitBreakerOptions.failureThreshold": breaker({}, 4, "failureThreshold"),
  "CircuitBreakerOptions.successThreshold": breaker({}, 1, "successThreshold"),
  "CircuitBreakerOptions.recoveryTimeoutMs": breaker({}, 59_999, "recoveryTimeoutMs"),
  "CircuitBreakerOptions.halfOpenMaxConcurrent": breaker({}, 2, "halfOpenMaxConcurrent"),
  "CircuitBreakerOptions.probeTimeoutMs": breaker({}, 59_999, "probeTimeoutMs"),
  "CircuitBreakerOptions.window": breaker({}, { kind: "count", size: 5 }, "window"),
  "CircuitBreakerOptions.volumeThreshold": breaker({}, 2, "volumeThreshold"),
  "CircuitBreakerOptions.slowCallRateThreshold": breaker(
    { window: { kind: "count", size: 5 }, slowCallMs: 5 },
    0.5,
    "slowCallRateThreshold",
  ),
  "CircuitBreakerOptions.quorum": breaker({ sharedState: new MemorySharedState() }, 2, "quorum"),
  "CircuitBreakerOptions.syncMs": breaker({ sharedState: new MemorySharedState() }, 251, "syncMs"),
  "CircuitBreakerOptions.adaptive": breaker({}, true, "adaptive"),
  "CircuitBreakerOptions.dryRun": breaker({}, true, "dryRun"),
  "CircuitBreakerOptions.shared": breaker({ name: "defaults.test" }, true, "shared"),
  "AdaptiveOptions.badRate": adaptive(0.3, "badRate"),
  "AdaptiveOptions.callsPerFalseOpening": adaptive(1_000, "callsPerFalseOpening"),
  "AdaptiveOptions.memoryMs": adaptive(1_000, "memoryMs"),
  "CircuitBreakerOptions.fallbackOn": breaker({ fallback: 1 }, "any", "fallbackOn"),
  "CircuitBreakerOptions.countsAsFailure": {
    words: "all but refusals, aborts and mistakes in the configuration",
    holds: async () =>
      (await opensAfter(new Error("x"))) &&
      (await opensAfter("no error")) &&
      !(await opensAfter(new CircuitBreakerOpenError("inner", 1, 5))) &&
      !(await opensAfter(new ConfigError("x"))) &&
      !(await abortedWhileCalled()),
  },
  "RateOptions.minimumCalls": {
    words: "the breaker's volumeThreshold",
    holds: async () => {
      const window = { kind: "count", size: 9, failureRateThreshold: 0.5 } as const;
      const circuit = new CircuitBreaker({ window, volumeThreshold: 3 });
      const states: string[] = [];
      for (let i = 0; i < 3; i++) {
        await circuit.execute(fail).catch(() => {});
        states.push(circuit.state);
      }
      return `${states}` === "CLOSED,CLOSED,OPEN";
    },
  },
  "RecoveryBackoff.backoffMultiplier": recovery({}, 2, "backoffMultiplier"),
  "RecoveryBackoff.maxRecoveryTimeoutMs": {
    words: "no limit",
    holds: async () => `${await openTimes({ backoffMultiplier: 1000 })}` === "100,100000,100000000",
  },
  "RecoveryBackoff.jitterFactor": recovery({}, 0.5, "jitterFactor"),
  "SqliteSharedStateOptions.busyTimeoutMs": {
    other: 1999,
    observe: async (value) => {
      pragmas.length = 0;
      const state = new SqliteSharedState("busy.db", { busyTimeoutMs: value as number });
      await state.update("key", () => ({ next: undefined, keepMs: 0, result: 0 })).catch(() => {});
      await state.close();
      return pragmas.join(" ").match(/busy_timeout\s*=\s*(\d+)/i)?.[1];
    },
  },
  "SqliteSharedStateOptions.machineNow": {
    words: "that of the machine",
    holds: async () => {
      const state = new SqliteSharedState("time.db");
      const now = await state.update("key", (_, at) => ({ next: undefined, keepMs: 0, result: at }));
      const [seconds] = process.hrtime();
      return Math.abs(now - seconds * 1000) < 60_000;
    },
  },
  "RunFilter.limit": {
    other: 99,
    observe: async (limit) => (await (await filledStore()).list({ limit: limit as number })).length,
  },
  "DeadLetterFilter.limit": {
    other: 99,
    observe: async (limit) => (await (await filledStore()).deadLetters({ limit: limit as number })).length,
  },
  "PruneFilter.limit": {
    other: 999,
    observe: async (limit) => (await (await filledStore()).prune({ keep: 0, limit: limit as number })).length,
  },
  "PruneFilter.dryRun": {
    other: true,
    observe: async (dryRun) => {
      const store = await filledStore();
      await store.prune({ keep: 0, dryRun: dryRun as boolean });
      return (await store.list()).length;
    },
  },
  "SqliteStoreOptions.durability": {
    other: "relaxed",
    observe: async (value) => {
      pragmas.length = 0;
      await new SqliteStore("durability.db", { durability: value as "full" | "relaxed" }).close();
      return pragmas.filter((sql) => sql.includes("synchronous"));
    },
  },
  "SqliteStoreOptions.busyTimeoutMs": {
    other: 1999,
    observe: async (value) => {
      pragmas.length = 0;
      await new SqliteStore("busy.db", { busyTimeoutMs: value as number }).close();
      return pragmas.join(" ").match(/busy_timeout\s*=\s*(\d+)/i)?.[1];
    },
  },
  "HttpRequestOptions.method": {
    words: "GET, or POST where there is a body",
    holds: async () => `${(await sent({})).method},${(await sent({ body: "" })).method}` === "GET,POST",
  },
  "HttpRequestOptions.response": { other: "text", observe: (response) => answered({ response }) },
  "HttpRequestOptions.okStatus": { other: [204], observe: (okStatus) => answered({ okStatus }) },
  "HttpRequestOptions.maxBytes": { other: 2, observe: (maxBytes) => answered({ maxBytes }) },
  "HttpRequestOptions.idempotencyHeader": {
    other: "X-Key",
    observe: async (idempotencyHeader) => [...new Headers((await sent({ method: "POST", idempotencyHeader })).headers)],
  },
  "HttpRequestOptions.fetch": {
    words: "the global fetch",
    holds: async () => {
      const original = globalThis.fetch;
      globalThis.fetch = async () => Response.json("faked");
      try {
        return (await requested({})) === '{"status":200,"body":"faked"}';
      } finally {
        globalThis.fetch = original;
      }
    },
  },
  "WorkflowOptions.name": { words: "the id", holds: () => new Workflow({ id: "w" }).definition.name === "w" },
  "WorkflowOptions.version": workflowOption("2", "version"),
  "WorkflowOptions.concurrency": workflowOption(3, "concurrency"),
  "WorkflowOptions.maxNodeInvocations": workflowOption(3, "maxNodeInvocations"),
  "WorkflowOptions.onFailure": workflowOption("continue", "onFailure"),
  "NodeOptions.join": {
    other: "any",
    observe: (value) => nodeOption({ join: value as "all" }).definition.nodes[0]!.join,
  },
  "NodeOptions.onFailure": {
    words: "what the workflow says",
    holds: () =>
      (["fail", "continue"] as const).every((onFailure) => {
        const { nodes } = planWorkflow(nodeOption({}, { onFailure }).definition);
        return nodes.get("n")!.onFailure === onFailure;
      }),
  },
  "EngineOptions.concurrency": engineOption(2, runsAtOnce, "concurrency"),
  "EngineOptions.leaseMs": engineOption(4999, leaseTaken, "leaseMs"),
  "EngineOptions.maxCrashes": engineOption(9, startsAllowed, "maxCrashes"),
  "EngineOptions.maxRetries": engineOption(2, redrivesAllowed, "maxRetries"),
  "RetentionOptions.everyMs": {
    other: 599_999,
    observe: async (everyMs) => {
      const runtime = fakeRuntime();
      const store = new MemoryStore({ clock: runtime.clock });
      const engine = createEngine({ store, runtime, retention: { keep: 0, everyMs: everyMs as number } });
      await engine.run(
        new Workflow({ id: "w" }).addNode("n", () => 1),
        undefined,
      );
      await runtime.clock.advance(599_999);
      const left = (await store.list()).length;
      await engine.close();
      return left;
    },
  },
  "PruneOptions.dryRun": {
    other: true,
    observe: async (dryRun) => {
      const store = new MemoryStore();
      const engine = createEngine({ store });
      await engine.run(
        new Workflow({ id: "w" }).addNode("n", () => 1),
        undefined,
      );
      await engine.prune({ keep: 0, dryRun: dryRun as boolean });
      return (await store.list()).length;
    },
  },
  "SnapshotOptions.minEvents": {
    other: 999,
    observe: (minEvents) => newestSnapshot({ minEvents: minEvents as number }, 1010),
  },
  "SnapshotOptions.bytesPerEvent": {
    other: 39,
    observe: (bytesPerEvent) => newestSnapshot({ minEvents: 100, bytesPerEvent: bytesPerEvent as number }, 600),
  },
  "EventStreamOptions.buffer": {
    other: 999,
    observe: async (buffer) => {
      const runtime = fakeRuntime();
      const engine = createEngine({ store: new MemoryStore(), runtime });
      const stream = engine.events({ buffer: buffer as number });
      for (let n = 0; n < 1001; n++) runtime.events.emit?.("lease.lost", { runId: "r", token: n });
      await engine.close();
      let told = 0;
      for await (const { type } of stream) if (type === "lease.lost") told++;
      return told;
    },
  },
  "CloseOptions.drainMs": { other: 1, observe: whatIsLeft },
  "EngineOptions.journaledBytes": engineOption(16 * 1024 * 1024 - 1, valuesRefused, "journaledBytes"),
  "SweepOptions.olderThanMs": { other: 86_399_999, observe: (olderThanMs) => blobsSwept({ olderThanMs }) },
  "SweepOptions.dryRun": { other: true, observe: (dryRun) => blobsSwept({ olderThanMs: 0, dryRun }) },
  "RunOptions.runId": {
    words: "a new id",
    holds: async () => {
      const engine = createEngine({ store: new MemoryStore() });
      const workflow = new Workflow({ id: "w" }).addNode("n", () => 1);
      const [first, second] = [await engine.run(workflow, undefined), await engine.run(workflow, undefined)];
      return first.runId !== second.runId;
    },
  },
  "WorkflowCheckpointOptions.autoCheckpointIntervalMs": {
    other: 59_999,
    observe: (ms) => firstCheckpointAfter({ autoCheckpointIntervalMs: ms as number }),
  },
  "WorkflowCheckpointOptions.maxCheckpoints": {
    other: 4,
    observe: async (maxCheckpoints) => {
      const options = { store: new MemorySharedState(), maxCheckpoints } as WorkflowCheckpointOptions;
      const checkpoint = new WorkflowCheckpoint("c", options);
      for (let i = 0; i < 9; i++) await checkpoint.save(i);
      return checkpoint.list().then((rows) => rows.map(({ version }) => version));
    },
  },
  "WorkflowCheckpointOptions.store": {
    words: "the SQLite file `.holdfast/holdfast.db`, or what `RESILIENCE_STORE_URL` says",
    holds: async () => {
      await new WorkflowCheckpoint("by default").save(1);
      const inFile = new SqliteSharedState(".holdfast/holdfast.db");
      const found = await WorkflowCheckpoint.listCheckpoints("by default", { store: inFile });
      await inFile.close();
      vi.stubEnv("RESILIENCE_STORE_URL", "memory:");
      vi.resetModules();
      const another = await import("../src/checkpoint.ts");
      await new another.WorkflowCheckpoint("elsewhere").save(1);
      vi.stubEnv("RESILIENCE_STORE_URL", undefined);
      return found.length === 1 && !(await new WorkflowCheckpoint("elsewhere").exists());
    },
  },
  "ForkOptions.input": { words: "what it had got", holds: async () => (await forked({})) === 2 },
  "ForkOptions.runId": {
    words: "a new id",
    holds: async () => {
      const ids: string[] = [];
      await forked({}, ids);
      return ids.length === 2 && ids[0] !== ids[1];
    },
  },
  "ExecuteOptions.store": {
    words: "the SQLite file `.holdfast/holdfast.db`, or what `RESILIENCE_STORE_URL` says",
    holds: async () => {
      const inFile = await onDefaultStore((workflow, runId) => workflow.execute(undefined, { runId }), "by execute");
      vi.stubEnv("RESILIENCE_STORE_URL", "memory:");
      const { location } = openDefaultStore();
      vi.stubEnv("RESILIENCE_STORE_URL", undefined);
      return inFile && location === "memory";
    },
  },
  "ResilientQueueRunOptions.store": {
    words: "the default store",
    holds: () =>
      onDefaultStore(
        (workflow, workflowInvocationId) =>
          resilientQueueRun({ workflow, workflowInput: undefined, workflowInvocationId }),
        "by queue",
      ),
  },
  "ResilientQueueRunOptions.workflowInvocationId": {
    words: "a new id",
    holds: async () => {
      const store = new MemoryStore();
      const workflow = new Workflow({ id: "w" }).addNode("n", () => 1);
      for (let i = 0; i < 2; i++) await resilientQueueRun({ workflow, workflowInput: undefined, store });
      return (await store.list()).length === 2;
    },
  },
  "ResilientQueueRunOptions.resumeFromCheckpoint": { other: false, observe: whatAnOldRunGives },
  "ResilientQueueRunOptions.enableCheckpointing": { other: false, observe: whatIsKept },
  ...REDRIVE_PROBES,
  ...SCHEDULE_PROBES,
  ...ENGINE_PROBES,
};

/** What a fork from the second of two nodes gives, twice; with the ids of the new runs. */
async function forked(options: Partial<ForkOptions>, ids: string[] = []): Promise<unknown> {
  const workflow = new Workflow({ id: "w" })
    .addNode("a", () => 1)
    .addNode("b", (n: number) => n + 1)
    .connect("a", "b");
  const engine = createEngine({ store: new MemoryStore() });
  await engine.run(workflow, undefined, { runId: "r" });
  let output: unknown;
  for (let i = 0; i < 2; i++) {
    const { runId, result } = await engine.fork(workflow, "r", { fromNode: "b", ...options });
    ids.push(runId);
    output = (await result).output;
  }
  return output;
}

function nodeOption(node: NodeOptions, workflow: Partial<WorkflowOptions> = {}): { definition: WorkflowDefinition } {
  return new Workflow({ id: "w", ...workflow }).addNode("n", () => 1, node);
}

/** What the node of a request gives or throws, in short. */
async function requested(options: object): Promise<string> {
  const node = httpRequest({ url: "http://nowhere.invalid", ...options });
  const context = { idempotencyKey: "k", signal: new AbortController().signal } as NodeContext;
  try {
    const { status, body } = await node(undefined, context);
    return JSON.stringify({ status, body: body instanceof Uint8Array ? `${body.length} bytes` : body });
  } catch (error) {
    return (error as HoldfastError).code;
  }
}

/** The request that a node sends. */
async function sent(options: object): Promise<RequestInit> {
  let request: RequestInit = {};
  await requested({ ...options, fetch: async (_: string, init: RequestInit) => ((request = init), new Response()) });
  return request;
}

/** What a node makes of answers around each of its limits. */
async function answered(options: object): Promise<string[]> {
  const results: string[] = [];
  for (const status of [200, 204, 299, 300, 404]) {
    const fetch = async (): Promise<Response> =>
      new Response(status === 204 ? null : "[1]", { status, headers: { "content-type": "application/json" } });
    results.push(await requested({ ...options, fetch }));
  }
  const limit = 16 * 1024 * 1024;
  for (const length of [limit, limit + 1]) {
    const fetch = async (): Promise<Response> => new Response(new Uint8Array(length));
    results.push((await requested({ ...options, fetch })).slice(0, 20));
  }
  return results;
}

function workflowOption(other: unknown, key: keyof WorkflowOptions): Probe {
  return { other, observe: (value) => String(new Workflow({ id: "w", [key]: value }).definition[key]) };
}

const DOCUMENTED = documentedDefaults(sourcePaths().map(read));

test("every @default in src/ is what the code does", async () => {
  expect(await wrongDefaults(DOCUMENTED, PROBES)).toEqual([]);
  // Some probes leave runs and calls under way that never end.
  forget();
});

test("the contract's table of breaker options has the same defaults (C2.1)", () => {
  const printed = printedDefaults(read("docs/behaviour.md"));
  expect(Object.keys(printed).length).toBeGreaterThan(5);
  const numbers = Object.entries(printed).filter(([, text]) => /^\d/.test(text));
  const documented = numbers.map(([option]) => [option, DOCUMENTED.get(`CircuitBreakerOptions.${option}`)]);
  expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(numbers));
});

/** For each page, the options that its table of defaults is about. */
const PAGES: Record<string, readonly string[]> = {
  engine: [
    "EngineOptions",
    "EventStreamOptions",
    "RetentionOptions",
    "PruneOptions",
    "SnapshotOptions",
    "CloseOptions",
  ],
  schedules: ["ScheduleOptions"],
  "policies/adaptive-concurrency": ["AdaptiveConcurrencyOptions", "PriorityShares"],
  "policies/budget": ["BudgetOptions"],
  "policies/bulkhead": ["BulkheadOptions"],
  "policies/chaos": ["ChaosOptions", "ChaosInjection"],
  "policies/circuit-breaker": ["CircuitBreakerOptions"],
  "policies/fallback": ["FallbackOptions"],
  "policies/hedge": ["HedgeOptions"],
  "policies/rate-limiter": ["RateLimiterOptions", "RateLimit"],
  "policies/resource-lock": ["ResourceLockOptions"],
  "policies/retry-budget": ["RetryBudgetOptions"],
  "policies/retry": ["RetryOptions", "BackoffOptions"],
  "policies/timeout": ["TimeoutOptions"],
};

test.each(Object.entries(PAGES))("docs/%s.md prints the defaults that the code documents", (page, owners) => {
  const section = read(`docs/${page}.md`).split("\n## Defaults\n")[1]!.split("\n## ")[0]!;
  const rows = [...section.matchAll(/^\| `(\w+)` +\| ([^|]*)\|/gm)];
  const printed = rows.map(([, option, text]) => [option!, text!.replaceAll("`", "").trim()] as const);
  const documented = [...DOCUMENTED].flatMap(([key, text]) => {
    const [owner = "", option = ""] = key.split(".");
    return owners.includes(owner) ? [[option, text] as const] : [];
  });
  expect(Object.fromEntries(printed.filter(([, text]) => text !== ""))).toEqual(Object.fromEntries(documented));
});
