// Processes that share a breaker, each with a clock, a connection and events of its own.
import { expect } from "vitest";
import { Events, type HoldfastEvent } from "../src/core/events.ts";
import { seededRandom } from "../src/core/random.ts";
import type { Runtime } from "../src/core/runtime.ts";
import type { CircuitBreakerOptions } from "../src/policies/breaker-options.ts";
import { CircuitBreaker } from "../src/policies/circuit-breaker.ts";
import { MemorySharedState } from "../src/stores/memory-shared-state.ts";
import { FakeClock, record } from "../src/testing/fake-clock.ts";
import { FaultySharedState } from "../src/testing/faulty-shared-state.ts";

export const down: Error = new Error("down");
export const fail = (): Promise<never> => Promise.reject(down);

/** A process: a breaker with a clock, a connection to the shared state and events of its own. */
export interface Process {
  breaker: CircuitBreaker;
  clock: FakeClock;
  state: FaultySharedState;
  events: HoldfastEvent[];
  runtime: Runtime;
}

/** Processes whose clocks have nothing in common but that they go equally fast. */
export class Fleet {
  readonly processes: Process[] = [];
  readonly #clock = new FakeClock();
  readonly #place = new MemorySharedState({ clock: this.#clock });
  readonly #options: CircuitBreakerOptions<never>;

  constructor(options: CircuitBreakerOptions<never> = {}) {
    this.#options = { failureThreshold: 3, recoveryTimeoutMs: 1_000, successThreshold: 1, ...options };
  }

  async join(options: CircuitBreakerOptions<never> = {}): Promise<Process> {
    const clock = new FakeClock();
    await clock.advance(this.processes.length * 12_345);
    const runtime = { clock, random: seededRandom(this.processes.length + 1), events: new Events(clock) };
    const state = new FaultySharedState(this.#place);
    const breaker = new CircuitBreaker<never>({ ...this.#options, sharedState: state, ...options }, runtime);
    const process = { breaker, clock, state, events: record(runtime.events), runtime };
    this.processes.push(process);
    return process;
  }

  async pass(ms: number): Promise<void> {
    await this.#clock.advance(ms);
    for (const { clock } of this.processes) await clock.advance(ms);
  }

  /** Time for a look at the record, and the call that makes it. */
  async look(...those: Process[]): Promise<void> {
    await this.pass(250);
    for (const { breaker } of those) await breaker.executeOutcome(() => 1);
    await this.pass(0);
  }
}

export async function two(options: CircuitBreakerOptions<never> = {}): Promise<[Process, Process, Fleet]> {
  const fleet = new Fleet(options);
  const [a, b] = [await fleet.join(), await fleet.join()];
  await fleet.look(a, b);
  return [a, b, fleet];
}

/** Two processes whose breaker has just opened, and both know. */
export async function open(options: CircuitBreakerOptions<never> = {}): Promise<[Process, Process, Fleet]> {
  const [a, b, fleet] = await two(options);
  for (let n = 0; n < 3; n++) await a.breaker.executeOutcome(fail);
  await fleet.look(b);
  expect([a.breaker.state, b.breaker.state]).toEqual(["OPEN", "OPEN"]);
  return [a, b, fleet];
}

/** A call that settles when it is told to. */
export function held({ breaker }: Process): {
  calls: number;
  end(error?: Error): void;
  settled: Promise<{ ok: boolean }>;
} {
  let end = (_error?: Error): void => {};
  const call = { calls: 0, end: (error?: Error) => end(error), settled: Promise.resolve({ ok: false }) };
  call.settled = breaker.executeOutcome(() => {
    call.calls++;
    return new Promise<void>((resolve, reject) => {
      end = (error) => (error === undefined ? resolve() : reject(error));
    });
  });
  return call;
}

export const types = ({ events }: Process): string[] => events.map(({ type }) => type);
export const permitted = async ({ breaker }: Process): Promise<boolean> => (await breaker.executeOutcome(() => 1)).ok;
