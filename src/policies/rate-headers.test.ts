import { describe, expect, test } from "vitest";
import { FakeClock } from "../testing/fake-clock.ts";
import { readRateSnapshot } from "./rate-headers.ts";

const clock = new FakeClock(Date.parse("2026-03-01T12:00:00Z"));
const read = (headers: Record<string, unknown>): unknown => readRateSnapshot(headers, clock);

describe("reading what a server says of its limits", () => {
  test("OpenAI's headers, with spans until all is there again (C3.4)", () => {
    expect(
      read({
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-reset-tokens": "6m0s",
      }),
    ).toEqual({
      requests: { limit: 60, remaining: 59, resetMs: 1_000 },
      tokens: { limit: 150_000, remaining: 149_984, resetMs: 360_000 },
    });
  });

  test("Anthropic's headers, with dates in ISO 8601, and with tokens that go in and come out (C3.4)", () => {
    expect(
      read({
        "Anthropic-RateLimit-Requests-Remaining": "49",
        "Anthropic-RateLimit-Requests-Reset": "2026-03-01T12:00:01Z",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-output-tokens-limit": "8000",
        "anthropic-ratelimit-output-tokens-reset": "2026-03-01T11:00:00Z",
        "retry-after": "7",
      }),
    ).toStrictEqual({
      requests: { remaining: 49, resetMs: 1_000 },
      inputTokens: { remaining: 0 },
      outputTokens: { limit: 8_000, resetMs: 0 },
      retryAfterMs: 7_000,
    });
  });

  test.each([
    ["12ms", 12],
    ["1s", 1_000],
    ["7.66s", 7_660],
    ["6m0s", 360_000],
    ["1h2m3.5s", 3_723_500],
    ["1d", 86_400_000],
    ["2", 2_000],
    [" 1m ", 60_000],
    ["2026-03-01T12:01:00+00:00", 60_000],
    ["-1s", undefined],
    ["1m and some", undefined],
    ["soon", undefined],
    ["1", 1_000],
    ["", undefined],
    ["2026-99-99", undefined],
    ["on 2026-03-02", undefined],
    [`${"1".repeat(400)}s`, undefined],
    ["s1", undefined],
  ])("a reset of %j is %s ms (C3.4)", (text, ms) => {
    expect(read({ "x-ratelimit-remaining-tokens": 5, "x-ratelimit-reset-tokens": text })).toEqual({
      tokens: { remaining: 5, ...(ms !== undefined && { resetMs: ms }) },
    });
  });

  test.each([
    ["12.75", 12.75],
    [" 59 ", 59],
    [60, 60],
  ])("a rest of %j is %d (C3.4)", (value, remaining) => {
    expect(read({ "x-ratelimit-remaining-tokens": value })).toStrictEqual({ tokens: { remaining } });
  });

  test.each(["-1", "", "many", "NaN", "Infinity", "1e3", null, {}])(
    "a limit or rest of %j is no limit: Azure sends -1 where it has none (C3.4)",
    (value) => {
      expect(read({ "x-ratelimit-limit-tokens": value, "x-ratelimit-remaining-tokens": value })).toBeUndefined();
    },
  );

  test("waits that are asked for in milliseconds, by Azure too (C3.4)", () => {
    expect(read({ "retry-after-ms": "250" })).toEqual({ retryAfterMs: 250 });
    expect(read({ "x-ms-retry-after-ms": "300", "retry-after": "1" })).toEqual({ retryAfterMs: 300 });
  });

  test("Headers are read like a record, and nothing comes of headers that say nothing of limits (C3.4)", () => {
    const headers = new Headers({ "X-RateLimit-Remaining-Requests": "3" });
    expect(readRateSnapshot(headers, clock)).toEqual({ requests: { remaining: 3 } });
    expect(read({ "content-type": "text/plain", "x-ratelimit-reset-tokens": "1s" })).toBeUndefined();
  });
});
