// A service that carries runs out until it is sent a signal. Says on its standard output what goes on.
import { setTimeout as sleep } from "node:timers/promises";
import { createEngine, SqliteStore, Workflow } from "../../dist/index.js";

const { path, runs, drainMs } = JSON.parse(process.argv[2]);
const napping = new Workflow({ id: "napping" }).addNode("nap", async (ms) => {
  await sleep(ms);
  return `slept ${ms}`;
});
const engine = createEngine({ store: new SqliteStore(path), workflows: [napping] });
engine.shutdownOn(["SIGTERM", "SIGINT"], { drainMs });
for (const [runId, ms] of Object.entries(runs)) await engine.start(napping, ms, { runId });
const { resumed, elsewhere, unknown, failed } = await engine.recover();
process.stdout.write(`recovered ${resumed.length}/${elsewhere.length}/${unknown.length}/${failed.length}\n`);
process.stdout.write("up\n");
// Keeps the process alive, as a server does.
setInterval(() => {}, 1000);
