import { type Clock, systemClock } from "../core/clock.ts";
import { StoreUnavailableError } from "../core/errors.ts";
import type { SharedChange, SharedState, Sharing } from "../core/shared-state.ts";
import { sharing } from "../policies/sharing.ts";
import { type Change, changed, type StateEntry } from "./state-entry.ts";

/** How many entries each update looks at for ones that are gone: more than it can add, so that they cannot pile up. */
const SWEPT_PER_UPDATE = 4;

/** Shared state in memory: for tests, and for policies of one process that are to act as one. */
export class MemorySharedState implements SharedState {
  readonly sharing: Sharing = sharing;
  readonly #clock: Clock;
  readonly #entries = new Map<string, StateEntry>();
  #sweep: MapIterator<[string, StateEntry]>;
  #closed = false;

  constructor(options: { clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#sweep = this.#entries.entries();
  }

  // The change is made at once, before anybody else can come in between.
  async update<T, R>(key: string, change: (last: T | undefined, now: number) => SharedChange<T, R>): Promise<R> {
    if (this.#closed) throw new StoreUnavailableError("The shared state in memory is closed.");
    const now = this.#clock.now();
    this.#sweepSome(now);
    const { entry, result } = changed(this.#entries.get(key), now, change as Change);
    if (entry === undefined) this.#entries.delete(key);
    else this.#entries.set(key, entry);
    return result as R;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#entries.clear();
  }

  /** How many entries are kept, those included that are gone and not swept yet. */
  get size(): number {
    return this.#entries.size;
  }

  #sweepSome(now: number): void {
    for (let looked = 0; looked < SWEPT_PER_UPDATE; looked++) {
      const step = this.#sweep.next();
      if (step.done === true) {
        this.#sweep = this.#entries.entries();
        return;
      }
      const [key, { until }] = step.value;
      if (until <= now) this.#entries.delete(key);
    }
  }
}
