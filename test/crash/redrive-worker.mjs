// A process that leaves dead letters behind, or one that redrives them until none is open, and is killed in the middle.
// Says what it does in a log that outlives it, in one line for each thing.
import { existsSync, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { createEngine, SqliteStore, Workflow } from "../../dist/index.js";

const { path, log, who, down, runs, workMs } = JSON.parse(process.argv[2]);
const file = openSync(log, "a");
const note = (what, runId) => writeSync(file, `${JSON.stringify([who, what, runId])}\n`);

const order = new Workflow({ id: "order" })
  .addNode("price", (n, { runId }) => (note("price", runId), n * 2))
  .addNode("pay", async (amount, ctx) => {
    const { runId, idempotencyKey } = ctx;
    const charge = await ctx.step(
      "charge",
      () => (note("charge", runId), `${amount} by ${idempotencyKey.slice(0, 8)}`),
    );
    note("work", runId);
    if (existsSync(down)) throw new Error("the printer is down");
    await sleep(workMs);
    note("worked", runId);
    return charge;
  })
  .addNode("send", (charge, { runId }) => (note("send", runId), charge))
  .connect("price", "pay")
  .connect("pay", "send");

const store = new SqliteStore(path);
const engine = createEngine({ store, workflows: [order], leaseMs: 10_000 });
process.stdout.write("up\n");
for (let n = 0; n < runs; n++) await engine.run(order, n, { runId: `r${n}` });
while (runs === 0 && (await engine.deadLetters.queue()).length > 0) {
  const { entries } = await engine.deadLetters.redriveAll({}, { concurrency: 2 });
  for (const { runId, outcome } of entries) if (outcome !== "skipped") note(outcome, runId);
  await sleep(20);
}
// One that was killed when its entry was settled, and its run not yet at its end, has left a run and no open entry.
const { resumed } = await engine.recover();
await Promise.all(resumed.map(({ result }) => result));
await engine.close();
