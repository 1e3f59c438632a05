import { dateFrom } from "../core/clock.ts";
import type { DeadLetter } from "../core/store.ts";

/** An entry as JSON can say it: instants are ISO 8601 text, and the payload is no longer text in text. */
export interface PlainDeadLetter extends Omit<DeadLetter, "timestamp" | "nextRetryAt" | "payload" | "discarded"> {
  timestamp: string;
  nextRetryAt: string | null;
  /**
   * The input of the node. What JSON cannot say stands in it as the journal keeps it, in an object with the key `$`.
   * Null also where the input could not be stored.
   */
  payload: unknown;
  discarded?: { reason: string; at: string };
}

export function plainLetter(letter: DeadLetter): PlainDeadLetter {
  const { timestamp, nextRetryAt, payload, discarded, ...rest } = letter;
  return {
    ...rest,
    timestamp: isoText(timestamp),
    nextRetryAt: nextRetryAt === null ? null : isoText(nextRetryAt),
    payload: payload === null ? null : JSON.parse(payload),
    ...(discarded !== undefined && { discarded: { ...discarded, at: isoText(discarded.at) } }),
  };
}

function isoText(epochMs: number): string {
  return dateFrom(epochMs).toISOString();
}
