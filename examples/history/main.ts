// What happened to a run, event by event, from its journal; and what happens now, as an async iterator.
import { createEngine, MemoryStore, Workflow } from "holdfast";

let tries = 0;
const fetching = new Workflow({ id: "fetching" })
  .addNode("fetch", () => {
    if (++tries < 2) throw new Error("connection reset");
    return new Map([["title", "Kelp"]]);
  })
  .configureRetry("fetch", { maxAttempts: 3, initialDelayMs: 1, jitter: "none" });

const engine = createEngine({ store: new MemoryStore() });
const events = engine.events();
await engine.run(fetching, undefined, { runId: "fetch-1" });

for (const event of (await engine.history("fetch-1"))!.events) {
  const said =
    event.kind === "attempt_failed" ? event.error.message : event.kind === "invocation_completed" ? event.output : "";
  console.log(event.kind, said);
}
await engine.close();
const types: string[] = [];
for await (const { type } of events) types.push(type);
console.log(types.filter((type) => /^(run|node)\./.test(type)).join(", "));
