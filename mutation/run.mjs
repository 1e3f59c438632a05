// How many small faults in core/ and policies/ their tests find: npm run mutation [-- policies/retry core/ --json FILE].
// See README.md.
import { fork } from "node:child_process";
import { rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { installPeers } from "../bench/install.mjs";
import { report } from "./report.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "string" }, tests: { type: "string", multiple: true }, workers: { type: "string" } },
});
installPeers(import.meta.dirname);
const { build } = await import("./build.mjs");

const WORKER = fileURLToPath(new URL("worker.mjs", import.meta.url));
/** A worker that has not answered by then hangs in a loop that never yields. */
const HUNG_MS = 60_000;
/** Tests that take longer are not run for each mutant that they meet. */
const SLOW_MS = 2000;
/** How long the tests that are run for one mutant take together, without it. */
const MOST_MS = 3000;
class Worker {
  #child = fork(WORKER, ["child"], { stdio: ["ignore", "ignore", "inherit", "ipc"] });

  /** The answer to a message; null where there is none, and then the worker is gone. */
  ask(message, withinMs = HUNG_MS) {
    return new Promise((resolve) => {
      const done = (answer) => {
        clearTimeout(timer);
        this.#child.removeAllListeners();
        resolve(answer);
      };
      const timer = setTimeout(() => {
        this.end();
        done(null);
      }, withinMs);
      this.#child.once("message", done);
      this.#child.once("exit", () => done(null));
      this.#child.send(message, () => {});
    });
  }

  end() {
    this.#child.kill("SIGKILL");
  }
}

async function loaded(tests, active) {
  const worker = new Worker();
  const answer = await worker.ask({ load: tests, active });
  return { worker, wrong: answer === null ? "does not load" : answer.wrong };
}

const parts = positionals.length > 0 ? positionals : ["core/", "policies/"];
/** Each run has a folder of its own. */
const work = fileURLToPath(new URL(`../.build/mutation-${process.pid}`, import.meta.url));
const { tests: all, mutants } = await build(work, parts);
const files = values.tests === undefined ? all : all.filter((file) => values.tests.some((part) => file.includes(part)));
const first = await loaded(files);
if (first.wrong) throw new Error(`The tests do not load: ${first.wrong}`);
const { survey } = await first.worker.ask({ survey: true }, 10 * HUNG_MS);
first.worker.end();
const usable = survey.tests.filter(({ wrong, ms }) => wrong === undefined && ms < SLOW_MS);
for (const { name, wrong } of survey.tests)
  if (wrong !== undefined) console.log(`left out, since it fails without any mutant here: ${name}: ${wrong}`);
for (const { name, ms } of survey.tests)
  if (ms >= SLOW_MS) console.log(`left out, since it takes ${Math.round(ms)} ms: ${name}`);
console.log(`${mutants.length} mutants, ${usable.length} tests`);

const fileOf = new Map(mutants.map(({ id, file }) => [id, file]));
/** For each source file the tests that meet it: those beside it first, then the quickest, as many as time allows. */
const meeting = new Map();
for (const test of usable)
  for (const file of new Set(Object.keys(test.hits).map((id) => fileOf.get(id))))
    meeting.set(file, [...(meeting.get(file) ?? []), test]);
for (const [file, tests] of meeting) {
  const beside = file.replace(/\.ts$/, "");
  const distance = (test) => (test.file.includes(beside) ? 0 : 1);
  tests.sort((a, b) => distance(a) - distance(b) || a.ms - b.ms);
}

/** As many tests as take no longer than this in all. */
function affordable(tests) {
  let ms = 0;
  return tests.filter((test) => (ms += test.ms) <= MOST_MS);
}

function planFor({ id, file }) {
  const whileLoading = survey.whileLoading[id] !== undefined;
  const met = meeting.get(file) ?? [];
  const tests = affordable(whileLoading ? met : met.filter(({ hits }) => hits[id] !== undefined));
  const hits = Math.max(0, ...tests.map((test) => test.hits[id] ?? 0));
  return { id, whileLoading, hits, tests: tests.map(({ key, file: of, ms }) => ({ key, of, limitMs: ms * 5 + 1000 })) };
}

const results = new Map();
const queue = mutants.map(planFor);
let told = 0;

/** In a process of its own, in which the mutant is there from the beginning. */
async function runAlone(plan) {
  const { worker, wrong } = await loaded([...new Set(plan.tests.map(({ of }) => of))].slice(0, 6), plan.id);
  const answer = wrong ? { killed: { by: "loading", wrong } } : await worker.ask({ mutant: plan });
  worker.end();
  return answer?.killed === undefined ? { by: "all", wrong: "hangs" } : answer.killed;
}

async function takeTurns() {
  let worker = null;
  for (let plan = queue.shift(); plan !== undefined; plan = queue.shift()) {
    let killed = null;
    if (plan.tests.length === 0) killed = null;
    else if (plan.whileLoading) killed = await runAlone(plan);
    else {
      worker ??= (await loaded(files)).worker;
      const answer = await worker.ask({ mutant: plan });
      killed = answer === null ? { by: "all", wrong: "hangs" } : answer.killed;
      // What a hanging or failing test leaves behind must not fail the next mutant's tests.
      const suspicious = killed !== null && (answer === null || /timed out|unhandled|Hit count/.test(killed.wrong));
      if (suspicious) {
        worker.end();
        worker = null;
      }
    }
    results.set(plan.id, { killed, covered: plan.tests.length > 0 });
    if (++told % 100 === 0) console.log(`${told} of ${mutants.length}`);
  }
  worker?.end();
}
await Promise.all(Array.from({ length: Number(values.workers ?? availableParallelism()) }, takeTurns));

const good = report(mutants, ({ id }) => results.get(id).killed === null, values);
rmSync(work, { recursive: true, force: true });
process.exit(good ? 0 : 1);
