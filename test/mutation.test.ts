import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { explain } from "../mutation/explain.mjs";
import { read } from "./repository.ts";

interface Fault {
  file: string;
  original: string;
  replacement: string;
}

interface Results {
  mutants: number;
  survived: number;
  score: number;
  survivors: Fault[];
}

const results = JSON.parse(read("mutation/results.json")) as Results;

test("the last full run of mutation testing found nine of ten faults, and each that survived is explained", () => {
  const { mutants, survived, score, survivors } = results;
  expect(mutants).toBeGreaterThan(7_000);
  expect(survivors).toHaveLength(survived);
  expect(score).toBeCloseTo((100 * (mutants - survived)) / mutants, 5);
  expect(score).toBeGreaterThanOrEqual(90);
  expect(survivors.filter((fault) => explain(fault).why === null)).toEqual([]);
});

test("an explanation is about code that is there, and says something", () => {
  const stale = readdirSync(new URL("../mutation/explained/", import.meta.url)).flatMap((name) =>
    Object.entries(
      JSON.parse(read(`mutation/explained/${name}`)) as Record<string, (Fault & { why: string })[]>,
    ).flatMap(([file, faults]) => {
      const source = read(`src/${file}`);
      return faults.filter(({ original, why }) => !source.includes(original) || why.length < 20);
    }),
  );
  expect(stale).toEqual([]);
});

test("a fault that nobody has explained is none that may survive", () => {
  expect(explain({ file: "core/queue.ts", original: "a < b", replacement: "a <= b" }).why).toBeNull();
});
