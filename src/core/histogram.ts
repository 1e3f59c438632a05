/** Buckets per doubling: a quantile is at most a tenth above the true one. */
const STEPS = 8;

/** The smallest and the largest number that are told apart: with milliseconds, 1 µs and some 50 days. */
const LEAST_POWER = -10;
const MOST_POWER = 32;

const BUCKETS = (MOST_POWER - LEAST_POWER) * STEPS;

/** How numbers of 0 and more are distributed, in constant memory however many there are (C3.3). */
export class Histogram {
  count = 0;
  max = 0;
  #sum = 0;
  #zeros = 0;
  /** Most locks are free when they are asked for, so that many histograms see nothing but zeros. */
  #buckets: Float64Array | null = null;

  get mean(): number {
    return this.count === 0 ? 0 : this.#sum / this.count;
  }

  record(value: number): void {
    this.count++;
    if (value <= 0) {
      this.#zeros++;
      return;
    }
    this.#sum += value;
    this.max = Math.max(this.max, value);
    this.#buckets ??= new Float64Array(BUCKETS);
    // What is beyond the last bucket is in none: an array of this kind ignores it.
    this.#buckets[bucketOf(value)]!++;
  }

  /** A number that `share` of all, from 0 to 1, do not exceed: the upper end of its bucket. */
  quantile(share: number): number {
    let left = share * this.count - this.#zeros;
    if (left <= 0) return 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      // More than the zeros are asked for, so that there are buckets.
      left -= this.#buckets![bucket]!;
      if (left <= 0) return Math.min(this.max, 2 ** ((bucket + 1) / STEPS + LEAST_POWER));
    }
    // The rest is beyond the last bucket.
    return this.max;
  }
}

function bucketOf(value: number): number {
  return Math.max(0, Math.ceil((Math.log2(value) - LEAST_POWER) * STEPS) - 1);
}
