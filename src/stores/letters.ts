import type { DeadLetter, DeadLetterStatus } from "../core/store.ts";

/** Whether an entry stands where somebody saw it stand: nobody has redriven or discarded it since. */
export function isUnchanged(now: DeadLetter, seen: DeadLetter): boolean {
  const isDiscarded = (letter: DeadLetter): boolean => letter.discarded !== undefined;
  return now.status === seen.status && now.retryCount === seen.retryCount && isDiscarded(now) === isDiscarded(seen);
}

/** Counts of entries by status, before any is counted. */
export function noLetters(): Record<DeadLetterStatus, number> {
  return { pending: 0, retrying: 0, succeeded: 0, permanent_failure: 0 };
}
