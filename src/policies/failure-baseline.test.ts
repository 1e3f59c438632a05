import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { seededRandom } from "../core/random.ts";
import { type AdaptiveOptions, adaptiveSettings, FailureBaseline } from "./failure-baseline.ts";

const make = (options: AdaptiveOptions = {}): FailureBaseline => new FailureBaseline(adaptiveSettings(options)!);

/** Traffic with independent failures; a step of time lies between the calls. */
class Service {
  readonly baseline: FailureBaseline;
  readonly #random: () => number;
  readonly #stepMs: number;
  #now = 0;

  constructor(seed: number, options: AdaptiveOptions = {}, stepMs = 10) {
    this.baseline = make(options);
    this.#random = seededRandom(seed);
    this.#stepMs = stepMs;
  }

  call(failureRate: number): boolean {
    return this.baseline.record(this.#random() < failureRate, (this.#now += this.#stepMs));
  }

  /** How often it has risen in so many calls, each time beginning again. */
  rises(calls: number, failureRate: number): number {
    let rises = 0;
    for (let n = 0; n < calls; n++) {
      if (!this.call(failureRate)) continue;
      rises++;
      this.baseline.acquit();
    }
    return rises;
  }

  /** How many calls it takes to notice a rate; `most` where it does not. */
  delay(failureRate: number, most = 5_000): number {
    for (let n = 1; n < most; n++) if (this.call(failureRate)) return n;
    return most;
  }
}

describe("at a steady failure rate", () => {
  test("whatever it is, it is taken for a rise once in callsPerFalseOpening calls at most, on average (C2.1)", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(),
        fc.constantFrom(500, 2_000),
        fc.constantFrom(1, 100, 60_000),
        (rate, seed, callsPerFalseOpening, stepMs) => {
          const calls = 40_000;
          const rises = new Service(seed, { callsPerFalseOpening }, stepMs).rises(calls, rate);
          // Three standard deviations of a count with this mean: what is allowed is the mean, and this is one sample.
          const mean = calls / callsPerFalseOpening;
          expect(rises).toBeLessThanOrEqual(mean + 3 * Math.sqrt(mean));
        },
      ),
      { numRuns: 60 },
    );
  });

  test("by default not once in a million calls, as rare or frequent as failures are (C2.1)", () => {
    for (const rate of [0, 0.001, 0.05, 0.2, 0.5, 1]) expect(new Service(11).rises(300_000, rate)).toBe(0);
  });

  test("the rate is learnt, also with the failures among it that looked like a rise for a while", () => {
    for (const rate of [0.001, 0.05, 0.3]) {
      const service = new Service(5);
      service.rises(100_000, rate);
      expect(Math.abs(service.baseline.rate - rate)).toBeLessThan(0.004);
    }
  });
});

describe("a rise", () => {
  test.each([
    // from, to, how many calls it takes in the worst of five hundred histories, and in one of two
    [0.001, 1, 8, 6],
    [0.001, 0.3, 100, 30],
    [0.01, 0.5, 60, 16],
    [0.05, 0.3, 250, 70],
    [0.05, 1, 15, 13],
    [0.1, 0.5, 130, 40],
  ])(
    "from %d to %d after a thousand calls is noticed within %d calls, mostly within %d (C2.1)",
    (from, to, ...most) => {
      const delays = Array.from({ length: 500 }, (_, seed) => {
        const service = new Service(seed);
        expect(service.rises(1_000, from)).toBe(0);
        return service.delay(to);
      }).toSorted((a, b) => a - b);
      expect([delays.at(-1)! <= most[0]!, delays[250]! <= most[1]!]).toEqual([true, true]);
    },
  );

  test("does not become normal while it is looked at", () => {
    const service = new Service(3);
    service.rises(2_000, 0.001);
    const normal = service.baseline.rate;
    service.delay(0.3);
    expect(service.baseline.rate).toBeLessThan(normal + 0.003);
  });

  test("to what is not bad is none, and becomes normal: two failures of a hundred are no reason to refuse the others", () => {
    expect(new Service(8).rises(5_000, 0.001)).toBe(0);
    const service = new Service(8);
    service.rises(5_000, 0.001);
    expect(service.delay(0.02, 50_000)).toBe(50_000);
    expect(service.baseline.rate).toBeGreaterThan(0.015);
  });

  test("of one that fails more than a third of its calls, or has hardly been called, is not for it to tell", () => {
    const service = new Service(4);
    service.rises(2_000, 0.45);
    expect(service.delay(1)).toBe(5_000);
    expect(make().record(true, 0)).toBe(false);
    expect(new Service(4).delay(1)).toBe(5_000);
  });

  test("takes six failures at least, however good the service has been", () => {
    const service = new Service(1);
    service.rises(1_000_000, 0);
    expect(service.delay(1)).toBe(6);
  });

  test("is looked for by the rate that one says, and as surely as one says", () => {
    const delays = [{}, { badRate: 0.5 }, { callsPerFalseOpening: 1_000 }].map((options) => {
      const service = new Service(2, options);
      service.rises(5_000, 0.001);
      return service.delay(0.3);
    });
    expect(delays[1]).toBeGreaterThan(delays[0]!);
    expect(delays[2]).toBeLessThan(delays[0]!);
  });
});

describe("what a call says", () => {
  /** The failure rate that has been learnt after so many calls in one instant, and one failure more. */
  function rateAfter(failures: number, successes: number): number {
    const baseline = make();
    for (let n = 0; n < failures; n++) baseline.record(true, 0);
    for (let n = 0; n < successes; n++) baseline.record(false, 0);
    baseline.record(true, 0);
    return baseline.rate;
  }

  test.each([
    // How many calls it takes until three times the upper end of the interval is less than all calls.
    [0, 19],
    [3, 34],
    [5, 43],
  ])("with %d failures, nothing can be told in the first %d calls, so all is learnt (C2.1)", (failures, calls) => {
    const successes = calls - failures;
    expect(rateAfter(failures, successes - 1)).toBeCloseTo((failures + 1) / calls);
    // From there on a failure is looked at first.
    expect(rateAfter(failures, successes)).toBeCloseTo(failures / calls);
  });

  test("a failure is looked at until twelve successes have outweighed it: ln(10) against 12 ln(0.98 / 0.8) (C2.1)", () => {
    const baseline = make();
    for (let n = 0; n < 1_000; n++) baseline.record(false, 0);
    baseline.record(true, 0);
    for (let n = 0; n < 11; n++) baseline.record(false, 0);
    expect(baseline.rate).toBe(0);
    baseline.record(false, 0);
    expect(baseline.rate).toBeCloseTo(1 / 1_013);
  });

  test("evidence that is just enough is enough: two failures, where one false opening in a hundred is allowed (C2.1)", () => {
    const baseline = make({ callsPerFalseOpening: 100 });
    for (let n = 0; n < 1_000; n++) baseline.record(false, 0);
    expect([1, 2].map(() => baseline.record(true, 0))).toEqual([false, true]);
  });
});

test("it is off unless asked for, and true asks for the defaults (C2.1)", () => {
  expect(adaptiveSettings(false)).toBeUndefined();
  expect(adaptiveSettings(true)).toEqual({ badRate: 0.2, callsPerFalseOpening: 1_000_000, memoryMs: 3_600_000 });
});

test("what was seen fades with time, and only with time", () => {
  const baseline = make({ memoryMs: 1_000 });
  for (let n = 0; n < 100; n++) baseline.record(n % 2 === 0, 0);
  expect(baseline.rate).toBeCloseTo(0.5);
  // After 1 000 ms the hundred weigh 36.8, as do as many new ones.
  for (let n = 0; n < 37; n++) baseline.record(false, 1_000);
  expect(baseline.rate).toBeCloseTo(0.25, 2);
});

test("acquit() forgets what is suspicious and keeps what is normal, and clear() forgets both", () => {
  const service = new Service(1);
  service.rises(10_000, 0.1);
  const { baseline } = service;
  const normal = baseline.rate;
  service.delay(1);
  baseline.acquit();
  expect(baseline.rate).toBe(normal);
  // It takes as many failures again.
  expect(service.delay(1)).toBeGreaterThan(8);
  baseline.clear();
  expect(baseline.rate).toBe(0);
  expect(service.delay(1)).toBe(5_000);
});

test.each([
  [{ badRate: 0 }, "circuitBreaker.adaptive.badRate must be a number from 0.01 to 0.99"],
  [{ badRate: 1 }, "badRate"],
  [{ callsPerFalseOpening: 10 }, "callsPerFalseOpening must be a number from 100"],
  [{ memoryMs: 0 }, "memoryMs must be a number of milliseconds above 0"],
  [{ sensitivity: 1 }, 'circuitBreaker.adaptive has no option "sensitivity"'],
] as [AdaptiveOptions, string][])("%o is refused (C0.3)", (options, said) => {
  expect(() => adaptiveSettings(options)).toThrow(ConfigError);
  expect(() => adaptiveSettings(options)).toThrow(said);
});
