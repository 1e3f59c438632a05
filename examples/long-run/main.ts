// Thousands of steps in one run: its state is stored now and then, so that taking it up again reads only what is new.
import { createEngine, type NodeContext, SqliteStore, Workflow } from "holdfast";

const STEPS = 3000;
const crawl = new Workflow({ id: "crawl" })
  .addNode("crawl", async (site: string, ctx: NodeContext) => {
    let links = 0;
    for (let page = 0; page < STEPS; page++) {
      if (page === STEPS - 1 && ctx.attempt === 1) throw new Error("the last page does not load");
      links += await ctx.step(`page ${page}`, () => 3);
    }
    return `${links} links on ${site}`;
  })
  .configureRetry("crawl", { maxAttempts: 2, initialDelayMs: 1 });

const engine = createEngine({
  store: new SqliteStore("crawl.db", { durability: "relaxed" }),
  retention: { keep: 100 },
});
console.log((await engine.run(crawl, "kelp.example", { runId: "crawl-1" })).output);
const { snapshot, version } = (await engine.get("crawl-1"))!;
console.log("its state was stored:", snapshot !== null && snapshot.seq < version);
console.log("runs that are old enough to go:", (await engine.prune({ keep: 100, dryRun: true })).length);
await engine.close();
