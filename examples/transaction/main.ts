// SQL of a node in the transaction that stores its step: done exactly once, though the node is tried three times.
import { createEngine, type NodeContext, SqliteStore, Workflow } from "holdfast";

const engine = createEngine({ store: new SqliteStore("seats.db") });
const booking = new Workflow({ id: "booking" })
  .addNode("book", async (seat: string, ctx: NodeContext) => {
    const free = await ctx.transaction((sql) => {
      console.log(`  takes ${seat}`);
      sql.run("CREATE TABLE IF NOT EXISTS seats (seat TEXT PRIMARY KEY)");
      sql.run("INSERT INTO seats VALUES (?)", seat);
      return 10 - sql.all("SELECT seat FROM seats").length;
    });
    console.log(`attempt ${ctx.attempt}: ${free} seats are left`);
    if (ctx.attempt < 3) throw new Error("the mail server is down");
    return `${seat} is yours`;
  })
  .configureRetry("book", { maxAttempts: 3, initialDelayMs: 1 });

console.log((await engine.run(booking, "12A", { runId: "ada" })).output);
console.log((await engine.run(booking, "12B", { runId: "bo" })).output);
await engine.close();
