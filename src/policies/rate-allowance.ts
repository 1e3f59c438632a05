/** Waits up to a microsecond are none: more than rounding can amount to, so that no timer is set for what it left. */
export const SLACK_MS = 0.001;

/** How much may still be taken of one thing, such as requests. Amounts are any numbers from 0; instants are monotonic. */
export interface Allowance {
  /** The most that there can be at a time. */
  readonly capacity: number;
  available(now: number): number;
  /** How long until `amount` can be taken: 0 where it can be now. Also for more than the capacity, for a queue of calls. */
  waitMs(amount: number, now: number): number;
  /** Takes it, also where it is not there: what is missing is then owed. */
  take(amount: number, now: number): void;
  /** Returns part of what was taken at the instant `takenAt`. */
  giveBack(amount: number, takenAt: number): void;
  save(): SavedAllowance;
  /** Takes over what another has left, also one with other settings. Its clock is `aheadMs` behind the one of `now`. */
  load(saved: SavedAllowance, now: number, aheadMs?: number): void;
}

/** An allowance as plain data: that of a token bucket, or that of a sliding window. */
export type SavedAllowance = { fullAt: number; unitMs: number } | { parts: Part[]; intervalMs: number };

/** What was taken between two instants. */
type Part = [amount: number, firstAt: number, lastAt: number];

/** How long until nothing of it counts any more. */
export function restMs(saved: SavedAllowance, now: number): number {
  if ("fullAt" in saved) return Math.max(0, saved.fullAt - now);
  return Math.max(0, (saved.parts.at(-1)?.[2] ?? -Infinity) + saved.intervalMs - now);
}

/**
 * A bucket of `burst` units that refills steadily, `limit` of them in each `intervalMs`. In any stretch of time t it
 * gives at most `burst + limit * t / intervalMs`.
 *
 * All its state is the instant at which it would be full. So it needs no refilling, and rounding never adds up; a
 * reading of the clock that lies before an earlier one finds less in it, never more.
 */
export class TokenBucket implements Allowance {
  readonly capacity: number;
  readonly #unitMs: number;
  #fullAt = -Infinity;

  constructor(limit: number, intervalMs: number, burst: number) {
    this.capacity = burst;
    this.#unitMs = intervalMs / limit;
  }

  available(now: number): number {
    return this.capacity - Math.max(0, this.#fullAt - now) / this.#unitMs;
  }

  waitMs(amount: number, now: number): number {
    return Math.max(0, Math.max(this.#fullAt - now, 0) + (amount - this.capacity) * this.#unitMs);
  }

  take(amount: number, now: number): void {
    this.#fullAt = Math.max(this.#fullAt, now) + amount * this.#unitMs;
  }

  giveBack(amount: number): void {
    this.#fullAt -= amount * this.#unitMs;
  }

  save(): SavedAllowance {
    return { fullAt: this.#fullAt, unitMs: this.#unitMs };
  }

  load(saved: SavedAllowance, now: number, aheadMs = 0): void {
    this.#fullAt = -Infinity;
    if ("parts" in saved) {
      for (const [amount] of saved.parts) this.take(amount, now);
      return;
    }
    const fullAt = saved.fullAt + aheadMs;
    // What is owed are units, which another bucket takes another time to fill.
    this.#fullAt = saved.unitMs === this.#unitMs ? fullAt : now + ((fullAt - now) / saved.unitMs) * this.#unitMs;
  }
}

/** What is taken within one part of the interval leaves the window together. */
const PARTS = 60;

/** Room for the parts of a window, the one that is leaving and the one that is coming. A power of two. */
const RING = 64;

/**
 * At most `limit` units in any window of `intervalMs`, wherever it begins. What is taken within a 60th of the interval
 * leaves the window together, when the last of it must: so memory is constant, and room may come back that much late
 * under steady load, never early.
 */
export class SlidingWindow implements Allowance {
  readonly capacity: number;
  readonly #intervalMs: number;
  readonly #amounts = new Float64Array(RING);
  readonly #firstAt = new Float64Array(RING);
  readonly #lastAt = new Float64Array(RING);
  #oldest = 0;
  #count = 0;
  #used = 0;

  constructor(limit: number, intervalMs: number) {
    this.capacity = limit;
    this.#intervalMs = intervalMs;
  }

  available(now: number): number {
    this.#expire(now);
    return this.capacity - this.#used;
  }

  // What is given now comes back an interval later, so a queue that is longer than the window is served in rounds.
  waitMs(amount: number, now: number): number {
    this.#expire(now);
    let missing = this.#used + amount - this.capacity;
    if (missing <= 0) return 0;
    let rounds = 0;
    if (missing > this.#used) {
      rounds = Math.ceil((missing - this.#used) / this.capacity);
      missing -= rounds * this.capacity;
      if (missing <= 0) return rounds * this.#intervalMs;
    }
    let part = this.#oldest;
    for (let i = 1, freed = this.#amounts[part]!; i < this.#count && freed < missing; i++) {
      part = (part + 1) % RING;
      freed += this.#amounts[part]!;
    }
    return Math.max(0, this.#lastAt[part]! + (rounds + 1) * this.#intervalMs - now);
  }

  take(amount: number, now: number): void {
    if (amount === 0) return;
    this.#expire(now);
    this.#add(amount, now, now);
  }

  giveBack(amount: number, takenAt: number): void {
    for (let i = this.#count - 1; i >= 0; i--) {
      const part = (this.#oldest + i) % RING;
      if (takenAt < this.#firstAt[part]!) continue;
      this.#amounts[part]! -= amount;
      this.#used -= amount;
      return;
    }
  }

  save(): SavedAllowance {
    const parts: Part[] = [];
    for (let i = 0; i < this.#count; i++) {
      const part = (this.#oldest + i) % RING;
      parts.push([this.#amounts[part]!, this.#firstAt[part]!, this.#lastAt[part]!]);
    }
    return { parts, intervalMs: this.#intervalMs };
  }

  load(saved: SavedAllowance, now: number, aheadMs = 0): void {
    this.#count = this.#used = 0;
    if ("fullAt" in saved) return this.take(Math.max(0, saved.fullAt + aheadMs - now) / saved.unitMs, now);
    for (const [amount, firstAt, lastAt] of saved.parts) this.#add(amount, firstAt + aheadMs, lastAt + aheadMs);
  }

  #add(amount: number, firstAt: number, lastAt: number): void {
    const newest = (this.#oldest + this.#count + RING - 1) % RING;
    if (this.#count > 0 && firstAt - this.#firstAt[newest]! < this.#intervalMs / PARTS) {
      this.#amounts[newest]! += amount;
      this.#lastAt[newest] = Math.max(lastAt, this.#lastAt[newest]!);
    } else {
      const part = (this.#oldest + this.#count++) % RING;
      this.#amounts[part] = amount;
      this.#firstAt[part] = firstAt;
      this.#lastAt[part] = lastAt;
    }
    this.#used += amount;
  }

  #expire(now: number): void {
    while (this.#count > 0 && this.#lastAt[this.#oldest]! + this.#intervalMs <= now + SLACK_MS) {
      this.#used -= this.#amounts[this.#oldest]!;
      this.#oldest = (this.#oldest + 1) % RING;
      this.#count--;
    }
    // Sums of fractions drift; an empty window is empty.
    if (this.#count === 0) this.#used = 0;
  }
}
