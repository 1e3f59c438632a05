// A process that watches a schedule until it is killed. Notes each call of a node in a log that outlives it.
import { openSync, writeSync } from "node:fs";
import { createEngine, SqliteStore, Workflow } from "../../dist/index.js";

const { path, log, everyMs } = JSON.parse(process.argv[2]);
const file = openSync(log, "a");
const tick = new Workflow({ id: "tick" }).addNode("note", (at) => void writeSync(file, `${at}\n`));

const engine = createEngine({ store: new SqliteStore(path), workflows: [tick] });
await engine.recover();
await engine.schedule("tick", { everyMs, workflow: tick, input: ({ scheduledAt }) => scheduledAt, missed: "run-all" });
process.stdout.write("up\n");
