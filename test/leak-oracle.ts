import { getEventListeners } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach } from "vitest";
import { type Clock, systemClock, type Timer } from "../src/core/clock.ts";
import { DeadlineQueue } from "../src/core/deadlines.ts";
import { Slots } from "../src/core/slots.ts";
import { FakeClock } from "../src/testing/fake-clock.ts";

/**
 * Fails every test after which the package has left something behind: a timer that would keep the process alive, on
 * the clock of the machine or on a fake one, a listener on a signal, a deadline, somebody in a queue, or a rejection
 * that nobody observed (guarantees: G17).
 *
 * What a test itself leaves is its own affair: an operation that hangs, a slot that it holds. So each timer and each
 * listener remembers where it was made, and only those count that the package made.
 */

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Files that make timers and listeners for whoever calls them. */
const ON_BEHALF = /\/(leak-oracle|core\/clock|core\/call|core\/aborts|testing\/fake-clock)\.ts/;

/** Files whose timers and listeners are those of a test. */
const OF_TESTS = /\.test\.ts|\/leaky\/planted\.ts|\/src\/testing\/|\/node_modules\//;

const timers = new Map<Timer, Error>();
const listeners = new Map<AbortSignal, Map<unknown, Error>>();
const queues = new Set<DeadlineQueue>();
const slots = new Set<Slots>();
const rejections: unknown[] = [];

/** Capturing a stack costs a microsecond; its text, which is dear, is made for what was left only. */
function here(): Error {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 10;
  const place = new Error();
  Error.stackTraceLimit = limit;
  return place;
}

/** The line of the package that made something, or null where a test did. */
function madeAt(place: Error): string | null {
  const frames = (place.stack ?? "").split("\n").slice(1);
  const frame = frames.find((line) => !ON_BEHALF.test(line) && line.includes(ROOT));
  return frame === undefined || OF_TESTS.test(frame) ? null : frame.trim().replace(ROOT, "");
}

function watchTimers(clock: Pick<Clock, "timer">): void {
  const { timer } = clock;
  clock.timer = function (this: Clock, delayMs: number, fn: () => void): Timer {
    const place = here();
    const made: Timer = timer.call(this, delayMs, () => {
      timers.delete(made);
      fn();
    });
    timers.set(made, place);
    const { cancel, ref, unref } = made;
    return Object.assign(made, {
      cancel(): void {
        timers.delete(made);
        cancel.call(made);
      },
      ref(): void {
        timers.set(made, place);
        ref.call(made);
      },
      unref(): void {
        timers.delete(made);
        unref.call(made);
      },
    });
  };
}

function watchSignals(): void {
  const { addEventListener: add, removeEventListener: remove } = EventTarget.prototype;
  EventTarget.prototype.addEventListener = function (...args: Parameters<typeof add>): void {
    if (this instanceof AbortSignal && args[0] === "abort") {
      const places = listeners.get(this) ?? new Map<unknown, Error>();
      listeners.set(this, places.set(args[1], here()));
    }
    add.apply(this, args);
  };
  EventTarget.prototype.removeEventListener = function (...args: Parameters<typeof remove>): void {
    remove.apply(this, args);
    if (!(this instanceof AbortSignal) || args[0] !== "abort") return;
    const places = listeners.get(this);
    places?.delete(args[1]);
    if (places?.size === 0) listeners.delete(this);
  };
}

/** Notes each object of a class on which `method` is called. */
function note<K extends string, T extends Record<K, (...args: never[]) => unknown>>(
  prototype: T,
  method: K,
  seen: Set<T>,
): void {
  const original = prototype[method];
  prototype[method] = function (this: T, ...args: never[]): unknown {
    seen.add(this);
    return original.apply(this, args);
  } as T[K];
}

/** What the package has left behind since `forget()`, one line for each thing. */
export function leftBehind(): string[] {
  const left: string[] = [];
  const report = (what: string, place: Error | undefined): void => {
    const line = place === undefined ? null : madeAt(place);
    if (line !== null) left.push(`${what}, made ${line}`);
  };
  for (const place of timers.values()) report("a timer that is still running", place);
  for (const [signal, places] of listeners) {
    for (const listener of getEventListeners(signal, "abort"))
      report("a listener on a signal", places.get(listener as unknown));
  }
  for (const queue of queues) if (!queue.isEmpty) left.push("a deadline that is still pending");
  for (const { waiting } of slots) if (waiting > 0) left.push(`${waiting} in the queue for a slot`);
  for (const reason of rejections) left.push(`a rejection that nobody observed: ${String(reason)}`);
  return left;
}

/** Starts anew: before each test, and at the end of one that leaves calls under way which never end. */
export function forget(): void {
  for (const seen of [timers, listeners, queues, slots]) seen.clear();
  rejections.length = 0;
}

watchTimers(FakeClock.prototype);
watchTimers(Object.getPrototypeOf(systemClock) as Clock);
watchSignals();
note(DeadlineQueue.prototype, "add", queues);
note(Slots.prototype, "wait", slots);
process.on("unhandledRejection", (reason) => rejections.push(reason));

beforeEach(forget);
afterEach(async () => {
  // Rejections that nobody observes are told at the end of the turn.
  await new Promise((resolve) => setImmediate(resolve));
  const left = leftBehind();
  forget();
  if (left.length > 0) throw new Error(`The test has left behind:\n${left.map((line) => `  - ${line}`).join("\n")}`);
});
