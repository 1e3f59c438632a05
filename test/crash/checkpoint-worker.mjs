// Saves a state again and again, each twice as a whole: as a number and as that many letters. Says what was acknowledged.
import { writeSync } from "node:fs";
import { SqliteSharedState, WorkflowCheckpoint } from "../../dist/index.js";

const { path } = JSON.parse(process.argv[2]);
const checkpoint = new WorkflowCheckpoint("c", { store: new SqliteSharedState(path), maxCheckpoints: 3 });
const { n: last } = (await checkpoint.load()) ?? { n: 0 };
for (let n = last + 1; ; n++) {
  await checkpoint.save({ n, text: "x".repeat(n) });
  writeSync(1, `${n}\n`);
}
