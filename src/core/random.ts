/** The only file that touches `Math.random` and `crypto`. */

/** A number in [0, 1), as `Math.random` gives it. */
export type Random = () => number;

/** The randomness of the machine: good for jitter, not for secrets. */
export const systemRandom: Random = () => Math.random();

/**
 * A reproducible source of randomness: the same seed gives the same numbers on every machine.
 * The generator is mulberry32 (32 bits of state), enough for tests and fault plans.
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A fresh id, unique for all practical purposes (UUID version 4). */
export function uniqueId(): string {
  return crypto.randomUUID();
}
