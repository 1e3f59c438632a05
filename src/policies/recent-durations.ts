/** How many durations are remembered. Enough to tell the 99th percentile, and 2 kB. */
export const REMEMBERED = 128;

/**
 * The durations of the last calls and their percentiles, exactly. Beside the ring in order of time lies the same in
 * order of size, so that a percentile is one look, and a new duration moves at most 1 kB.
 */
export class RecentDurations {
  readonly #ring = new Float64Array(REMEMBERED);
  readonly #sorted = new Float64Array(REMEMBERED);
  #count = 0;
  #next = 0;

  /** How many durations it knows, up to `REMEMBERED`. */
  get count(): number {
    return this.#count;
  }

  add(durationMs: number): void {
    const sorted = this.#sorted;
    if (this.#count === REMEMBERED) {
      const gone = this.#placeOf(this.#ring[this.#next]!);
      sorted.copyWithin(gone, gone + 1, this.#count--);
    }
    const place = this.#placeOf(durationMs);
    sorted.copyWithin(place + 1, place, this.#count++);
    sorted[place] = durationMs;
    this.#ring[this.#next] = durationMs;
    this.#next = (this.#next + 1) % REMEMBERED;
  }

  /** The least duration that `percent` of those remembered do not exceed. There must be one. */
  percentile(percent: number): number {
    return this.#sorted[Math.max(0, Math.ceil((percent / 100) * this.#count) - 1)]!;
  }

  /** Where the first duration of at least this length lies in the sorted ones. */
  #placeOf(durationMs: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle]! < durationMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
