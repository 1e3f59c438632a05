import type { Call } from "../core/call.ts";
import {
  causesOf,
  codeOf,
  fieldOf,
  isFinal,
  isRefusal,
  type RetryExhaustedError,
  TimeoutError,
} from "../core/errors.ts";
import type { BreakerSettings } from "./breaker-options.ts";

/** Whether an error that ended a call says that the service is ill. What the caller has cancelled does not. */
export function isFailure({ errorFails }: BreakerSettings, error: unknown, call: Call): boolean {
  if (call.aborted && !(call.reason instanceof TimeoutError)) return false;
  return counts(errorFails, error);
}

// An exhausted retry is judged by what it last met, so that the order of the two policies hides no failure (C2.4);
// also one that something else has wrapped, which only a matcher of the user's could want to see.
function counts(errorFails: BreakerSettings["errorFails"], error: unknown): boolean {
  if (codeOf(error) === "RETRY_EXHAUSTED") return counts(errorFails, (error as RetryExhaustedError).lastError);
  if (errorFails !== undefined) return errorFails(error);
  if (isRefusal(error)) return false;
  const exhausted = causesOf(error).find((link) => codeOf(link) === "RETRY_EXHAUSTED");
  return exhausted === undefined ? !isFinal(error) || isWrongOutput(error) : counts(errorFails, exhausted);
}

// An answer that does not fit its schema is final, and yet the fault of the service that gives it.
function isWrongOutput(error: unknown): boolean {
  return causesOf(error).some((link) => codeOf(link) === "SCHEMA_MISMATCH" && fieldOf(link, "side") === "output");
}
