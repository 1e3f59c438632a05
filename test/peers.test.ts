import { expect, test } from "vitest";
import { read } from "./repository.ts";

interface Results {
  node: string;
  date: string;
  versions: Record<string, string>;
  checks: { name: string; title: string; results: Record<string, { verdict: string; fact: string }> }[];
}

const WORDS: Record<string, string> = { pass: "yes", fail: "no", "n/a": "–" };

const measured = JSON.parse(read("peers/results.json")) as Results;
const page = read("docs/peers.md");
const readme = read("README.md");

/** What the tables of a page say, in rows that begin with a link to a check. */
function* verdictsOn(text: string): Generator<{ name: string; library: string; word: string | undefined }> {
  let libraries: string[] = [];
  for (const line of text.split("\n").filter((each) => /^\|(?! -+ \|)/.test(each))) {
    const [first = "", ...cells] = line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
    const name = /\]\((?:docs\/peers\.md)?#([\w-]+)\)$/.exec(first)?.[1];
    if (name === undefined) libraries = cells.map((cell) => cell.toLowerCase());
    else for (const [index, library] of libraries.entries()) yield { name, library, word: cells[index] };
  }
}

/** Where a table shows another verdict than was found. */
function wrongVerdicts(text: string, { checks }: Results): string[] {
  return [...verdictsOn(text)].flatMap(({ name, library, word }) => {
    const found = checks.find((check) => check.name === name)?.results[library]?.verdict ?? "nothing";
    return WORDS[found] === word ? [] : [`${name}, ${library}: ${found} was found, the page says ${word}`];
  });
}

/** What the page of the results leaves out. */
function missing(text: string, { checks, versions, node, date }: Results): string[] {
  const shown = new Set([...verdictsOn(text)].map(({ name, library }) => `${name} ${library}`));
  const pinned = Object.entries(versions).map(([name, version]) => `${name.split("/").at(-1)} ${version}`);
  const facts = checks.flatMap(({ name, title, results }) => {
    const found = Object.entries(results).filter(([, { verdict }]) => verdict !== "n/a");
    const lines = found.map(([library, { verdict, fact }]) => `- ${library}, ${WORDS[verdict]}: ${fact}\n`);
    return [`### ${name}\n\n${title}.\n\n`, ...lines];
  });
  const cells = checks.flatMap(({ name, results }) => Object.keys(results).map((library) => `${name} ${library}`));
  return [
    ...[date.slice(0, 10), `Node ${node}`, ...pinned, ...facts].filter((fact) => !text.includes(fact)),
    ...cells.filter((cell) => !shown.has(cell)),
  ];
}

test("docs/peers.md has every verdict and every fact of the committed results, with date, Node and versions", () => {
  expect([...wrongVerdicts(page, measured), ...missing(page, measured)]).toEqual([]);
});

test("each row of the README's comparison is a check, and says what was found", () => {
  expect(wrongVerdicts(readme, measured)).toEqual([]);
  expect([...verdictsOn(readme)].length).toBeGreaterThan(50);
  const libraries = Object.keys(measured.versions).length - 1;
  expect(readme).toContain(`all ${measured.checks.length} checks and ${libraries} libraries`);
});

test("the libraries are those that peers/package.json pins, and Holdfast passes every check while another fails", () => {
  const { dependencies } = JSON.parse(read("peers/package.json")) as { dependencies: Record<string, string> };
  const { version } = JSON.parse(read("package.json")) as { version: string };
  expect(measured.versions).toEqual({ holdfast: version, ...dependencies });
  const telling = measured.checks.filter(
    ({ results }) =>
      results.holdfast?.verdict === "pass" && Object.values(results).some((each) => each.verdict === "fail"),
  );
  expect(telling).toEqual(measured.checks);
});

test("a verdict that was turned, a row that is gone, a fact, a date and a version that were changed are complained about", () => {
  const turned = readme.replace(
    /(\(docs\/peers\.md#[\w-]+\)\s*\| yes .*?\| )(no|yes) /,
    (_, start: string, word: string) => {
      return `${start}${word === "no" ? "yes" : "no"} `;
    },
  );
  expect(wrongVerdicts(turned, measured)).toHaveLength(1);
  const [first] = measured.checks;
  const row = page.split("\n").find((line) => line.startsWith(`| [${first!.name}]`))!;
  expect(missing(page.replace(row, ""), measured)).toHaveLength(Object.keys(first!.results).length);
  expect(missing(page.replace(first!.results.holdfast!.fact, "something else"), measured)).toHaveLength(1);
  expect(missing(page.replaceAll(measured.date.slice(0, 10), "lately"), measured)).toHaveLength(1);
  expect(missing(page.replaceAll("opossum 1", "opossum 2"), measured)).toHaveLength(1);
});
