import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { explain } from "./explain.mjs";

/** Least score, in per cent, that the whole must reach. */
const WANTED = 90;

const scoreOf = (all, alive) => (all === 0 ? 100 : (100 * (all - alive)) / all);

/** Prints the score of each file, writes what survived where `json` says so, and answers whether the score will do. */
export function report(mutants, survived, { json }) {
  const survivors = mutants.filter(survived).map(({ id: _, ...mutant }) => ({ ...mutant, ...explain(mutant) }));
  const rowOf = (name, isIts) => {
    const all = mutants.filter(isIts).length;
    const alive = survivors.filter(isIts);
    const unexplained = alive.filter(({ why }) => why === null).length;
    return { file: name, mutants: all, survived: alive.length, unexplained, score: scoreOf(all, alive.length) };
  };
  const files = [...new Set(mutants.map(({ file }) => file))].sort();
  const rows = files.map((name) => rowOf(name, ({ file }) => file === name));
  const whole = rowOf("all", () => true);
  console.log(`${"file".padEnd(36)} mutants survived unexplained  score`);
  for (const { file, mutants: all, survived: alive, unexplained, score } of [...rows, whole])
    console.log(
      `${file.padEnd(36)} ${[all, alive, unexplained].map((count, i) => String(count).padStart([7, 8, 11][i])).join(" ")} ${score.toFixed(1).padStart(6)}`,
    );
  if (json === undefined) {
    for (const { file, line, original, replacement } of survivors.filter(({ why }) => why === null))
      console.log(`${file}:${line} ${JSON.stringify(original)} -> ${JSON.stringify(replacement)}`);
  } else {
    mkdirSync(dirname(json), { recursive: true });
    const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
    const facts = { holdfast: version, node: process.version, date: new Date().toISOString(), ...whole };
    writeFileSync(json, `${JSON.stringify({ ...facts, files: rows, survivors }, null, 1)}\n`);
  }
  return whole.score >= WANTED;
}
