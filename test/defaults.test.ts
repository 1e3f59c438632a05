import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openDefaultStore } from "../src/default-engine.ts";
import { RetryExhaustedError } from "../src/core/errors.ts";
import {
  type BackoffOptions,
  CircuitBreaker,
  CircuitBreakerOpenError,
  type CircuitBreakerOptions,
  ConfigError,
  createEngine,
  type EngineOptions,
  Fallback,
  MemoryStore,
  type RecoveryBackoff,
  resilientQueueRun,
  RetryPolicy,
  SqliteStore,
  Timeout,
  Workflow,
  type WorkflowOptions,
} from "../src/index.ts";
import { FakeClock, fakeRuntime } from "../src/testing/index.ts";
import { documentedDefaults, printedDefaults, type Probe, wrongDefaults } from "./option-docs.ts";
import { read, sourcePaths } from "./repository.ts";

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

async function redrivesAllowed(options: Partial<EngineOptions>): Promise<number | undefined> {
  const workflow = new Workflow({ id: "w" }).addNode("n", fail);
  const { deadLetters } = await createEngine({ store: new MemoryStore(), ...options }).run(workflow, undefined);
  return deadLetters[0]?.maxRetries;
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
  "RetryOptions.retryableErrors": {
    words: "all, except those that Holdfast never retries",
    holds: async () =>
      (await callsMade(new TypeError("x"))) === 2 &&
      (await callsMade("no error")) === 2 &&
      (await callsMade(new ConfigError("x"))) === 1 &&
      (await callsMade(new RetryExhaustedError("inner", 3, fail, ""))) === 1 &&
      (await callsMade(new CircuitBreakerOpenError("c", 1, undefined))) === 1,
  },
  "CallOptions.priorAttempts": {
    other: 1,
    observe: (value) => new RetryPolicy().execute(({ attempt }) => attempt, { priorAttempts: value as number }),
  },
  "TimeoutOptions.name": {
    other: "t",
    observe: (name) => new Timeout({ attemptTimeoutMs: 1, name: name as string }).name,
  },
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
  "SqliteStoreOptions.busyTimeoutMs": {
    other: 1999,
    observe: async (value) => {
      pragmas.length = 0;
      await new SqliteStore("busy.db", { busyTimeoutMs: value as number }).close();
      return pragmas.join(" ").match(/busy_timeout\s*=\s*(\d+)/i)?.[1];
    },
  },
  "WorkflowOptions.name": { words: "the id", holds: () => new Workflow({ id: "w" }).definition.name === "w" },
  "WorkflowOptions.version": workflowOption("2", "version"),
  "WorkflowOptions.concurrency": workflowOption(3, "concurrency"),
  "EngineOptions.concurrency": engineOption(2, runsAtOnce, "concurrency"),
  "EngineOptions.leaseMs": engineOption(4999, leaseTaken, "leaseMs"),
  "EngineOptions.maxCrashes": engineOption(9, startsAllowed, "maxCrashes"),
  "EngineOptions.maxRetries": engineOption(2, redrivesAllowed, "maxRetries"),
  "RunOptions.runId": {
    words: "a new id",
    holds: async () => {
      const engine = createEngine({ store: new MemoryStore() });
      const workflow = new Workflow({ id: "w" }).addNode("n", () => 1);
      const [first, second] = [await engine.run(workflow, undefined), await engine.run(workflow, undefined)];
      return first.runId !== second.runId;
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
};

function workflowOption(other: unknown, key: keyof WorkflowOptions): Probe {
  return { other, observe: (value) => String(new Workflow({ id: "w", [key]: value }).definition[key]) };
}

const DOCUMENTED = documentedDefaults(sourcePaths().map(read));

test("every @default in src/ is what the code does", async () => {
  expect(await wrongDefaults(DOCUMENTED, PROBES)).toEqual([]);
});

test("the contract's table of breaker options has the same defaults (C2.1)", () => {
  const printed = printedDefaults(read("docs/behaviour.md"));
  expect(Object.keys(printed).length).toBeGreaterThan(5);
  const numbers = Object.entries(printed).filter(([, text]) => /^\d/.test(text));
  const documented = numbers.map(([option]) => [option, DOCUMENTED.get(`CircuitBreakerOptions.${option}`)]);
  expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(numbers));
});
