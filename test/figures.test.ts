import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

interface Results {
  machine: string;
  node: string;
  date: string;
  rows: { name: string; ours: number; floor: number; peer: number | null; peerName: string | null }[];
}

const text = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
const PAGES = {
  "policies-node20": "README.md",
  "durable-node20": "README.md",
  "policies-node24": "bench/README.md",
};
const files = Object.entries(PAGES);
const results = (name: string): Results => JSON.parse(text(`bench/results/${name}.json`)) as Results;

/** A figure with three digits, as the benchmark prints it. */
const digits = (value: number | null): string =>
  value === null ? "" : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);

/** Where the tables of a page say something else than the results of a benchmark, or leave something out. */
function complaints(page: string, { rows, machine, node, date }: Results): string[] {
  const lines = page.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
  const shown = new Map(lines.map(([, work = "", ...figures]) => [work, figures.slice(0, -1).join(" | ")]));
  // A quotient of two rows that are shown is no row of its own.
  const wanted = rows.filter(({ name }) => !name.endsWith("growth"));
  const wrong = wanted.flatMap(({ name, ours, floor, peer, peerName }) => {
    const best = [digits(peer), peerName?.replace(/ \(.*\)/, "") ?? ""].join(" ").trim();
    const figures = [digits(ours), digits(floor), best].join(" | ");
    return shown.get(name) === figures ? [] : [`${name}: ${figures} was measured, the page says ${shown.get(name)}`];
  });
  const missing = [machine, node, date.slice(0, 10)].filter((fact) => !page.includes(fact));
  return [...wrong, ...missing.map((fact) => `the page does not say ${fact}`)];
}

test.each(files)("the committed benchmark %s is shown by %s, with machine, version and date", (name, page) => {
  expect(complaints(text(page), results(name))).toEqual([]);
});

test.each(files)("a figure of %s that was changed, and a date that is gone, are complained about", (name, page) => {
  const measured = results(name);
  const [{ ours } = { ours: 0 }] = measured.rows;
  const planted = text(page)
    .replace(`| ${digits(ours)} `, "| 0.01 ")
    .replaceAll(measured.date.slice(0, 10), "lately");
  expect(complaints(planted, measured)).toHaveLength(2);
});
