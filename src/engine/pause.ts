import { codeOf } from "../core/errors.ts";
import type { Runtime } from "../core/runtime.ts";

/** The waits before a store in trouble is tried again, each twice as long as the one before. */
const FIRST_MS = 250;
const LONGEST_MS = 10_000;

/** How long to wait before a run is looked at again that another engine has taken up. */
const FOLLOW_MS = 1000;

/**
 * How long a run waits before it is taken up again, after what has kept it from going on: its store is in trouble, or
 * another engine has it at the moment (C6.10).
 */
export class Pause {
  readonly #runtime: Runtime;
  readonly #patienceMs: number;
  #begunAt: number | null = null;
  #delayMs = FIRST_MS;

  constructor(runtime: Runtime, patienceMs: number) {
    this.#runtime = runtime;
    this.#patienceMs = patienceMs;
  }

  /** The next wait in milliseconds; null where the run has to stop. */
  next(error: unknown): number | null {
    if (codeOf(error) === "RUN_IN_USE") return FOLLOW_MS;
    if (codeOf(error) !== "STORE_UNAVAILABLE") return null;
    const now = this.#runtime.clock.now();
    this.#begunAt ??= now;
    if (now - this.#begunAt >= this.#patienceMs) return null;
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(delayMs * 2, LONGEST_MS);
    return delayMs;
  }

  /** The run has gone on. */
  end(): void {
    this.#begunAt = null;
    this.#delayMs = FIRST_MS;
  }
}
