// OpenWorkflow: one workflow function that awaits a step after the other, taken up by a worker in the same process.
// Its SQLite backend where Node has node:sqlite (which syncs each commit in WAL mode), else its Postgres backend.
//
// The worker polls for runs, and `result()` polls for results, once a second. Neither is counted: a run lasts from the
// first line of its function to the last.
import { OpenWorkflow } from "openworkflow";
import { hasNodeSqlite } from "./contenders.mjs";
import { now, OUTPUT } from "./step.mjs";

const connect = async (where) =>
  hasNodeSqlite
    ? (await import("openworkflow/sqlite")).BackendSqlite.connect(where)
    : (await import("openworkflow/postgres")).BackendPostgres.connect(where);

/** A worker asks for a run in each slot that is free, so it gets as many as there are runs. */
export async function open(where, concurrency) {
  const backend = await connect(where);
  const client = new OpenWorkflow({ backend });
  const ended = new Map();
  const chain = client.defineWorkflow({ name: "chain" }, async ({ input: { id, steps }, step }) => {
    const start = now();
    for (let i = 0; i < steps; i++) await step.run({ name: `n${i}` }, async () => OUTPUT);
    ended.get(id)({ start, end: now() });
    return steps;
  });
  const worker = client.newWorker({ concurrency });
  await worker.start();
  return {
    async run(id, steps) {
      const span = new Promise((resolve) => ended.set(id, resolve));
      await chain.run({ id, steps });
      return span;
    },
    async close() {
      await worker.stop();
      await backend.stop();
    },
  };
}
