import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dateFrom, parseDate } from "../core/clock.ts";
import { cronTimes, type DueTimes, everyTimes } from "./due-times.ts";

const BERLIN = "Europe/Berlin";

/** What is due from one instant to another, written as in the zone UTC. */
function between(times: DueTimes, from: string, to: string): string[] {
  return times.newest(parseDate(from), parseDate(to), 100).map(text);
}

const text = (instant: number): string => dateFrom(instant).toISOString().slice(0, 16);

describe("every so often", () => {
  test("the first due time is one interval after the anchor, and the anchor is not due (C5.11)", () => {
    const times = everyTimes(1_000, 60);
    expect(times.next(0)).toBe(1_060);
    expect(times.next(1_000)).toBe(1_060);
    expect(times.next(1_060)).toBe(1_120);
    expect(times.newest(0, 1_059, 10)).toEqual([]);
    expect(times.newest(0, 1_180, 10)).toEqual([1_060, 1_120, 1_180]);
    expect(times.newest(1_060, 1_180, 10)).toEqual([1_120, 1_180]);
    expect(times.newest(0, 1e9, 2)).toHaveLength(2);
  });

  test("no due time lies where no date has a name for it (C5.11)", () => {
    expect(everyTimes(8.64e15 - 5, 10).next(8.64e15 - 5)).toBeUndefined();
  });
});

describe("cron in a zone with summer time", () => {
  test("02:30 comes at the first instant after the gap, and one time on the day that has it twice (C5.11)", async () => {
    const times = await cronTimes("t", "30 2 * * *", BERLIN);
    expect(between(times, "2026-03-28T00:00Z", "2026-03-31T00:00Z")).toEqual([
      "2026-03-28T01:30",
      "2026-03-29T01:00",
      "2026-03-30T00:30",
    ]);
    expect(between(times, "2026-10-24T00:00Z", "2026-10-27T00:00Z")).toEqual([
      "2026-10-24T00:30",
      "2026-10-25T00:30",
      "2026-10-26T01:30",
    ]);
  });

  test("a list of hours counts as times of day, too (C5.11)", async () => {
    const times = await cronTimes("t", "30 2,14 * * *", BERLIN);
    expect(between(times, "2026-03-29T00:00Z", "2026-03-30T00:00Z")).toEqual(["2026-03-29T01:00", "2026-03-29T12:30"]);
    expect(between(times, "2026-10-25T00:00Z", "2026-10-26T00:00Z")).toEqual(["2026-10-25T00:30", "2026-10-25T13:30"]);
  });

  test("every half hour goes on through both changes, with neither a hole nor a heap (C5.11)", async () => {
    const times = await cronTimes("t", "*/30 * * * *", BERLIN);
    for (const day of ["2026-03-29", "2026-10-25"]) {
      const due = times.newest(parseDate(`${day}T00:00Z`), parseDate(`${day}T04:00Z`), 100);
      expect(due).toHaveLength(8);
      expect(new Set(due.slice(1).map((instant, index) => instant - due[index]!))).toEqual(new Set([1_800_000]));
    }
  });

  test("without a zone of its own an expression does not depend on the machine (C5.11)", async () => {
    const times = await cronTimes("t", "@daily", "UTC");
    expect(between(times, "2026-03-28T12:00Z", "2026-03-30T12:00Z")).toEqual(["2026-03-29T00:00", "2026-03-30T00:00"]);
  });
});

test.each([
  ["not so", "UTC", 't.cron "not so" cannot be used'],
  ["60 * * * *", "UTC", "Invalid value for minute"],
  ["2027-01-01T00:00:00", "UTC", "must be a cron expression"],
  ["* * * * * * 2027", "UTC", "5-or-6-parts"],
  ["0 0 30 2 *", "UTC", "never due"],
  ["* * * * *", "Europe/Nowhere", 't.timeZone "Europe/Nowhere" cannot be used'],
])("the expression %j in %s is refused with the reason (C5.11)", async (cron, zone, said) => {
  await expect(cronTimes("t", cron, zone)).rejects.toMatchObject({ code: "CONFIG" });
  await expect(cronTimes("t", cron, zone)).rejects.toThrow(said);
});

test("looking back finds what looking ahead has found, over every change of clocks (C5.11)", async () => {
  const cron = fc.constantFrom(
    "30 2 * * *",
    "*/20 1-3 * * *",
    "15,45 0-3 * * *",
    "0 2 L * *",
    "0 0 * * SUN",
    "@hourly",
  );
  const zone = fc.constantFrom(
    BERLIN,
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
  );
  const from = fc.integer({ min: parseDate("2024-01-01"), max: parseDate("2028-01-01") });
  const given = fc.oneof(
    fc.tuple(cron, zone).map(
      ([expression, name]) =>
        () =>
          cronTimes("t", expression, name),
    ),
    fc.tuple(from, fc.integer({ min: 600_000, max: 1e9 })).map(
      ([anchor, every]) =>
        async () =>
          everyTimes(anchor, every),
    ),
  );
  await fc.assert(
    fc.asyncProperty(given, from, fc.integer({ min: 1, max: 30 }), async (timesOf, start, days) => {
      const times = await timesOf();
      const end = start + days * 86_400_000;
      const ahead: number[] = [];
      for (let at = times.next(start); at !== undefined && at <= end; at = times.next(at)) ahead.push(at);
      expect(times.newest(start, end, 1e6)).toEqual(ahead);
      expect(times.newest(start, end, 3)).toEqual(ahead.slice(-3));
    }),
    { numRuns: 150 },
  );
});
