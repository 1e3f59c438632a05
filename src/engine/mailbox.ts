import type { Signal } from "../core/store.ts";

/** Signals that wait for a run which is carried out here, in the order in which they were sent. */
export class Mailbox {
  readonly #waiting: Signal[] = [];
  /** Also those that have been taken: the store gives a signal until the record that takes it is stored. */
  readonly #seen = new Set<string>();
  /** Told when something has come. */
  onSignal: () => void = () => {};

  deliver(signal: Signal): void {
    if (this.#seen.has(signal.id)) return;
    this.#seen.add(signal.id);
    this.#waiting.push(signal);
    this.onSignal();
  }

  has(name: string): boolean {
    return this.#waiting.some((signal) => signal.name === name);
  }

  /** The oldest signal of that name, which nobody else gets then. */
  take(name: string): Signal | undefined {
    const index = this.#waiting.findIndex((signal) => signal.name === name);
    return index === -1 ? undefined : this.#waiting.splice(index, 1)[0];
  }
}
