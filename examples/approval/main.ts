// A run waits for a person without a process: one engine asks and is closed, a signal comes, another one goes on.
import { createEngine, SqliteStore, waitForSignal, Workflow } from "holdfast";
import { z } from "zod";

const Answer = z.object({ approved: z.boolean(), by: z.string() });

const refund = new Workflow({ id: "refund" })
  .addNode("ask", ({ euros }: { euros: number }) => console.log(`Shall we pay ${euros} euros back?`))
  .addNode("approval", waitForSignal<z.infer<typeof Answer>>({ timeoutMs: 86_400_000 }), { output: Answer })
  .addNode("pay", ({ approved, by }: z.infer<typeof Answer>) => `${by} has ${approved ? "approved" : "refused"} it`)
  .connect("ask", "approval")
  .connect("approval", "pay");

const asking = createEngine({ store: new SqliteStore("refunds.db") });
await asking.start(refund, { euros: 20 }, { runId: "refund-17" });
while ((await asking.get("refund-17"))?.status !== "waiting") await new Promise((resolve) => setTimeout(resolve, 5));
await asking.close();

// In a terminal: holdfast signal refund-17 approval --payload '{"approved": true, "by": "Ada"}'
const answering = createEngine({ store: new SqliteStore("refunds.db"), workflows: [refund] });
await answering
  .signal("refund-17", "approval", { approved: "yes" })
  .catch((error: Error) => console.log(error.message));
await answering.signal("refund-17", "approval", { approved: true, by: "Ada" });
console.log("it is kept for a run that is", (await answering.get("refund-17"))?.status);

const { resumed } = await answering.recover();
for (const { result } of resumed) console.log((await result).output);
await answering.close();
