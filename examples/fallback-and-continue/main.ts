// One node fails and a backup stands in; another fails for good and the run goes on without it. Neither is hidden: the
// result is degraded, and what is missing can be made up for later.
import { createEngine, MemoryStore, Workflow } from "holdfast";

let isCameraOff = true;
const profile = new Workflow({ id: "profile" })
  .addNode("user", (name: string) => name)
  .addNode("model", (): string => {
    throw new Error("503 the model is overloaded");
  })
  .addNode("template", (name: string) => `${name} is one of our users.`)
  .addNode(
    "photo",
    (name: string) => {
      if (isCameraOff) throw new Error("the camera is off");
      return `photo of ${name}`;
    },
    { onFailure: "continue" },
  )
  .addNode("crop", (photo: string) => `${photo}, cropped`)
  .connect("user", "model")
  .connect("user", "photo")
  .connect("photo", "crop")
  .configureRetry("model", { maxAttempts: 2, initialDelayMs: 1 })
  .addFallback("model", "template");

const engine = createEngine({ store: new MemoryStore() });
const run = await engine.run(profile, "Ada", { runId: "ada" });
console.log(run.status, run.degraded ? "and degraded:" : "", run.output);
for (const { nodeId, servedBy, error } of run.agentSteps)
  console.log(`  ${nodeId} by ${servedBy}:`, error?.message ?? "well");

isCameraOff = false;
for (const { id } of run.deadLetters) console.log((await engine.deadLetters.redrive(id)).output);
await engine.close();
