import { type Clock, parseDate } from "../core/clock.ts";
import { causesOf, fieldOf } from "../core/errors.ts";

/** Anything with `get`, such as `Headers`, or a plain record of headers in any case. */
export type HeaderBag = { get(name: string): string | null } | Record<string, unknown>;

function header(bag: HeaderBag, name: string): string | undefined {
  if (typeof bag.get === "function") return (bag as { get(name: string): string | null }).get(name) ?? undefined;
  const key = Object.keys(bag).find((candidate) => candidate.toLowerCase() === name);
  const value = key === undefined ? undefined : (bag as Record<string, unknown>)[key];
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === "string" || typeof first === "number" ? String(first) : undefined;
}

/** The headers of an error, of a response, or of a result that carries its response. */
export function headersOf(error: unknown): HeaderBag | undefined {
  const found =
    fieldOf(error, "headers") ?? fieldOf(error, "responseHeaders") ?? fieldOf(fieldOf(error, "response"), "headers");
  return typeof found === "object" && found !== null ? (found as HeaderBag) : undefined;
}

const isDelay = (ms: number): boolean => Number.isFinite(ms) && ms >= 0;

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
  if (typeof own === "number" && isDelay(own)) return own;
  const headers = headersOf(error);
  try {
    return headers && waitInHeaders(headers, clock);
  } catch {
    // Headers that cannot be read say nothing, and must not take the place of the error that carries them.
    return undefined;
  }
}

/** The wait that headers ask for, in milliseconds. */
export function waitInHeaders(headers: HeaderBag, clock: Clock): number | undefined {
  for (const name of ["retry-after-ms", "x-ms-retry-after-ms"]) {
    const ms = Number.parseFloat(header(headers, name) ?? "");
    if (isDelay(ms)) return ms;
  }
  const text = header(headers, "retry-after")?.trim();
  if (text === undefined || text === "") return undefined;
  // A date is wall time on both sides; one that has passed means now.
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Math.max(0, parseDate(text) - clock.wallNow());
  return isDelay(ms) ? ms : undefined;
}
