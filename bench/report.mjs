import { mkdirSync, writeFileSync } from "node:fs";
import { arch, cpus, platform, totalmem } from "node:os";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
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
 * One row of the report. `peers` holds figures by library; the lowest is the one to compare with.
 * `limitOf` names the figure that the limit is about: "ours" or "ratioToFloor".
 */
export function row({ name, unit, ours, floor, peers = {}, ratioToFloor = ours / floor, limit, limitOf }) {
  const [peerName, peer] = Object.entries(peers).sort((a, b) => a[1] - b[1])[0] ?? [null, null];
  const result = { name, unit, ours, floor, peer, peerName, ratioToFloor, ratioToPeer: peer && ours / peer, limit };
  return { ...result, limitOf, ok: result[limitOf] <= limit };
}

const digits = (value) => (value === null ? "-" : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0));
const times = (value) => (value === null ? "-" : `${digits(value)}x`);
const cells = (r) => [
  r.name,
  r.unit,
  digits(r.ours),
  digits(r.floor),
  r.peer === null ? "-" : `${digits(r.peer)} ${r.peerName}`,
  times(r.ratioToFloor),
  times(r.ratioToPeer),
  r.limitOf === "ours" ? `<= ${digits(r.limit)}` : `<= ${times(r.limit)} the floor`,
  r.ok ? "ok" : "OVER",
];
const header = ["work", "unit", "ours", "floor", "best peer", "to floor", "to peer", "limit", ""];

/** Prints the table, writes the rows where `--json` asks for them, and sets the exit code: 1 when a limit is passed. */
export function report(rows, { notes, json }) {
  const machine = `${cpus().length} x ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GB, ${platform()} ${arch()}`;
  const lines = [header, ...rows.map(cells)];
  const widths = header.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const text = lines.map((line) =>
    line
      .map((cell, i) => cell.padEnd(widths[i]))
      .join("  ")
      .trimEnd(),
  );
  text.splice(1, 0, widths.map((width) => "-".repeat(width)).join("  "));
  console.log([`Node ${process.version}, ${machine}`, "", ...text, "", ...notes].join("\n"));
  if (json !== undefined) {
    mkdirSync(dirname(json), { recursive: true });
    const facts = { machine, node: process.version, versions: versions(), date: new Date().toISOString() };
    writeFileSync(json, `${JSON.stringify({ ...facts, rows }, null, 2)}\n`);
  }
  process.exitCode = rows.every((r) => r.ok) ? 0 : 1;
}
