// An outage fails a handful of orders. When the printer is mended they go on where they had failed, without charging
// anybody twice; one order is given up, and one stays in quarantine until somebody looks at it. It prints the same each
// time: `expected.txt`.
import { createEngine, MemoryStore, Workflow } from "holdfast";

let printerIsDown = true;
let addressBookIsWhole = false;
const charged: string[] = [];

interface Order {
  to: string;
  cents: number;
}

const orders = new Workflow({ id: "orders" })
  .addNode("check", (order: Order) => order)
  .addNode("ship", async ({ to, cents }: Order, ctx) => {
    // Done once for each order, however often the node is called: what a step has given is stored.
    await ctx.step("charge", () => charged.push(`${to} ${cents}`));
    if (printerIsDown) throw Object.assign(new Error("the label printer is down"), { code: "E_PRINTER" });
    if (to === "grace" && !addressBookIsWhole)
      throw Object.assign(new Error(`${to} has no address`), { code: "E_ADDRESS" });
    return `label for ${to}`;
  })
  .connect("check", "ship");

const engine = createEngine({ store: new MemoryStore(), workflows: [orders], maxRetries: 1 });
const { deadLetters } = engine;
for (const [to, cents] of [
  ["ada", 1200],
  ["grace", 800],
  ["edsger", 50],
  ["barbara", 990],
] as const)
  await engine.run(orders, { to, cents }, { runId: `order-${to}` });

const { open, groups } = await deadLetters.stats();
console.log(`${open} open dead letters`);
for (const { nodeId, errorCode, count } of groups) console.log(`  ${nodeId} ${errorCode}: ${count}`);

const [edsger] = await deadLetters.list({ runId: "order-edsger" });
await deadLetters.discard(edsger!.id, "the customer has cancelled");

printerIsDown = false;
const foretold = await deadLetters.redriveAll({ errorCode: "E_PRINTER" }, { dryRun: true });
console.log(`\na dry run would redrive ${foretold.redrivable}`);
await deadLetters.redriveAll(
  { errorCode: "E_PRINTER" },
  {
    staggerMs: 20,
    onEntry: ({ runId, outcome, status, error }) =>
      console.log(`${runId} ${outcome}, ${status}${outcome === "failed" ? `: ${error}` : ""}`),
  },
);

// It was redriven as often as it may be, and waits for a person.
addressBookIsWhole = true;
const again = await deadLetters.redriveAll({});
for (const { runId, skipped } of again.entries) console.log(`\n${runId} skipped: ${skipped?.code}`);
const [grace] = await deadLetters.list({ runId: "order-grace" });
const { status, output } = await deadLetters.redrive(grace!.id, { force: true });
console.log(`by force: ${status}, ${output}`);

console.log("\nas they stand now, oldest first");
const exported: string[] = [];
for await (const letter of deadLetters.export())
  exported.push(`${letter.runId} ${letter.discarded?.reason ?? letter.status} ${JSON.stringify(letter.payload)}`);
console.log(exported.reverse().join("\n"));
console.log(`\ncharged: ${charged.join(", ")}`);

console.log(`pruned: ${await deadLetters.prune({ enteredBefore: Infinity })}`);
await engine.close();
