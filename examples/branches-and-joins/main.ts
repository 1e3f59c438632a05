// Branches are taken by conditions and run at the same time; a node behind several of them waits for all, or for any.
import { MemoryStore, Workflow } from "holdfast";

interface Order {
  id: number;
  euros: number;
}

const store = new MemoryStore();

const checkout = new Workflow({ id: "checkout" })
  .addNode("order", (order: Order) => order)
  .addNode("stock", ({ id }: Order) => `order ${id} is in stock`)
  .addNode("credit", ({ euros }: Order) => `${euros} euros are covered`)
  .addNode("express", ({ id }: Order) => `order ${id} is sent at once`)
  .addNode(
    "confirm",
    ({ stock, credit, express = "no express" }: { stock: string; credit: string; express?: string }) =>
      [stock, credit, express].join("; "),
  )
  .connect("order", "stock")
  .connect("order", "credit")
  .connect("order", "express", undefined, { when: ({ euros }) => euros > 100 })
  .connect("stock", "confirm")
  .connect("credit", "confirm")
  .connect("express", "confirm");

console.log(await checkout.execute({ id: 1, euros: 20 }, { store }));
console.log(await checkout.execute({ id: 2, euros: 500 }, { store }));

const lookup = new Workflow({ id: "lookup" })
  .addNode("archive", async (word: string) => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return `${word}: from the archive`;
  })
  .addNode("cache", (word: string) => `${word}: from the cache`)
  .addNode("answer", (found: string) => found, { join: "any" })
  .connect("archive", "answer")
  .connect("cache", "answer");

console.log(await lookup.execute("kelp", { store }));
