import { StoreUnavailableError } from "../core/errors.ts";

/**
 * Milliseconds on the clock that all processes of a machine share, which nobody can set: CLOCK_MONOTONIC on Linux and
 * what other systems have in its place. It begins anew with the machine, and stands still while that is asleep.
 */
export function machineNow(): number {
  // There it counts from the start of the process, so that no two of them would agree.
  if (process.versions["bun"] !== undefined) {
    throw new StoreUnavailableError(
      "State cannot be shared through SQLite in Bun, whose processes have no clock in common. Run on Node.",
    );
  }
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}

/** The time of a place, and what the clock of the machine showed then. */
export interface Anchor {
  readonly time: number;
  readonly machine: number;
}

/**
 * The time of a place now: the last one, and what has passed on the machine since. Where the machine has started anew
 * that is unknown, and time goes on from where it stood. It never runs backwards.
 */
export function anchoredAt(last: Anchor, machine: number): Anchor {
  return { time: last.time + Math.max(0, machine - last.machine), machine };
}
