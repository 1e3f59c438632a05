import { expect, test } from "vitest";
import { breakerSettings } from "./breaker-options.ts";
import { CallBatch } from "./call-batch.ts";
import type { BatchPart } from "./shared-breaker.ts";

const ROW = breakerSettings({});
const CALLS = breakerSettings({ window: { kind: "count", size: 5 }, slowCallMs: 10 });
const TIME = breakerSettings({ window: { kind: "time", sizeMs: 1_000 }, slowCallMs: 10 });

const parts = (batch: CallBatch, now: number): readonly BatchPart[] => batch.report("a", null, 0, now).parts;

test("calls that are counted one by one make one part, whenever they were (C2.1, C2.9)", () => {
  for (const settings of [ROW, CALLS]) {
    const batch = new CallBatch();
    batch.add(settings, true, false, 0);
    batch.add(settings, false, true, 5_000);
    batch.add(settings, false, false, 10_000);
    expect(parts(batch, 10_000)).toEqual([{ ageMs: 10_000, calls: 3, failures: 1, slow: 1 }]);
  }
});

test("no more are kept than a window of calls holds, and no more of them fail or are slow than there are (C2.8, C2.9)", () => {
  const bad = new CallBatch();
  for (let n = 0; n < 9; n++) bad.add(CALLS, true, true, 0);
  expect(parts(bad, 0)).toEqual([{ ageMs: 0, calls: 5, failures: 5, slow: 5 }]);
  const row = new CallBatch();
  for (let n = 0; n < 9; n++) row.add(ROW, true, false, 0);
  expect(parts(row, 0)).toEqual([{ ageMs: 0, calls: 9, failures: 9, slow: 0 }]);
});

test("calls of a window of time are kept by tenths of it (C2.1, C2.9)", () => {
  const batch = new CallBatch();
  batch.add(TIME, true, false, 7_000);
  batch.add(TIME, false, true, 7_099);
  batch.add(TIME, false, false, 7_100);
  batch.add(TIME, true, false, 7_150);
  batch.add(TIME, false, false, 7_250);
  expect(parts(batch, 7_300)).toEqual([
    { ageMs: 300, calls: 2, failures: 1, slow: 1 },
    { ageMs: 200, calls: 2, failures: 1, slow: 0 },
    { ageMs: 50, calls: 1, failures: 0, slow: 0 },
  ]);
});

test("and no longer than it: the eleven youngest, for the oldest may lie in it in part (C2.8, C2.9)", () => {
  const batch = new CallBatch();
  for (let n = 0; n <= 10; n++) batch.add(TIME, false, false, n * 100);
  expect(parts(batch, 1_000)).toHaveLength(11);
  for (let n = 11; n < 30; n++) batch.add(TIME, false, false, n * 100);
  expect(parts(batch, 3_000).map(({ ageMs }) => ageMs)).toEqual(Array.from({ length: 11 }, (_, n) => 1_100 - n * 100));
});
