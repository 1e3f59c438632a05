// What libraries do where it is hard: the same checks, run against Holdfast and its peers. See ../docs/peers.md.
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { installPeers, versions } from "../bench/install.mjs";
import { CHECKS } from "./checks.mjs";
import { asTable, shortName, withResults } from "./report.mjs";

const CAP_MS = 10_000;
const AT_A_TIME = 2;
// Room enough that a measured time is that of the library, and not of the collector.
const FLAGS = ["--expose-gc", "--no-warnings", "--min-semi-space-size=128", "--max-semi-space-size=128"];

const { values: options } = parseArgs({
  options: {
    check: { type: "string", multiple: true },
    library: { type: "string", multiple: true },
    json: { type: "string" },
    markdown: { type: "string" },
  },
});

installPeers(import.meta.dirname);
const pinned = versions(import.meta.dirname);
const libraries = options.library ?? Object.keys(pinned).map(shortName);
const chosen = CHECKS.filter(({ name }) => options.check?.includes(name) ?? true);

/** The verdict of a process of its own, which is killed when it takes too long. */
async function judge(library, check) {
  const child = fork(new URL("child.mjs", import.meta.url), [library, check], {
    execArgv: FLAGS,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  let result = { verdict: "error", fact: "the process ended without a verdict" };
  child.on("message", (message) => (result = message));
  const timer = setTimeout(() => {
    result = { verdict: "fail", fact: `did not end within ${CAP_MS / 1000} s` };
    child.kill("SIGKILL");
  }, CAP_MS);
  // A process may be seen to end before its last message has been read.
  await Promise.all([once(child, "exit"), once(child, "disconnect")]);
  clearTimeout(timer);
  return result;
}

/** All checks of all libraries, a few at a time. What each has found is told on the way. */
async function judgeAll() {
  const verdicts = new Map();
  const jobs = chosen.flatMap(({ name }) => libraries.map((library) => ({ library, name })));
  const work = async () => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
      const { library, name } = job;
      const result = await judge(library, name);
      verdicts.set(`${name} ${library}`, result);
      if (result.verdict !== "n/a") console.log(`${result.verdict.padEnd(5)} ${name}, ${library}: ${result.fact}`);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  const resultsOf = (name) =>
    Object.fromEntries(libraries.map((library) => [library, verdicts.get(`${name} ${library}`)]));
  return chosen.map(({ name, title }) => ({ name, title, results: resultsOf(name) }));
}

/** What must not be: we fail, an adapter is broken, or a check tells nobody from anybody. */
function complaints({ name, results }) {
  const all = Object.entries(results);
  const broken = all.filter(([, { verdict }]) => verdict === "error");
  const telling = options.library !== undefined || all.some(([, { verdict }]) => verdict === "fail");
  return [
    ...(["pass", undefined].includes(results.holdfast?.verdict) ? [] : [`${name}: Holdfast does not pass`]),
    ...broken.map(([library, { fact }]) => `${name}: the adapter of ${library} is broken: ${fact}`),
    ...(telling ? [] : [`${name}: no library fails, so the check says nothing`]),
  ];
}

const started = performance.now();
const results = { node: process.version, date: new Date().toISOString(), versions: pinned, checks: await judgeAll() };
console.log(asTable(results));
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
if (options.markdown !== undefined)
  writeFileSync(options.markdown, withResults(readFileSync(options.markdown, "utf8"), results));

const wrong = results.checks.flatMap(complaints);
const seconds = Math.round((performance.now() - started) / 1000);
console.log(["", `${results.checks.length} checks, ${seconds} s`, ...wrong].join("\n"));
process.exitCode = wrong.length === 0 ? 0 : 1;
