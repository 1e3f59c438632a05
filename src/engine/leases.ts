import type { Timer } from "../core/clock.ts";
import { LeaseLostError } from "../core/errors.ts";
import type { Runtime } from "../core/runtime.ts";
import type { Signal, Store } from "../core/store.ts";
import type { Journal } from "./journal.ts";

/**
 * Keeps the leases of the runs that are active here from running out, and tells a run that has lost its. Only a
 * courtesy: each write checks its own lease, so a heartbeat that comes too late costs a takeover and nothing else.
 * With each heartbeat it looks for signals that other processes have sent to these runs.
 */
export class Leases {
  readonly #store: Store;
  readonly #runtime: Runtime;
  readonly #owner: string;
  readonly #leaseMs: number;
  readonly #onSignal: (signal: Signal) => void;
  readonly #held = new Map<string, Journal>();
  #timer: Timer | null = null;

  constructor(store: Store, runtime: Runtime, owner: string, leaseMs: number, onSignal: (signal: Signal) => void) {
    this.#store = store;
    this.#runtime = runtime;
    this.#owner = owner;
    this.#leaseMs = leaseMs;
    this.#onSignal = onSignal;
  }

  hold(journal: Journal): void {
    this.#held.set(journal.runId, journal);
    if (this.#timer === null) this.#arm();
  }

  drop(journal: Journal): void {
    this.#held.delete(journal.runId);
    if (this.#held.size > 0) return;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(): void {
    // While a renewal was on its way, all runs may have been dropped and a new one held, which armed it already.
    this.#timer?.cancel();
    this.#timer = this.#runtime.clock.timer(this.#leaseMs / 3, () => void this.#renew());
    // The runs that are waited for keep the process alive, not their leases.
    this.#timer.unref();
  }

  async #renew(): Promise<void> {
    const journals = [...this.#held.values()];
    try {
      const lost = new Set(
        await this.#store.renew(
          this.#owner,
          journals.map((journal) => journal.runId),
          this.#leaseMs,
        ),
      );
      for (const journal of journals) {
        // One that has ended, or is parked, gives its lease back with the record that says so.
        const { status } = journal.state;
        const isHeld = this.#held.has(journal.runId) && (status === "running" || status === "new");
        if (lost.has(journal.runId) && isHeld) journal.abandon(new LeaseLostError(journal.runId, journal.token));
      }
      // Other processes send them to the store; those of this one have been delivered.
      for (const signal of await this.#store.signals({ owner: this.#owner })) this.#onSignal(signal);
    } catch {
      // A store in trouble fails the next write too, and that one knows which run it was for.
    }
    if (this.#held.size > 0) this.#arm();
  }
}
