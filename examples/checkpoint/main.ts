// A program of your own, without a workflow, that goes on where it was: its state is saved in versions.
import { openSharedState, WorkflowCheckpoint } from "holdfast";

const store = openSharedState("sqlite:import.db");

async function importRows(upTo: number): Promise<void> {
  const checkpoint = new WorkflowCheckpoint("import", { store, maxCheckpoints: 3 });
  const saved = (await checkpoint.load()) as { row: number } | undefined;
  let row = saved?.row ?? 0;
  console.log(`begins at row ${row}`);
  while (row < upTo) await checkpoint.save({ row: ++row });
  console.log(`ends at row ${row}, with ${(await checkpoint.list()).length} versions kept`);
}

await importRows(4);
await importRows(9);
await store.close();
