import { createEngine, SqliteStore, Workflow } from "../../dist/index.js";
import { OUTPUT } from "./step.mjs";

// A chain is built once: defining a workflow is no part of running it.
const chains = new Map();
function chainOf(steps) {
  if (!chains.has(steps)) {
    const workflow = new Workflow({ id: `chain-of-${steps}` });
    for (let i = 0; i < steps; i++) workflow.addNode(`n${i}`, async () => OUTPUT);
    for (let i = 1; i < steps; i++) workflow.connect(`n${i - 1}`, `n${i}`);
    chains.set(steps, workflow);
  }
  return chains.get(steps);
}

export function ours(file) {
  const engine = createEngine({ store: new SqliteStore(file) });
  return {
    async run(id, steps) {
      const { status } = await engine.run(chainOf(steps), null, { runId: id });
      if (status !== "completed") throw new Error(`run ${id} of ${steps} steps ended ${status}`);
    },
    close: () => engine.close(),
  };
}
