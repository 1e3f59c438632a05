import { createEngine, SqliteStore, Workflow } from "../../dist/index.js";
import { never, OUTPUT } from "./step.mjs";

/** Called when the last step of a run begins that is to be left there. */
let left = null;

// A chain is built once: defining a workflow is no part of running it.
const chains = new Map();
function chainOf(steps) {
  if (!chains.has(steps)) {
    const workflow = new Workflow({ id: `chain-of-${steps}`, maxNodeInvocations: Math.max(steps, 1000) });
    for (let i = 0; i < steps - 1; i++) workflow.addNode(`n${i}`, async () => OUTPUT);
    workflow.addNode(`n${steps - 1}`, async () => {
      if (left === null) return OUTPUT;
      left();
      return never();
    });
    for (let i = 1; i < steps; i++) workflow.connect(`n${i - 1}`, `n${i}`);
    chains.set(steps, workflow);
  }
  return chains.get(steps);
}

export function open(file) {
  const engine = createEngine({ store: new SqliteStore(file) });
  const carryOn = async (id, steps) => {
    const { status } = await engine.run(chainOf(steps), null, { runId: id });
    if (status !== "completed") throw new Error(`run ${id} of ${steps} steps ended ${status}`);
  };
  return {
    run: carryOn,
    leave: (id, steps) =>
      new Promise((resolve, reject) => {
        left = resolve;
        carryOn(id, steps).catch(reject);
      }),
    finish: carryOn,
    close: () => engine.close(),
  };
}
