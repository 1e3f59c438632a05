import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

type Figures = Record<string, number | string>;

interface Row {
  name: string;
  unit: string;
  ours: number;
  floor: number;
  peer: number | null;
  peerName: string | null;
  peers?: Figures;
  beside?: Figures;
}

interface Results {
  machine: string;
  node: string;
  date: string;
  rows: Row[];
}

/** Where each file of results is shown: the best of many peers, or every one of a few. */
const PAGES = {
  "policies-node20": { page: "README.md", peers: "best" },
  "durable-node20": { page: "README.md", peers: "each" },
  "policies-node24": { page: "bench/README.md", peers: "best" },
} as const;

const names = Object.keys(PAGES) as (keyof typeof PAGES)[];
const text = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
const results = (name: string): Results => JSON.parse(text(`bench/results/${name}.json`)) as Results;

/** A figure with three digits, as the benchmark prints it; or why there is none. */
const digits = (value: number | string | null | undefined): string =>
  typeof value === "number" ? value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0) : (value ?? "");

/** What the part of a page says that shows these results: its prose, and its table as rows of cells under headings. */
function shownIn(page: string, name: string): { prose: string; heads: string[]; rows: Map<string, string[]> } {
  const [, part = ""] = page.split(`<!-- bench ${name} -->`);
  const [prose = "", ...lines] = part.split("<!-- end of bench -->")[0]!.trim().split(/\n+/);
  const cells = lines.map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  const [heads = [], , ...rows] = cells;
  return { prose, heads, rows: new Map(rows.map(([work = "", ...figures]) => [work, figures])) };
}

/** Where the table says something else than the results of a benchmark, or leaves something out. */
function complaints(page: string, name: keyof typeof PAGES): string[] {
  const { rows, machine, node, date } = results(name);
  const { prose, heads, rows: shown } = shownIn(page, name);
  const wrong = rows.flatMap((row) => {
    const others: Figures = { ...row.peers, ...row.beside };
    const figures =
      PAGES[name].peers === "best"
        ? [digits(row.ours), digits(row.floor), `${digits(row.peer)} ${row.peerName ?? ""}`.trim()]
        : [row.unit, digits(row.ours), digits(row.floor), ...heads.slice(4).map((head) => digits(others[head]))];
    const said = shown.get(row.name)?.join(" | ");
    const unnamed = PAGES[name].peers === "each" ? Object.keys(others).filter((label) => !heads.includes(label)) : [];
    return [
      ...(said === figures.join(" | ")
        ? []
        : [`${row.name}: ${figures.join(" | ")} was measured, the page says ${said}`]),
      ...unnamed.map((label) => `${row.name}: the page has no column for ${label}`),
    ];
  });
  const unknown = [...shown.keys()].filter((work) => !rows.some((row) => row.name === work));
  const missing = [machine, node, date.slice(0, 10)].filter((fact) => !prose.includes(fact));
  return [
    ...wrong,
    ...unknown.map((work) => `${work}: was not measured`),
    ...missing.map((fact) => `the page does not say ${fact}`),
  ];
}

test.each(names)("the committed benchmark %s is shown whole by its page, with machine, version and date", (name) => {
  expect(complaints(text(PAGES[name].page), name)).toEqual([]);
});

test.each(names)(
  "a figure of %s that was changed, a row too many and a date that is gone are complained about",
  (name) => {
    const measured = results(name);
    const [{ name: work, ours } = { name: "", ours: 0 }] = measured.rows;
    const page = text(PAGES[name].page);
    const start = page.indexOf(`<!-- bench ${name} -->`);
    const planted = page
      .slice(start)
      .replace(`| ${digits(ours)} `, "| 0.01 ")
      .replace("\n\n<!-- end of bench -->", "\n| made up | 1.00 |\n\n<!-- end of bench -->")
      .replace(measured.date.slice(0, 10), "lately");
    expect(complaints(planted, name)).toEqual([
      expect.stringMatching(new RegExp(`^${work.replace(/[+]/g, "\\+")}: .* was measured`)),
      "made up: was not measured",
      `the page does not say ${measured.date.slice(0, 10)}`,
    ]);
  },
);

test("a peer of a durable step that the table leaves out is complained about", () => {
  const page = text("README.md").replaceAll("LangGraph.js (SQLite, NORMAL)", "somebody else");
  expect(complaints(page, "durable-node20")).toContain(
    "one run x 300 steps: the page has no column for LangGraph.js (SQLite, NORMAL)",
  );
});
