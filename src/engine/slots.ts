/** At most so many at a time, first come first served. */
export class Slots {
  readonly #limit: number;
  #used = 0;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  async take(): Promise<void> {
    if (this.#used < this.#limit) this.#used++;
    else await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  /** Hands the slot to whoever has waited longest. */
  give(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#used--;
    else {
      this.#waiting.delete(next);
      next();
    }
  }
}
