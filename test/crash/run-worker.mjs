// A process that carries one run out while somebody kills, stops and continues it. Says what it does in a log that
// outlives it: each line is written to the file before anything else happens.
import { openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { createEngine, SqliteStore } from "../../dist/index.js";
import { ForgetsLastRecord, HasNoFence } from "./broken-sqlite.mjs";
import { thirtyNodes } from "./thirty-nodes.mjs";
import { stallable } from "./stallable.mjs";

const { path, log, runId, input, leaseMs, workflow: name, store: kind } = JSON.parse(process.argv[2]);
const file = openSync(log, "a");
const note = (what, subject) => writeSync(file, `${JSON.stringify([what, subject])}\n`);

const KINDS = { sound: SqliteStore, forgets: ForgetsLastRecord, fenceless: HasNoFence };
const WORKFLOWS = { "thirty-nodes": thirtyNodes, stallable };

const store = new KINDS[kind](path);
const engine = createEngine({
  store,
  leaseMs,
  maxCrashes: Infinity,
  onEvent: (event) => {
    if (event.type === "node.completed" || event.type === "node.failed") note("acknowledged", event.invocationId);
  },
});
const workflow = WORKFLOWS[name]((invocationId) => note("called", invocationId));
process.stdout.write("up\n");

for (;;) {
  try {
    const { status, output, error, deadLetters, agentSteps, degraded } = await engine.run(workflow, input, { runId });
    const steps = agentSteps.map(({ invocationId, servedBy }) => [invocationId, servedBy]).sort();
    const letters = deadLetters.map(({ nodeId, status: state }) => [nodeId, state]);
    note("ended", { status, output, cause: error?.cause?.message, degraded, steps, letters });
    break;
  } catch (error) {
    if (error.code !== "RUN_IN_USE") {
      note("stopped", error.code);
      break;
    }
    await sleep(50);
  }
}
await engine.close();
