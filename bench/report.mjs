import { mkdirSync, writeFileSync } from "node:fs";
import { arch, cpus, platform, totalmem } from "node:os";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { digits } from "./digits.mjs";
import { versions } from "./install.mjs";

/** Options of both benchmarks: `--rounds N`, `--quick`, `--json FILE`. */
export function readOptions({ rounds, quickRounds }) {
  const { values } = parseArgs({
    options: { rounds: { type: "string" }, quick: { type: "boolean", default: false }, json: { type: "string" } },
  });
  const wanted = Number(values.rounds ?? (values.quick ? quickRounds : rounds));
  if (!Number.isInteger(wanted) || wanted < 1)
    throw new Error(`--rounds must be a whole number of at least 1, got ${values.rounds}`);
  return { ...values, rounds: wanted };
}

/**
 * One row of the report. `peers` holds figures by library, or words that say why there is none; the lowest figure is the
 * one to compare with. `beside` holds what is measured in the same way and is no peer. `limitOf` names the figure that
 * the limit is about: "ours" or "ratioToFloor"; without a limit a row only tells.
 */
export function row({
  name,
  unit,
  ours,
  floor,
  peers = {},
  beside = {},
  ratioToFloor = ours / floor,
  limit = null,
  limitOf = null,
}) {
  const measured = Object.entries(peers).filter(([, figure]) => typeof figure === "number");
  const [peerName, peer] = measured.sort((a, b) => a[1] - b[1])[0] ?? [null, null];
  const ratioToPeer = peer && ours / peer;
  const figures = { name, unit, ours, floor, peers, beside, peer, peerName, ratioToFloor, ratioToPeer };
  return { ...figures, limit, limitOf, ok: limit === null || figures[limitOf] <= limit };
}

const times = (value) => (value === null ? "-" : `${digits(value)}x`);
const limitText = ({ limit, limitOf }) => {
  if (limit === null) return "-";
  return limitOf === "ours" ? `<= ${digits(limit)}` : `<= ${times(limit)} the floor`;
};
const cells = (r) => [
  r.name,
  r.unit,
  digits(r.ours),
  digits(r.floor),
  r.peer === null ? "-" : `${digits(r.peer)} ${r.peerName}`,
  times(r.ratioToFloor),
  times(r.ratioToPeer),
  limitText(r),
  r.ok ? "ok" : "OVER",
];
const header = ["work", "unit", "ours", "floor", "best peer", "to floor", "to peer", "limit", ""];

function tableText([head, ...lines]) {
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => line[column].length)));
  const text = [head, widths.map((width) => "-".repeat(width)), ...lines].map((line) =>
    line
      .map((cell, i) => cell.padEnd(widths[i]))
      .join("  ")
      .trimEnd(),
  );
  return text.join("\n");
}

/** A table of all who were measured beside ours, where the best alone does not tell enough. */
function othersText(rows) {
  const labels = [...new Set(rows.flatMap(({ peers, beside }) => Object.keys({ ...peers, ...beside })))];
  const lines = rows.map(({ name, peers, beside }) => {
    const figures = { ...peers, ...beside };
    return [name, ...labels.map((label) => (label in figures ? digits(figures[label]) : "-"))];
  });
  return tableText([["work", ...labels], ...lines]);
}

/** Prints the table, writes the rows where `--json` asks for them, and sets the exit code: 1 when a limit is passed. */
export function report(rows, { notes, json, eachPeer = false, alsoUsed = {} }) {
  const machine = `${cpus().length} x ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GB, ${platform()} ${arch()}`;
  const tables = [tableText([header, ...rows.map(cells)]), ...(eachPeer ? [othersText(rows)] : [])];
  console.log([`Node ${process.version}, ${machine}`, "", tables.join("\n\n"), "", ...notes].join("\n"));
  if (json !== undefined) {
    mkdirSync(dirname(json), { recursive: true });
    const facts = {
      machine,
      node: process.version,
      versions: { ...versions(), ...alsoUsed },
      date: new Date().toISOString(),
    };
    writeFileSync(json, `${JSON.stringify({ ...facts, rows }, null, 2)}\n`);
  }
  process.exitCode = rows.every((r) => r.ok) ? 0 : 1;
}
