import { aFunction, anId, checkOptions, positiveMs, durationMs, type Rules, type Rule } from "../core/options.ts";
import { ConfigError } from "../core/errors.ts";
import type { TypedNode } from "../workflow/definition.ts";

export interface WaitOptions<T> {
  /** How long, in milliseconds, or a function of the input that says so. */
  ms?: number | ((input: T) => number) | undefined;
  /** Until when, in wall-clock milliseconds, or a function of the input that says so. */
  until?: number | ((input: T) => number) | undefined;
}

const aTime: Rule = {
  says: `${durationMs.says}, or a function of the input that gives one`,
  allows: (value) => durationMs.allows(value) || aFunction.allows(value),
};

const WAIT_RULES: Rules<WaitOptions<never>> = { ms: aTime, until: aTime };

/**
 * A node that waits durably and passes its input on: the instant at which it wakes is stored once, when it begins, so a
 * restart waits for the rest only. A run that only waits, and for longer than two seconds, keeps no lease and no slot
 * of the engine's concurrency meanwhile.
 *
 * Throws `ConfigError` unless it is given either `ms` or `until`. A function that throws, or gives no time, fails the
 * node.
 *
 * @example
 * ```ts
 * import { MemoryStore, wait, Workflow } from "holdfast";
 *
 * const reminder = new Workflow({ id: "reminder" })
 *   .addNode("pause", wait<{ text: string }>({ ms: 20 }))
 *   .addNode("send", ({ text }: { text: string }) => `Do not forget: ${text}`)
 *   .connect("pause", "send");
 *
 * console.log(await reminder.execute({ text: "the milk" }, { store: new MemoryStore() })); // => "Do not forget: the milk"
 * ```
 */
export function wait<T = unknown>(options: WaitOptions<T>): TypedNode<T, T> {
  const { ms, until } = checkOptions("wait", options, WAIT_RULES) as WaitOptions<T>;
  if ((ms === undefined) === (until === undefined))
    throw new ConfigError("wait takes either ms or until: how long, or until when.");
  const timeFrom = (time: number | ((input: T) => number), input: T): number =>
    typeof time === "function" ? time(input) : time;
  return {
    kind: "wait",
    until: (input: T, now) => (until === undefined ? now + timeFrom(ms!, input) : timeFrom(until, input)),
  };
}

export interface WaitForSignalOptions {
  /** What the signal is called. @default the id of the node */
  name?: string | undefined;
  /** How long to wait for it; then the node fails with the code `SIGNAL_TIMEOUT`. @default Infinity */
  timeoutMs?: number | undefined;
}

const SIGNAL_RULES: Rules<WaitForSignalOptions> = {
  name: anId,
  timeoutMs: {
    says: `${positiveMs.says}, or Infinity`,
    allows: (value) => value === Infinity || positiveMs.allows(value),
  },
};

/**
 * A node that waits until a person or a program tells the run something, and gives what they said: by
 * `engine.signal(runId, name, payload)` in any process on the store, or by `holdfast signal` in a terminal. A signal
 * that comes before the node is reached is kept for it. What waits keeps no lease and no process.
 *
 * @example
 * ```ts
 * import { createEngine, MemoryStore, waitForSignal, Workflow } from "holdfast";
 *
 * const refund = new Workflow({ id: "refund" })
 *   .addNode("approval", waitForSignal<{ approved: boolean }>())
 *   .addNode("pay", ({ approved }: { approved: boolean }) => (approved ? "paid" : "refused"))
 *   .connect("approval", "pay");
 *
 * const engine = createEngine({ store: new MemoryStore() });
 * const running = engine.start(refund, { order: 7 }, { runId: "refund-7" });
 * const { result } = await running;
 * await engine.signal("refund-7", "approval", { approved: true });
 * console.log((await result).output); // => "paid"
 * await engine.close();
 * ```
 */
export function waitForSignal<T = unknown>(options: WaitForSignalOptions = {}): TypedNode<unknown, T> {
  const { name, timeoutMs = Infinity } = checkOptions("waitForSignal", options, SIGNAL_RULES);
  return { kind: "signal", name, timeoutMs };
}
