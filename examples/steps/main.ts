// A plain function becomes durable by its steps: what a step gave is stored, and no later attempt calls it again.
import { MemoryStore, type NodeContext, Workflow } from "holdfast";

const invoice = new Workflow({ id: "invoice" })
  .addNode("invoice", async (order: { id: number; prices: number[] }, ctx: NodeContext) => {
    console.log(`attempt ${ctx.attempt}`);
    const number = await ctx.step("number", () => {
      console.log("  takes a number");
      return `2026-${order.id}`;
    });
    let total = 0;
    for (const [place, price] of order.prices.entries()) {
      total += await ctx.step(`price ${place}`, () => {
        console.log(`  looks up price ${place}`);
        if (place === ctx.attempt) throw new Error(`the price list is busy at ${place}`);
        return price;
      });
    }
    return `invoice ${number}: ${total} euros`;
  })
  .configureRetry("invoice", { maxAttempts: 3, initialDelayMs: 1 });

console.log(await invoice.execute({ id: 7, prices: [10, 20, 30] }, { store: new MemoryStore() }));
