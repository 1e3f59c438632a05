// Writes the figures of results/*.json into the pages that show them, between `<!-- bench NAME -->` and
// `<!-- end of bench -->`, so that nobody copies a figure by hand. test/figures.test.ts compares them.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { digits } from "./digits.mjs";

const root = join(import.meta.dirname, "..");

/** How the packages that were measured are called in a sentence. Others are parts of these. */
const CALLED = {
  "@git-stunts/alfred": "alfred",
  cockatiel: "cockatiel",
  opossum: "opossum",
  "p-limit": "p-limit",
  "p-retry": "p-retry",
  "rate-limiter-flexible": "rate-limiter-flexible",
  "@langchain/langgraph": "LangGraph.js",
  "@langchain/langgraph-checkpoint-sqlite": "its SQLite saver",
  openworkflow: "OpenWorkflow",
  "@dbos-inc/dbos-sdk": "DBOS",
  postgres: "Postgres",
};
const POLICY_PEERS = Object.keys(CALLED).slice(0, 6);
const DURABLE_PEERS = Object.keys(CALLED).slice(6);

const bestPeer = ({ rows }) => [
  ["work", "Holdfast", "floor", "best peer"],
  ...rows.map(({ name, ours, floor, peer, peerName }) => [
    name,
    digits(ours),
    digits(floor),
    peer === null ? "" : `${digits(peer)} ${peerName}`,
  ]),
];

const eachPeer = ({ rows }) => {
  const others = rows.map(({ peers, beside }) => ({ ...peers, ...beside }));
  const labels = [...new Set(others.flatMap((figures) => Object.keys(figures)))];
  return [
    ["work", "unit", "Holdfast", "floor", ...labels],
    ...rows.map(({ name, unit, ours, floor }, i) => [
      name,
      unit,
      digits(ours),
      digits(floor),
      ...labels.map((label) => (label in others[i] ? digits(others[i][label]) : "")),
    ]),
  ];
};

const TABLES = [
  { results: "policies-node20", page: "README.md", table: bestPeer, peers: POLICY_PEERS },
  { results: "durable-node20", page: "README.md", table: eachPeer, peers: DURABLE_PEERS },
  { results: "policies-node24", page: "bench/README.md", table: bestPeer, peers: POLICY_PEERS },
];

/** A table as Prettier writes it. */
function markdown([head, ...lines]) {
  const widths = head.map((_, column) => Math.max(3, ...[head, ...lines].map((line) => line[column].length)));
  const text = (line) => `| ${line.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  return [text(head), text(widths.map((width) => "-".repeat(width))), ...lines.map(text)].join("\n");
}

function factsOf({ date, machine, node, versions }, peers) {
  const measured = peers.filter((name) => name in versions).map((name) => `${CALLED[name]} ${versions[name]}`);
  return `Measured on ${date.slice(0, 10)}, ${machine}, Node ${node}; ${measured.join(", ")}.`;
}

/** The page with this text between the two marks of `name`. */
function filled(page, path, name, text) {
  const [start, end] = [`<!-- bench ${name} -->`, "<!-- end of bench -->"];
  const from = page.indexOf(start);
  const to = page.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`${path} has no place for ${name}: it needs the lines ${start} and ${end}`);
  return `${page.slice(0, from + start.length)}\n\n${text}\n\n${page.slice(to)}`;
}

for (const { results, page, table, peers } of TABLES) {
  const file = join(import.meta.dirname, "results", `${results}.json`);
  if (!existsSync(file)) throw new Error(`${relative(root, file)} is missing; measure it, see bench/README.md`);
  const measured = JSON.parse(readFileSync(file, "utf8"));
  const path = join(root, page);
  const before = readFileSync(path, "utf8");
  const after = filled(before, page, results, `${factsOf(measured, peers)}\n\n${markdown(table(measured))}`);
  if (after === before) continue;
  writeFileSync(path, after);
  console.log(`${page}: the table of ${results} is written anew`);
}
