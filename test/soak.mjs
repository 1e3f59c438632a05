// A million calls of all policies, in every way in which a call may end, and what the heap says meanwhile: prints the
// size after each collection as JSON. `--plant` adds a policy that keeps an object of each call that it
// sees, a fifth of all.
import { getEventListeners, setMaxListeners } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import {
  Budget,
  Bulkhead,
  Chaos,
  CircuitBreaker,
  Fallback,
  Hedge,
  onEvent,
  pipeline,
  RateLimiter,
  ResourceLock,
  RetryBudget,
  RetryPolicy,
  Timeout,
} from "../dist/policies/index.js";

const CALLS = Number(process.argv[2] ?? 1_000_000);
/** Until then it is the machine code and its profiles that grow. */
const WARM_UP = Math.max(50_000, CALLS / 5);
const SAMPLES = 20;
const AT_ONCE = 2_500;

// Stacks of errors that nobody reads would be most of the work.
Error.stackTraceLimit = 0;

const kept = [];
const planted = new Fallback({ fallback: null });
if (process.argv.includes("--plant")) {
  const { around } = planted;
  planted.around = (next) => {
    const invoke = around.call(planted, next);
    return (operation, call) => {
      kept.push({ name: `call ${kept.length}`, call });
      return invoke(operation, call);
    };
  };
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const down = () => new Error("down");

/** Every way in which an operation may behave. A late one ends after its timeout has passed. */
const OPERATIONS = [
  async () => "value",
  () => "value at once",
  async ({ signal }) => signal.aborted,
  () => Promise.reject(down()),
  () => {
    throw down();
  },
  () => sleep(4),
  () => sleep(4).then(() => Promise.reject(down())),
  ({ signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true })),
];

const retryBudget = new RetryBudget({ capacity: 10, ratio: 0.02 });
const quick = { maxAttempts: 3, initialDelayMs: 1, maxDelayMs: 2 };
const attempt = () => new Timeout({ attemptTimeoutMs: 2 });
const POLICIES = [
  pipeline(
    planted,
    new Timeout({ totalTimeoutMs: 100 }),
    new RetryPolicy({ ...quick, retryBudget }),
    new CircuitBreaker({
      name: "all",
      recoveryTimeoutMs: 1,
      window: { kind: "count", size: 50, failureRateThreshold: 0.95, minimumCalls: 40 },
    }),
    new RateLimiter({ limits: { requests: { limit: 100, intervalMs: 1 } }, maxWaitMs: 5 }),
    new Bulkhead({ maxConcurrent: 20, maxQueue: 50, queueTimeoutMs: 3 }),
    new Hedge({ delayMs: 1, maxExtraShare: 0.5, retryBudget }),
    attempt(),
    new Chaos({
      enabled: true,
      inject: [
        { rate: 0.1, latencyMs: 1 },
        { rate: 0.1, fault: down },
      ],
    }),
  ),
  pipeline(planted, new RetryPolicy(quick), attempt()),
  pipeline(new CircuitBreaker({ recoveryTimeoutMs: 1, fallback: () => "stale", fallbackOn: "any" }), attempt()),
  pipeline(new CircuitBreaker({ recoveryTimeoutMs: 2, window: { kind: "time", sizeMs: 50 } }), attempt()),
  pipeline(new Bulkhead({ maxConcurrent: 5, maxQueue: 100, queueTimeoutMs: 3 }), attempt()),
  pipeline(new ResourceLock({ acquireTimeoutMs: 3, contentionThresholdMs: 1 }), attempt()),
  pipeline(new RateLimiter({ limits: { tokens: { limit: 2, intervalMs: 1 } }, maxWaitMs: 3 }), attempt()),
  pipeline(
    new Budget({
      limitTokens: 2_000,
      estimate: 100,
      cost: () => 0,
      costOfFailure: () => 0,
      onExhausted: "queue",
      unconfirmedErrors: [],
    }),
    attempt(),
  ),
  pipeline(new Hedge({ delayMs: 1, percentile: 90, maxExtraShare: 1, maxHedges: 2 }), attempt()),
  pipeline(new Fallback({ fallback: [() => Promise.reject(down()), "stale"] }), attempt()),
];

// Somebody listens, so that events are built.
const seen = {};
onEvent(({ type }) => (seen[type] = (seen[type] ?? 0) + 1));
const unhandled = [];
process.on("unhandledRejection", (reason) => unhandled.push(String(reason)));

/** Most calls share the signal of one long life, as those of a server do; some are cancelled, at once or later. */
const life = new AbortController();
setMaxListeners(0, life.signal);
const outcomes = { value: 0, error: 0, refused: 0 };
async function call(n) {
  const policy = POLICIES[n % POLICIES.length];
  const operation = OPERATIONS[Math.floor(n / POLICIES.length) % OPERATIONS.length];
  const cancelled = n % 13 === 0 ? new AbortController() : null;
  const options = { signal: (cancelled ?? life).signal, key: `tenant ${n}` };
  if (n % 17 === 0) options.deadlineMs = n % 34 === 0 ? 3 : 0;
  const settled = policy.executeOutcome(operation, options);
  if (cancelled !== null) {
    if (n % 26 === 0) cancelled.abort();
    else setTimeout(() => cancelled.abort(), 1);
  }
  const { ok, refused } = await settled;
  outcomes[ok ? "value" : refused ? "refused" : "error"]++;
}

let made = 0;
async function run(calls) {
  for (const end = made + calls; made < end;) {
    const batch = [];
    for (let i = 0; i < AT_ONCE; i++) batch.push(call(made++));
    await Promise.all(batch);
  }
}

/** What is late comes in, and what nobody holds any more goes. */
async function heap() {
  await sleep(20);
  await turn();
  globalThis.gc();
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

await run(WARM_UP);
const heaps = [await heap()];
for (let i = 0; i < SAMPLES; i++) {
  await run(CALLS / SAMPLES);
  heaps.push(await heap());
}
const listeners = getEventListeners(life.signal, "abort").length;
const timers = process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
console.log(JSON.stringify({ calls: made - WARM_UP, heaps, outcomes, seen, unhandled, listeners, timers }));
