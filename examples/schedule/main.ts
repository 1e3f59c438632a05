// Two engines on one file set the same schedule: each due time starts one run, named after it, and no time is lost.
import { createEngine, SqliteStore, Workflow } from "holdfast";

const EVERY_MS = 200;
const due: number[] = [];
const report = new Workflow({ id: "report" }).addNode("write", (scheduledAt: number) => {
  due.push(scheduledAt);
});

const engines = ["one", "two"].map(() => createEngine({ store: new SqliteStore("schedule.db") }));
for (const engine of engines) {
  await engine.schedule("pulse", {
    everyMs: EVERY_MS,
    workflow: report,
    input: ({ scheduledAt }) => scheduledAt,
    missed: "run-all",
  });
}
const isInARow = (): boolean => {
  const first = Math.min(...due);
  return [0, 1, 2, 3].every((n) => due.includes(first + n * EVERY_MS));
};
while (!isInARow()) await new Promise((resolve) => setTimeout(resolve, 10));
console.log("four due times in a row have come");
console.log(new Set(due).size === due.length ? "and each has started one run" : due);
const runs = await engines[0]!.list({ workflowId: "report" });
console.log(runs.every(({ runId }) => runId.startsWith("pulse@20")) ? "which is named after it" : runs);
for (const engine of engines) await engine.close();
