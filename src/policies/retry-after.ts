import { type Clock, parseDate } from "../core/clock.ts";
import { causesOf, fieldOf } from "../core/errors.ts";

/** Anything with `get`, such as `Headers`, or a plain record of headers in any case. */
export type HeaderBag = { get(name: string): string | null } | Record<string, unknown>;

/** A header as text. One that is missing reads as "undefined" or "null", which is neither a number nor a date. */
function header(bag: HeaderBag, name: string): string {
  if (typeof bag.get === "function") return String((bag as { get(name: string): string | null }).get(name));
  const value: unknown = Object.entries(bag).find(([key]) => key.toLowerCase() === name)?.[1];
  return String(Array.isArray(value) ? value[0] : value);
}

/** The headers of an error, of a response, or of a result that carries its response. */
export function headersOf(error: unknown): HeaderBag | undefined {
  const found =
    fieldOf(error, "headers") ?? fieldOf(error, "responseHeaders") ?? fieldOf(fieldOf(error, "response"), "headers");
  return typeof found === "object" && found !== null ? (found as HeaderBag) : undefined;
}

const isDelay = (ms: unknown): ms is number => Number.isFinite(ms) && (ms as number) >= 0;

/**
 * How long a failed server asked us to wait, in milliseconds, or undefined where it said nothing (C1.5). Reads
 * `retryAfterMs` of our own errors, then the headers `retry-after-ms`, `x-ms-retry-after-ms` and `retry-after`
 * (seconds or an HTTP date, RFC 9110 §10.2.3) of an error, its `response`, a `Response`, or what caused it.
 */
export function retryAfterOf(error: unknown, clock: Clock): number | undefined {
  for (const link of causesOf(error)) {
    const ms = waitAskedBy(link, clock);
    if (ms !== undefined) return ms;
  }
  return undefined;
}

function waitAskedBy(error: unknown, clock: Clock): number | undefined {
  const own = fieldOf(error, "retryAfterMs");
  if (isDelay(own)) return own;
  const headers = headersOf(error);
  try {
    return headers && waitInHeaders(headers, clock);
  } catch {
    // Headers that cannot be read say nothing, and must not take the place of the error that carries them.
    return undefined;
  }
}

/** One that ends with its year, as C's asctime() writes it, says no zone and means UTC (RFC 9110 §5.6.7). */
function httpDate(text: string): number {
  return parseDate(text.replace(/ \d{4}$/, "$& UTC"));
}

/** The wait that headers ask for, in milliseconds. */
export function waitInHeaders(headers: HeaderBag, clock: Clock): number | undefined {
  for (const name of ["retry-after-ms", "x-ms-retry-after-ms"]) {
    const ms = Number.parseFloat(header(headers, name));
    if (isDelay(ms)) return ms;
  }
  const text = header(headers, "retry-after").trim();
  // A date is wall time on both sides; one that has passed means now.
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Math.max(0, httpDate(text) - clock.wallNow());
  return isDelay(ms) ? ms : undefined;
}
