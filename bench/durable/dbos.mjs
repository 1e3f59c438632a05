// DBOS: one workflow function that awaits a step after the other, called directly, as its documentation does. Postgres
// syncs each of its commits. The pool is twice the default, which is too small for 64 runs at once. It takes up what
// was left when it is launched, and reads each step when the function comes to it again.
import { DBOS } from "@dbos-inc/dbos-sdk";
import { never, OUTPUT } from "./step.mjs";

/** Called when the last step of a run begins that is to be left there. */
let left = null;
const ended = new Map();

async function lastStep() {
  if (left === null) return OUTPUT;
  left();
  return never();
}

const chain = DBOS.registerWorkflow(
  async (steps) => {
    for (let i = 0; i < steps; i++)
      await DBOS.runStep(i === steps - 1 ? lastStep : async () => OUTPUT, { name: `n${i}` });
    ended.get(DBOS.workflowID)?.();
    return steps;
  },
  { name: "chain" },
);

export async function open(systemDatabaseUrl) {
  // Resolved by a run that is taken up at launch, before anybody could ask for it.
  const taken = new Promise((resolve) => ended.set("left", resolve));
  DBOS.setConfig({ name: "bench", systemDatabaseUrl, systemDatabasePoolSize: 20, logLevel: "error" });
  await DBOS.launch();
  const run = async (id, steps) => {
    const done = await DBOS.withNextWorkflowID(id, () => chain(steps));
    if (done !== steps) throw new Error(`DBOS ended run ${id} after ${done} of ${steps} steps`);
  };
  return {
    run,
    leave: (id, steps) =>
      new Promise((resolve, reject) => {
        left = resolve;
        run(id, steps).catch(reject);
      }),
    finish: () => taken,
    close: () => DBOS.shutdown(),
  };
}
