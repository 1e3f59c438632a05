// A workflow is a node of another one. It is a run of its own: a redrive of the node goes on where the inner one failed.
import { createEngine, MemoryStore, subWorkflow, Workflow } from "holdfast";

let isJammed = true;
const ship = new Workflow({ id: "ship" })
  .addNode("pack", ({ id }: { id: number }) => {
    console.log(`packs order ${id}`);
    return `parcel ${id}`;
  })
  .addNode("label", (parcel: string) => {
    if (isJammed) throw new Error("the printer is jammed");
    return `${parcel}, labelled`;
  })
  .connect("pack", "label");

const sale = new Workflow({ id: "sale" })
  .addNode("charge", (order: { id: number; euros: number }) => {
    console.log(`charges ${order.euros} euros`);
    return order;
  })
  .addNode("ship", subWorkflow(ship))
  .connect("charge", "ship");

const engine = createEngine({ store: new MemoryStore() });
const failed = await engine.run(sale, { id: 7, euros: 20 }, { runId: "sale-7" });
console.log(failed.error?.message);
for (const { runId, status } of await engine.list()) console.log(`  ${runId} ${status}`);

isJammed = false;
const mended = await engine.deadLetters.redrive(failed.deadLetters[0]!.id);
console.log(mended.output);
for (const { runId, status } of await engine.list()) console.log(`  ${runId} ${status}`);
await engine.close();
