import { expect, test } from "vitest";
import { HoldfastError, isRefusal, RefusedError } from "./errors.ts";
import {
  BudgetExceededError,
  BulkheadFullError,
  ContentionDetectedError,
  OverloadShedError,
  RateLimitedError,
} from "./policy-errors.ts";

const shortfall = { requested: 3, spent: 8, reserved: 1.5, limit: 10 };

/** Each refusal with its code, its fields, and what its message must tell. */
const REFUSALS: [RefusedError, string, string, object, string][] = [
  [
    new BudgetExceededError("research", "usd", shortfall),
    "BudgetExceededError",
    "BUDGET_EXCEEDED",
    { budgetName: "research", unit: "usd", ...shortfall, spentUsd: 8, budgetUsd: 10 },
    'Budget "research" does not cover 3 USD: 8 of 10 USD are spent and 1.5 are held for calls under way or unconfirmed. Raise the limit',
  ],
  [
    new BudgetExceededError("research", "tokens", shortfall),
    "BudgetExceededError",
    "BUDGET_EXCEEDED",
    { unit: "tokens", ...shortfall, spentUsd: undefined, budgetUsd: undefined },
    'Budget "research" does not cover 3 tokens: 8 of 10 tokens are spent',
  ],
  [
    new BulkheadFullError("db", 4, 0, 0),
    "BulkheadFullError",
    "BULKHEAD_FULL",
    { bulkheadName: "db", waitMs: 0 },
    'Bulkhead "db" is full: all 4 slots are taken, and there is no queue. Send less, or raise its limits.',
  ],
  [
    new BulkheadFullError("db", 4, 9, 0),
    "BulkheadFullError",
    "BULKHEAD_FULL",
    { bulkheadName: "db", waitMs: 0 },
    "all 4 slots are taken, and so are all 9 places in its queue. Send less, or raise its limits.",
  ],
  [
    new BulkheadFullError("db", 4, 9, 29.5),
    "BulkheadFullError",
    "BULKHEAD_FULL",
    { bulkheadName: "db", waitMs: 29.5 },
    'Bulkhead "db" had none of its 4 slots free within 30 ms.',
  ],
  [
    new OverloadShedError("llm", "full", "low", 7, 0),
    "OverloadShedError",
    "OVERLOAD_SHED",
    { limiterName: "llm", why: "full", priority: "low", limit: 7, waitMs: 0 },
    'A call of priority "low" is shed: adaptive concurrency "llm", whose limit is 7 now, has neither a slot nor a place in its queue for it. Send less, or come back later.',
  ],
  [
    new OverloadShedError("llm", "evicted", "low", 7, 12),
    "OverloadShedError",
    "OVERLOAD_SHED",
    { why: "evicted", waitMs: 12 },
    "has given its place in the queue to a more important one. Send less",
  ],
  [
    new OverloadShedError("llm", "wait", "high", 7, 99.2),
    "OverloadShedError",
    "OVERLOAD_SHED",
    { why: "wait", waitMs: 99.2 },
    "had no slot for it within 100 ms. Send less",
  ],
  [
    new ContentionDetectedError("printer", 49.5, ["a", 'b"c']),
    "ContentionDetectedError",
    "CONTENTION",
    { resource: "printer", waitMs: 49.5, holders: ["a", 'b"c'] },
    'Lock "printer" was not acquired within 50 ms. It is held by "a", "b\\"c".',
  ],
  [
    new ContentionDetectedError("printer", 50, []),
    "ContentionDetectedError",
    "CONTENTION",
    { holders: [] },
    "It is held by the next in line.",
  ],
  [
    new RateLimitedError("api", "capacity", "9 of 5 requests", undefined),
    "RateLimitedError",
    "RATE_LIMITED",
    { limiterName: "api", why: "capacity" },
    'Rate limiter "api" can never let this call through: it takes 9 of 5 requests. Ask for less, or raise the limit.',
  ],
  [
    new RateLimitedError("api", "wait", "5 requests in 1000 ms", 200.5),
    "RateLimitedError",
    "RATE_LIMITED",
    { limiterName: "api", why: "wait", retryAfterMs: 200.5 },
    'Rate limiter "api" (5 requests in 1000 ms) has no room for this call before 201 ms have passed, which is longer than it may wait. Try again then.',
  ],
  [
    new RateLimitedError("api", "deadline", "5 requests in 1000 ms", 200),
    "RateLimitedError",
    "RATE_LIMITED",
    { why: "deadline", retryAfterMs: 200 },
    "before 200 ms have passed, which is after its deadline. Try again then.",
  ],
];

test.each(REFUSALS.map(([error, name, ...rest]) => [name, error, ...rest] as const))(
  "%s is a refusal with a stable code, its fields and a message (C0.5, C10.2)",
  (name, error, code, fields, message) => {
    expect(error).toBeInstanceOf(HoldfastError);
    expect(error).toBeInstanceOf(RefusedError);
    expect(error.name).toBe(name);
    expect(error.constructor.name).toBe(name);
    expect(String(error).startsWith(`${name}: `)).toBe(true);
    expect(error.code).toBe(code);
    // The other copy of a package knows the code only.
    expect(isRefusal({ code: error.code })).toBe(true);
    expect(error).toMatchObject(fields);
    expect(error.message).toContain(message);
    expect("retryAfterMs" in error).toBe("retryAfterMs" in fields);
  },
);
