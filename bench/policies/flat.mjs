// Whether a failing call costs the same with many calls in the window as with none: the window is filled anew for each
// sample, and a sample is so short that it hardly adds to it.
import Opossum from "opossum";
import { circuitBreaker, handleAll, SamplingBreaker } from "cockatiel";
import { CircuitBreaker } from "../../dist/policies/index.js";
import { fail, fn, swallow } from "./operation.mjs";

const WINDOW_MS = 60_000;
const SAMPLE_NS = 5e6;
const LEAST_CALLS = 20;
/** Few beside those in the full window. */
const MOST_CALLS = 2000;

/** Each makes a breaker that never opens, as `{ call(operation), close() }`. */
const makers = {
  ours() {
    const window = { kind: "time", sizeMs: WINDOW_MS, failureRateThreshold: 1, minimumCalls: 1e9 };
    const breaker = new CircuitBreaker({ window });
    return { call: (operation) => breaker.execute(operation), close() {} };
  },
  cockatiel() {
    const sampling = new SamplingBreaker({ threshold: 0.99, duration: WINDOW_MS, minimumRps: 1e9 });
    const breaker = circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: sampling });
    return { call: (operation) => breaker.execute(operation), close() {} };
  },
  opossum() {
    const options = { timeout: false, rollingCountTimeout: WINDOW_MS, volumeThreshold: 1e9, enableSnapshots: false };
    const breaker = new Opossum((operation) => operation(), options);
    return { call: (operation) => breaker.fire(operation), close: () => breaker.shutdown() };
  },
};

/** Answers the nanoseconds of a failing call with `filled` calls in the window. */
const sampler = (make, filled) => async () => {
  const breaker = make();
  for (let i = 0; i < filled; i++) await breaker.call(fn);
  const failing = swallow(() => breaker.call(fail));
  let calls = 0;
  let time = 0;
  const start = process.hrtime.bigint();
  for (; calls < MOST_CALLS && (calls < LEAST_CALLS || time < SAMPLE_NS); calls += LEAST_CALLS) {
    for (let i = 0; i < LEAST_CALLS; i++) await failing();
    time = Number(process.hrtime.bigint() - start);
  }
  breaker.close();
  return time / calls;
};

/** By contender: a sampler with an empty window, and one with 30 000 calls in it. */
export const flatSamples = Object.fromEntries(
  Object.entries(makers).map(([name, make]) => [name, { empty: sampler(make, 0), full: sampler(make, 30_000) }]),
);
