/** What a table shows for a verdict. */
const WORDS = { pass: "yes", fail: "no", "n/a": "–", error: "?" };
const HEADING = "## Results\n";

/** The name of a library as it stands in tables and files: without the scope, and by the name it goes by. */
export const shortName = (packageName) => packageName.split("/").at(-1);

const librariesOf = ({ checks: [check] }) => Object.keys(check.results);

const rowsOf = (results) =>
  results.checks.map(({ name, results: byLibrary }) => ({
    name,
    words: librariesOf(results).map((library) => WORDS[byLibrary[library].verdict]),
  }));

/** Checks by libraries, for a terminal: each library has a line of its own that leads down to its column. */
export function asTable(results) {
  const rows = rowsOf(results);
  const width = Math.max(...rows.map(({ name }) => name.length)) + 2;
  const legs = librariesOf(results).map((library, n) => " ".repeat(width) + "|    ".repeat(n) + library);
  const lines = rows.map(({ name, words }) => name.padEnd(width) + words.map((word) => word.padEnd(5)).join(""));
  return ["", ...legs, ...lines.map((line) => line.trimEnd())].join("\n");
}

const row = (cells) => `| ${cells.join(" | ")} |`;

/** A page whose last section, the results, is written anew. */
export function withResults(page, results) {
  const { node, date, versions } = results;
  const libraries = librariesOf(results);
  const pinned = Object.entries(versions).map(([name, version]) => `${shortName(name)} ${version}`);
  const facts = results.checks.flatMap(({ name, title, results: byLibrary }) => {
    const measured = Object.entries(byLibrary)
      .filter(([, { verdict, fact }]) => verdict !== "n/a" || !fact.startsWith("has no "))
      .map(([library, { verdict, fact }]) => `- ${library}, ${WORDS[verdict]}: ${fact}`);
    return [`### ${name}`, "", `${title}.`, "", ...measured, ""];
  });
  const section = [
    HEADING,
    `Measured on ${date.slice(0, 10)} with Node ${node}: ${pinned.join(", ")}.`,
    "",
    row(["check", ...libraries]),
    row(["---", ...libraries.map(() => "---")]),
    ...rowsOf(results).map(({ name, words }) => row([`[${name}](#${name})`, ...words])),
    "",
    ...facts,
  ];
  const end = page.indexOf(HEADING);
  return page.slice(0, end === -1 ? page.length : end) + section.join("\n");
}
