// A process that counts in a table of its own, in the transactions of its steps, until it has come to the end or is
// killed. With `plant` it counts beside them instead, as one would without such transactions.
import { createEngine, SqliteStore, Workflow } from "../../dist/index.js";

const { path, runId, nodes, plant } = JSON.parse(process.argv[2]);
const store = new SqliteStore(path);
const engine = createEngine({ store, maxCrashes: Infinity });
const count = (sql) => sql.run("UPDATE counter SET n = n + 1");

const reader = new Workflow({ id: "reader" }).addNode("read", (_, ctx) =>
  ctx.transaction((sql) => {
    sql.run("CREATE TABLE IF NOT EXISTS counter (n INTEGER)");
    sql.run("INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter)");
    return sql.all("SELECT n FROM counter")[0].n;
  }),
);
const workflow = new Workflow({ id: "counting", concurrency: 3 });
for (let i = 0; i < nodes; i++) {
  workflow.addNode(`n${i}`, async (_, ctx) => {
    if (!plant) return ctx.transaction(count);
    // A run of its own counts for it, and what it has counted is believed only later.
    await engine.run(
      new Workflow({ id: "beside" }).addNode("n", (_input, inner) => inner.transaction(count)),
      null,
    );
    return null;
  });
}
await engine.run(reader, null);
process.stdout.write("up\n");
await engine.run(workflow, null, { runId });
process.stdout.write(`counted ${(await engine.run(reader, null)).output}\n`);
await engine.close();
