import { causesOf, codeOf, fieldOf } from "../core/errors.ts";
import type { Matcher } from "./matcher.ts";
import { compileMatcher, compileValueMatcher, type Matches } from "./matcher.ts";
import { headersOf } from "./retry-after.ts";

/** Too many requests, unavailable, and what some model providers say when they are overloaded. */
const STATUSES: ReadonlySet<unknown> = new Set([429, 503, 529]);

/** Of our own timeout, of sockets, and of the fetch in Node. */
const TIMEOUT_CODES: ReadonlySet<string | undefined> = new Set([
  "TIMEOUT",
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
]);

/** How to tell overload from what a call has brought. */
export interface OverloadSigns {
  inError: Matches;
  /** Undefined where no value can be one. */
  inValue: Matches | undefined;
}

const USUAL: OverloadSigns = {
  inError: (error) => causesOf(error).some((link) => hasStatus(link) || isTimeout(link)),
  // Data may well have a status of its own; with headers it is a response.
  inValue: (value) => hasStatus(value) && headersOf(value) !== undefined,
};

/** What the matcher says, or the usual signs where there is none. */
export function overloadSigns(matcher: Matcher | undefined): OverloadSigns {
  if (matcher === undefined) return USUAL;
  return { inError: compileMatcher(matcher), inValue: compileValueMatcher(matcher) };
}

function hasStatus(thing: unknown): boolean {
  return (
    STATUSES.has(fieldOf(thing, "status")) ||
    STATUSES.has(fieldOf(thing, "statusCode")) ||
    STATUSES.has(fieldOf(fieldOf(thing, "response"), "status"))
  );
}

// `AbortSignal.timeout` aborts with a DOMException of that name, whose code is a number.
function isTimeout(error: unknown): boolean {
  return TIMEOUT_CODES.has(codeOf(error)) || fieldOf(error, "name") === "TimeoutError";
}
