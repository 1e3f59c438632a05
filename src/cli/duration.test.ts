import { expect, test } from "vitest";
import { durationOf } from "./duration.ts";

test.each([
  ["45s", 45_000],
  ["90m", 5_400_000],
  ["1.5h", 5_400_000],
  ["30d", 2_592_000_000],
  [" 2w ", 1_209_600_000],
  ["0d", 0],
])("%j is %i ms", (text, milliseconds) => {
  expect(durationOf(text)).toBe(milliseconds);
});

test.each(["", "30", "d", "-1d", "30 days", "1e9d", "Infinityd", "30D", `${"9".repeat(20)}w`, `${"9".repeat(400)}w`])(
  "%j is no time",
  (text) => {
    expect(durationOf(text)).toBeUndefined();
  },
);
