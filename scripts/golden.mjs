// Writes the golden store of this version below test/golden: a SQLite file, and blobs beside it, with a run in every
// state that a later version may find. Lives in child processes, most of which are killed with SIGKILL. Run it once, at
// the release of a version; it refuses to write over a store that is there.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import os from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createJiti } from "jiti";

const root = fileURLToPath(new URL("..", import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** When the golden runs took place, each life an hour after the one before it. The test reads them 40 days later. */
const BEGIN = Date.UTC(2026, 0, 1);
const HOUR_MS = 3_600_000;

/** Never settles, as the work of a process that is killed. */
const HANGS = () => new Promise(() => {});
const FAILS = (what) => {
  throw new Error(`${what} is down`);
};

/** Carries runs out whose work goes wrong as it is told to in `trouble`, by the id of the run and what is done. */
async function newWorld(folder) {
  const holdfast = await import("../dist/index.js");
  const { goldenWorkflows, TYPES } = await createJiti(import.meta.url, { fsCache: false }).import(
    join(root, "test/golden/workflows.ts"),
  );
  const trouble = new Map();
  const reached = new Set();
  const { current, earlier } = goldenWorkflows(holdfast, (runId, what) => {
    const place = `${runId} ${what}`;
    reached.add(place);
    return trouble.get(place)?.(what);
  });
  const engineWith = (options = {}) =>
    holdfast.createEngine({
      store: new holdfast.SqliteStore(join(folder, "runs.db")),
      workflows: Object.values(current),
      types: TYPES,
      ...options,
    });
  const engine = engineWith();
  const kindsOf = async (runId) => ((await engine.history(runId))?.events ?? []).map(({ kind }) => kind);
  const until = async (holds) => {
    while (!(await holds())) await sleep(5);
  };
  return {
    ...{ holdfast, current, earlier, trouble, engineWith, engine },
    /** Waits until the work has come to a place. */
    reached: (runId, what) => until(() => reached.has(`${runId} ${what}`)),
    /** Waits until an event of that kind is in the journal, so many times. */
    journaled: (runId, kind, times = 1) =>
      until(async () => (await kindsOf(runId)).filter((other) => other === kind).length >= times),
  };
}

/** Runs that end, whatever they come to, and what is beside runs. */
async function ends({ holdfast, current, trouble, engine, journaled }, folder) {
  const run = (workflow, input, state) => engine.run(current[workflow], input, { runId: `${workflow}-${state}` });
  await run("line", 1, "completed");
  await run("retry", null, "completed");
  await run("items", ["a", "b"], "completed");
  await run("steps", "Ada", "completed");
  await run("sorting", 30, "completed");
  await run("rounds", 0, "completed");
  await run("desk", "help", "completed");
  await run("race", null, "completed");
  await run("outer", 1, "completed");
  await run("values", null, "completed");
  await run("fuse", null, "completed");
  trouble.set("backup-completed main", FAILS);
  await run("backup", 1, "completed");

  const approved = await engine.start(current.approve, null, { runId: "approve-completed" });
  await engine.signal("approve-completed", "approval", { by: "Ada" });
  await engine.signal("approve-completed", "remark", "well done");
  await approved.result;

  const fork = { fromNode: "b", input: { m: 7 }, runId: "line-forked" };
  await (
    await engine.fork(current.line, "line-completed", fork)
  ).result;

  for (const state of ["failed", "discarded", "quarantined", "redriven"]) {
    trouble.set(`line-${state} b`, FAILS);
    await run("line", 1, state);
  }
  const letterOf = async (runId) => (await engine.deadLetters.list({ runId }))[0];
  await engine.deadLetters.discard((await letterOf("line-discarded")).id, "it is no longer wanted");
  for (let letter; (letter = await letterOf("line-quarantined")).status === "pending";)
    await engine.deadLetters.redrive(letter.id);
  trouble.delete("line-redriven b");
  await engine.deadLetters.redrive((await letterOf("line-redriven")).id);
  trouble.set("rounds-failed review 2", FAILS);
  await run("rounds", 0, "failed");
  trouble.set("outer-failed/nested#0 y", FAILS);
  await run("outer", 1, "failed");
  trouble.set("fuse-failed call", FAILS);
  await run("fuse", null, "failed");

  for (const [workflow, compensate] of [
    ["approve", false],
    ["saga", true],
  ]) {
    const runId = `${workflow}-cancelled`;
    trouble.set("saga-cancelled pay undoes payment", FAILS);
    await engine.start(current[workflow], null, { runId });
    await journaled(runId, "run_waiting");
    await engine.cancel(runId, "not wanted", { compensate });
  }

  const { report } = current;
  await engine.schedule("nightly", {
    ...{ cron: "30 2 * * *", timeZone: "Europe/Berlin", workflow: report, input: "the night" },
    ...{ missed: "run-once", overlap: "skip" },
  });
  await engine.schedule("often", { everyMs: 6 * HOUR_MS, workflow: report, input: "the hours", graceMs: 5 });
  await engine.schedules.pause("often");
  const store = new holdfast.SqliteStore(join(folder, "runs.db"));
  const checkpoint = new holdfast.WorkflowCheckpoint("import", { store: store.state });
  await checkpoint.save({ row: 7 });
  await checkpoint.save({ row: 8, seen: new Set(["a"]), at: new Date(BEGIN) });
  await store.close();
}

/** Runs that a kill catches. */
async function beginnings({ holdfast, current, earlier, trouble, engine, engineWith, reached, journaled }, folder) {
  const start = (workflow, input, state, by = engine) =>
    by.start(workflow, input, { runId: `${workflow.definition.id}-${state}` });
  const hang = (...places) => places.forEach((place) => trouble.set(place, HANGS));

  hang("line-in-flight b", "line-again b", "line-starting a", "steps-half main between", "rounds-half draft 2");
  hang("rounds-review review 2", "sorting-half small");
  for (const state of ["in-flight", "again", "starting"]) await start(current.line, 1, state);
  await start(current.steps, "Ada", "half");
  for (const state of ["half", "review"]) await start(current.rounds, 0, state);
  await start(current.sorting, 3, "half");
  hang("desk-half support", "race-half slow", "outer-half/nested#0 y", "backup-half other", "values-half take");
  await start(current.desk, "help", "half");
  await start(current.race, null, "half");
  await start(current.outer, 1, "half");
  trouble.set("backup-half main", FAILS);
  await start(current.backup, 1, "half");
  await start(current.values, null, "half");
  hang("items-half each 3", "items-snapshot each 7", "large-half measure");
  await start(current.items, "abcde".split(""), "half");
  const stores = engineWith({ snapshots: { minEvents: 1, bytesPerEvent: 1_000_000 } });
  await start(current.items, "abcdefghij".split(""), "snapshot", stores);
  const puts = engineWith({ blobs: new holdfast.FileBlobs(join(folder, "blobs")), journaledBytes: 1000 });
  await start(current.large, 500, "half", puts);
  hang("moved-half last", "moved-again last");
  for (const state of ["half", "again"]) await start(earlier.moved, 1, state);

  for (const [workflow, work] of [
    ["retry", "call"],
    ["money", "ask"],
    ["circuit", "call"],
  ]) {
    trouble.set(`${workflow}-waiting ${work}`, FAILS);
    await start(current[workflow], null, "waiting");
    await journaled(`${workflow}-waiting`, "attempt_failed");
  }

  await start(current.pause, 1, "parked");
  await start(current.approve, null, "parked");
  hang("saga-half book undoes booking");
  await start(current.saga, null, "half");
  for (const runId of ["pause-parked", "approve-parked", "saga-half"]) await journaled(runId, "run_waiting");
  await engine.signal("approve-parked", "remark", "well done");
  // It wakes for a signal of another name, and is parked again.
  await journaled("approve-parked", "run_waiting", 2);
  void engine.cancel("saga-half", "not wanted", { compensate: true });
  await journaled("saga-half", "compensated");

  hang("line-fork c");
  await engine.fork(current.line, "line-completed", { fromNode: "b", input: { m: 5 }, runId: "line-fork" });
  await journaled("race-half", "invocation_completed", 2);
  for (const [place, fails] of trouble) if (fails === HANGS) await reached(...split(place));
}

/** Runs that a second kill catches. */
async function resumed({ current, trouble, engine, reached }) {
  for (const [workflow, work] of [
    ["line", "b"],
    ["moved", "last"],
  ]) {
    trouble.set(`${workflow}-again ${work}`, HANGS);
    void engine.resume(current[workflow], `${workflow}-again`);
    await reached(`${workflow}-again`, work);
  }
}

function split(place) {
  const space = place.indexOf(" ");
  return [place.slice(0, space), place.slice(space + 1)];
}

const LIVES = [ends, beginnings, resumed];

async function live(number, folder) {
  // Nothing of this machine goes into the store: not its name, which is part of the owner of a lease, nor its paths,
  // which are part of stacks. And the instants do not depend on when this is run.
  os.hostname = () => "golden";
  syncBuiltinESMExports();
  Error.stackTraceLimit = 0;
  const now = Date.now.bind(Date);
  const shift = BEGIN + number * HOUR_MS - now();
  Date.now = () => now() + shift;

  const world = await newWorld(folder);
  await LIVES[number](world, folder);
  if (number > 0) process.kill(process.pid, "SIGKILL");
  await world.engine.close();
}

/** Puts what is in the log beside the file into it, and leaves no such log. */
async function fold(path) {
  const { openDriver } = await import("../dist/stores/sqlite-driver.js");
  const db = openDriver(path);
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.exec("VACUUM");
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
  for (const beside of ["-wal", "-shm"]) rmSync(path + beside, { force: true });
}

async function write(folder) {
  if (existsSync(folder))
    throw new Error(`${folder} is there. A golden store is never written anew: it is what a version has left.`);
  mkdirSync(folder, { recursive: true });
  for (const number of LIVES.keys()) {
    const life = [fileURLToPath(import.meta.url), folder, String(number)];
    const { status, signal } = spawnSync(process.execPath, life, { stdio: "inherit", timeout: 60_000 });
    if (number === 0 ? status !== 0 : signal !== "SIGKILL")
      throw new Error(`Life ${number} ended with ${status ?? signal}.`);
  }
  await fold(join(folder, "runs.db"));
  writeSync(1, `${folder}\n`);
}

const [folder = join(root, "test/golden", version), number] = process.argv.slice(2);
if (number === undefined) await write(folder);
else await live(Number(number), folder);
