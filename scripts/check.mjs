// Everything that must hold before a change goes in: the same on a contributor's machine and in CI. Steps go on after
// one has failed, so that one run shows all that is wrong; only what needs the build stops with it.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { longParts } from "./long-parts.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

const STEPS = [
  { name: "format", run: "prettier --check --log-level warn ." },
  { name: "lint", run: "npm run --silent lint" },
  { name: "build", run: "npm run --silent build", needed: true },
  { name: "types", run: "tsc -p tsconfig.json && tsc -p tsconfig.examples.json" },
  { name: "package", run: "npm run --silent check:package" },
  { name: "unused", run: "knip" },
  { name: "tests", run: "vitest run", shown: true },
];

const withoutTests = process.argv.includes("--without-tests");
const failed = [];
// What was deleted in src/ must not live on in the package.
rmSync(`${root}dist`, { recursive: true, force: true });
const started = performance.now();
for (const { name, run, needed, shown } of STEPS) {
  if (withoutTests && name === "tests") continue;
  const before = performance.now();
  const path = `${root}node_modules/.bin:${process.env.PATH}`;
  const { status, stdout, stderr } = spawnSync(run, {
    cwd: root,
    shell: true,
    encoding: "utf8",
    env: { ...process.env, PATH: path },
    stdio: shown ? "inherit" : "pipe",
  });
  const seconds = ((performance.now() - before) / 1000).toFixed(1);
  console.log(`${status === 0 ? "ok    " : "FAILED"} ${name.padEnd(8)} ${seconds.padStart(6)} s`);
  if (status === 0) continue;
  if (!shown) console.log(`${stdout}${stderr}`.trimEnd().replace(/^/gm, "    "));
  failed.push(name);
  if (needed) break;
}

const long = longParts(root);
if (long.length > 0)
  console.log(`\nLong, and perhaps two things in one:\n${long.map((line) => `    ${line}`).join("\n")}`);

const seconds = Math.round((performance.now() - started) / 1000);
console.log(
  failed.length === 0 ? `\nAll is well, after ${seconds} s.` : `\nFailed: ${failed.join(", ")}, after ${seconds} s.`,
);
process.exitCode = failed.length === 0 ? 0 : 1;
