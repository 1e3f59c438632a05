import { type Clock, parseDate, systemClock } from "../core/clock.ts";
import { type HeaderBag, waitInHeaders } from "./retry-after.ts";

/** What a server says of one of its limits. */
export interface UpstreamLimit {
  limit?: number;
  remaining?: number;
  /** Until all of it is there again, in milliseconds. */
  resetMs?: number;
}

/** What the headers of one response say about limits. What they do not say is absent. */
export interface RateSnapshot {
  requests?: UpstreamLimit;
  tokens?: UpstreamLimit;
  inputTokens?: UpstreamLimit;
  outputTokens?: UpstreamLimit;
  /** The server asked to be left alone for so long. */
  retryAfterMs?: number;
}

const KINDS = [
  ["requests", "requests"],
  ["tokens", "tokens"],
  ["inputTokens", "input-tokens"],
  ["outputTokens", "output-tokens"],
] as const;

/** How OpenAI and those who follow it, and how Anthropic, name a header. */
const SPELLINGS = [
  (kind: string, what: string): string => `x-ratelimit-${what}-${kind}`,
  (kind: string, what: string): string => `anthropic-ratelimit-${kind}-${what}`,
];

/**
 * Reads the limits that a server states in its headers: `x-ratelimit-*`, `anthropic-ratelimit-*` and the `retry-after`
 * family. Undefined where they state none. Values that make no sense are taken as absent, and so are negative ones,
 * which Azure sends for "no such limit".
 *
 * @example
 * ```ts
 * import { readRateSnapshot } from "holdfast/policies";
 *
 * const headers = { "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "6m0s" };
 * console.log(readRateSnapshot(headers)); // => { requests: { remaining: 59, resetMs: 360000 } }
 * ```
 */
export function readRateSnapshot(headers: HeaderBag, clock: Clock = systemClock): RateSnapshot | undefined {
  const get = reader(headers);
  const snapshot: RateSnapshot = {};
  for (const [kind, name] of KINDS) {
    const limit = upstreamLimit(name, get, clock);
    if (limit !== undefined) snapshot[kind] = limit;
  }
  const retryAfterMs = waitInHeaders(headers, clock);
  if (retryAfterMs !== undefined) snapshot.retryAfterMs = retryAfterMs;
  return Object.keys(snapshot).length === 0 ? undefined : snapshot;
}

type Reader = (name: string) => unknown;

/** A record of headers may have them in any case, and is asked for many: it is looked through once. */
function reader(headers: HeaderBag): Reader {
  if (typeof headers.get === "function") return (name) => (headers as { get: Reader }).get(name);
  const lower = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return (name) => lower.get(name);
}

function upstreamLimit(kind: string, get: Reader, clock: Clock): UpstreamLimit | undefined {
  for (const spell of SPELLINGS) {
    const limit = amountOf(get(spell(kind, "limit")));
    const remaining = amountOf(get(spell(kind, "remaining")));
    const resetMs = untilReset(get(spell(kind, "reset")), clock);
    // Without a limit or a rest, a time says nothing.
    if (limit === undefined && remaining === undefined) continue;
    return {
      ...(limit !== undefined && { limit }),
      ...(remaining !== undefined && { remaining }),
      ...(resetMs !== undefined && { resetMs }),
    };
  }
  return undefined;
}

const NUMBER = /^\d{1,15}(\.\d{1,15})?$/;

function amountOf(value: unknown): number | undefined {
  const text = String(value).trim();
  return NUMBER.test(text) ? Number(text) : undefined;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A span such as `6m0s` or `12ms`, a number of seconds, or the date and time in ISO 8601. */
function untilReset(value: unknown, clock: Clock): number | undefined {
  const text = String(value).trim();
  if (NUMBER.test(text)) return Number(text) * 1_000;
  const parts = [...text.matchAll(/(\d{1,15}(?:\.\d{1,15})?)(ms|[smhd])/g)];
  if (parts.length > 0 && parts.map(([part]) => part).join("") === text)
    return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * UNIT_MS[unit!]!, 0);
  // A date is wall time on both sides; one that has passed means now.
  const ms = /^\d{4}-/.test(text) ? parseDate(text) - clock.wallNow() : NaN;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
