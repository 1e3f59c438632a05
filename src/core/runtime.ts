import { type Clock, systemClock } from "./clock.ts";
import { type EventListener, Events } from "./events.ts";
import { type Random, systemRandom } from "./random.ts";

/** What a policy or an engine takes from the outside world: time, randomness, and where its events go. */
export interface Runtime {
  readonly clock: Clock;
  readonly random: Random;
  readonly events: Events;
}

/** The runtime of the process, used wherever none is given. Creating it starts nothing. */
export const systemRuntime: Runtime = {
  clock: systemClock,
  random: systemRandom,
  events: new Events(systemClock),
};

/**
 * Calls `listener` with every event of the process; the returned function ends that (C10.6).
 *
 * @example
 * ```ts
 * import { onEvent, RetryPolicy } from "holdfast/policies";
 *
 * const waits: number[] = [];
 * const stop = onEvent((event) => {
 *   if (event.type === "retry.scheduled") waits.push(event.attempt);
 * });
 * const retry = new RetryPolicy({ name: "flaky", initialDelayMs: 1 });
 * await retry.execute(({ attempt }) => (attempt < 3 ? Promise.reject(new Error("no")) : "yes"));
 * stop();
 * console.log(waits); // => [1, 2]
 * ```
 */
export function onEvent(listener: EventListener): () => void {
  return systemRuntime.events.on(listener);
}
