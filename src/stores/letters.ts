import type { DeadLetterStatus } from "../core/store.ts";

/** Counts of entries by status, before any is counted. */
export function noLetters(): Record<DeadLetterStatus, number> {
  return { pending: 0, retrying: 0, succeeded: 0, permanent_failure: 0 };
}
