/** Things that happen to a run while it works, handed over in batches to the one loop that deals with them. */
export class Inbox<T> {
  #items: T[] = [];
  #failure: { error: unknown } | null = null;
  #nudged = false;
  #wake: (() => void) | null = null;

  put(item: T): void {
    this.#items.push(item);
    this.nudge();
  }

  /** Makes `take` return, also with nothing. */
  nudge(): void {
    this.#nudged = true;
    this.#wake?.();
    this.#wake = null;
  }

  /** Makes `take` reject from now on. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.nudge();
  }

  /** All that has come since the last time; waits until something has. */
  async take(): Promise<T[]> {
    if (!this.#nudged) await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.#failure !== null) throw this.#failure.error;
    this.#nudged = false;
    const items = this.#items;
    this.#items = [];
    return items;
  }
}
