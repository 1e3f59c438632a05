import { StoreUnavailableError } from "../core/errors.ts";
import type { SharedChange, SharedState, Sharing } from "../core/shared-state.ts";

/**
 * How an update goes wrong: it is not made, or only its answer is lost; or it is not made, or not answered, until it is
 * released, which may be never.
 */
export type StateFault = "refused" | "unanswered" | "hangs" | "late" | null;

/**
 * A handle on another shared state that fails on order, as the connection of one process does. Closing it leaves the
 * state behind it open.
 */
export class FaultySharedState implements SharedState {
  /** What goes wrong with each update from now on. */
  fault: StateFault = null;
  /** Called for each update when it is asked for, with its number from 1. What it gives, other than undefined, goes wrong. */
  onUpdate: (n: number) => StateFault | undefined = () => undefined;
  /** How many updates have been asked for, and how many of them hang. */
  updates = 0;
  readonly #hanging: (() => void)[] = [];
  readonly sharing: Sharing;
  readonly #state: SharedState;

  constructor(state: SharedState) {
    this.sharing = state.sharing;
    this.#state = state;
  }

  get hanging(): number {
    return this.#hanging.length;
  }

  /** Lets the updates that hang go on, and answers those that are late. */
  release(): void {
    for (const go of this.#hanging.splice(0)) go();
  }

  #held(): Promise<void> {
    return new Promise((resolve) => this.#hanging.push(resolve));
  }

  async update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R> {
    const fault = this.onUpdate(++this.updates) ?? this.fault;
    if (fault === "hangs") await this.#held();
    if (fault === "refused") throw unreachable();
    const result = await this.#state.update(key, change);
    if (fault === "unanswered") throw unreachable();
    if (fault === "late") await this.#held();
    return result;
  }

  async close(): Promise<void> {
    this.fault = "refused";
  }
}

function unreachable(): StoreUnavailableError {
  return new StoreUnavailableError("The shared state cannot be reached: a test says so.");
}
