// Measures everything with this Node for the pages that show it: both benchmarks, then the tables. For a quiet machine.
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const folder = import.meta.dirname;
const [major] = process.versions.node.split(".");
const wanted = process.argv.slice(2);

const run = (script, ...args) => spawnSync(process.execPath, [join(folder, script), ...args], { stdio: "inherit" });

for (const name of wanted.length > 0 ? wanted : ["policies", "durable"]) {
  const { status } = run(`${name}.mjs`, "--json", join(folder, "results", `${name}-node${major}.json`));
  // A row over its limit is measured all the same, and shown.
  process.exitCode ||= status ?? 1;
}
const { status } = run("tables.mjs");
process.exitCode ||= status ?? 1;
