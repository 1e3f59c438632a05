// A new run from the middle of an old one: what was paid for before that point is taken over, not paid for again.
import { createEngine, MemoryStore, Workflow } from "holdfast";

const report = new Workflow({ id: "report" })
  .addNode("research", (topic: string) => {
    console.log(`  researches ${topic}, which takes an hour`);
    return [`${topic} grows fast`, `${topic} is eaten in Wales`];
  })
  .addNode("write", (facts: string[]) => {
    console.log("  writes");
    return facts.join("; ");
  })
  .connect("research", "write");

const engine = createEngine({ store: new MemoryStore() });
console.log((await engine.run(report, "kelp", { runId: "first" })).output);

const again = await engine.fork(report, "first", { fromNode: "write", runId: "second" });
console.log((await again.result).output);

const corrected = await engine.fork(report, "first", { fromNode: "write", input: ["kelp is an alga"] });
console.log((await corrected.result).output);
await engine.close();
