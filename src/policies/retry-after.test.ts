import { describe, expect, test } from "vitest";
import { FakeClock } from "../testing/fake-clock.ts";
import { headersOf, retryAfterOf } from "./retry-after.ts";

// Wall time is 2026-01-01T00:00:00Z.
const clock = new FakeClock();

function asked(error: unknown): number | undefined {
  return retryAfterOf(error, clock);
}

describe("where the hint is looked for (C1.5)", () => {
  const headers = { "retry-after": "3" };
  test.each<[string, unknown]>([
    ["the headers of the error", { headers }],
    ["headers in any case", { headers: { "Retry-After": "3" } }],
    ["headers as Node has them", { headers: { "retry-after": ["3", "9"] } }],
    ["a Headers object", { headers: new Headers(headers) }],
    ["a Map", { headers: new Map([["retry-after", "3"]]) }],
    ["responseHeaders, as the AI SDK has them", { responseHeaders: headers }],
    ["the response of the error", { response: { headers: new Headers(headers) } }],
    ["a Response that was thrown", new Response(null, { status: 429, headers })],
    ["what the error was caused by", new Error("outer", { cause: new Error("inner", { cause: { headers } }) })],
    ["retryAfterMs of one of our own", { retryAfterMs: 3_000 }],
  ])("%s", (_, error) => {
    expect(asked(error)).toBe(3_000);
  });

  test("the outermost error counts, and what is more exact comes first", () => {
    expect(asked(Object.assign(new Error("x", { cause: { retryAfterMs: 9 } }), { headers }))).toBe(3_000);
    expect(asked({ headers: { "retry-after": "3", "retry-after-ms": "2500" } })).toBe(2_500);
    expect(asked({ headers: { "retry-after": "3", "x-ms-retry-after-ms": "2600.5" } })).toBe(2_600.5);
    expect(asked({ retryAfterMs: 5, headers })).toBe(5);
  });
});

describe("what a hint may be (C1.5)", () => {
  test.each<[unknown, number | undefined]>([
    ["0", 0],
    ["120", 120_000],
    ["0.5", 500],
    ["0.25", 250],
    [" 7 ", 7_000],
    [7, 7_000],
    ["Thu, 01 Jan 2026 00:00:30 GMT", 30_000],
    ["Thursday, 01-Jan-26 00:00:30 GMT", 30_000],
    ["Thu Jan  1 00:00:30 2026", 30_000],
    ["2026-01-01T00:00:30Z", 30_000],
    ["Thu, 01 Jan 2026 02:00:30 +0200", 30_000],
    ["Wed, 31 Dec 2025 23:00:00 GMT", 0],
    ["", undefined],
    ["soon", undefined],
    ["9".repeat(400), undefined],
    [{}, undefined],
    [null, undefined],
    [undefined, undefined],
  ])("%j asks for %s ms", (value, ms) => {
    expect(asked({ headers: { "retry-after": value } })).toBe(ms);
  });

  test.each<[unknown, number | undefined]>([
    ["1500", 1_500],
    ["0", 0],
    ["-1", undefined],
    ["Infinity", undefined],
    ["soon", undefined],
  ])("%j of retry-after-ms asks for %s ms", (value, ms) => {
    expect(asked({ headers: { "retry-after-ms": value } })).toBe(ms);
    expect(asked({ headers: { "x-ms-retry-after-ms": value } })).toBe(ms);
  });

  test("one that cannot be read gives way to the next", () => {
    expect(asked({ headers: { "retry-after-ms": "soon", "retry-after": "3" } })).toBe(3_000);
    expect(asked({ retryAfterMs: NaN, headers: { "retry-after": "3" } })).toBe(3_000);
    expect(asked({ retryAfterMs: -1 })).toBeUndefined();
    expect(asked({ retryAfterMs: "5" })).toBeUndefined();
  });

  test("a date is taken against the wall clock, on which it was written", () => {
    const jumped = new FakeClock();
    jumped.jumpWall(-10_000);
    expect(retryAfterOf({ headers: { "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT" } }, jumped)).toBe(40_000);
  });
});

test("a date without a zone is in UTC, wherever the process runs (C1.5)", () => {
  const { TZ } = process.env;
  process.env.TZ = "America/New_York";
  try {
    expect(asked({ headers: { "retry-after": "Thu Jan  1 00:00:30 2026" } })).toBe(30_000);
  } finally {
    if (TZ === undefined) delete process.env.TZ;
    else process.env.TZ = TZ;
  }
});

test("what is no object is no set of headers", () => {
  const headers = {};
  expect(headersOf({ headers })).toBe(headers);
  for (const none of [null, undefined, "text", 5]) expect(headersOf({ response: { headers: none } })).toBeUndefined();
});

test("an error without a hint, or whose headers cannot be read, asks for nothing", () => {
  const unreadable = {
    get headers() {
      throw new Error("gone");
    },
  };
  const throwing = {
    headers: {
      get() {
        throw new Error("gone");
      },
    },
  };
  for (const error of [
    new Error("x"),
    "text",
    undefined,
    null,
    { headers: null },
    { headers: 5 },
    unreadable,
    throwing,
  ])
    expect(asked(error)).toBeUndefined();
});
