// Nodes choose who goes on and give a message along, as agents do; one may hand the work back.
import { MemoryStore, type NodeContext, Workflow } from "holdfast";

interface Letter {
  text: string;
  notes?: string[];
}

const support = new Workflow({ id: "support" })
  .addNode(
    "triage",
    ({ text, notes = [] }: Letter, ctx: NodeContext) => {
      console.log(`${ctx.invocationId} reads "${text}", with ${notes.length} notes`);
      const next = notes.length === 0 ? "technician" : "billing";
      return ctx.handoff(next, { text, notes: [...notes, `seen by ${ctx.nodeId}`] });
    },
    { handoffTo: ["technician", "billing"] },
  )
  .addNode(
    "technician",
    ({ text, notes = [] }: Letter, ctx: NodeContext) => {
      console.log(`${ctx.invocationId} finds no fault`);
      return ctx.handoff("triage", { text, notes: [...notes, "the modem is fine"] });
    },
    { handoffTo: ["triage"] },
  )
  .addNode("billing", ({ notes = [] }: Letter) => `money back, since: ${notes.join(", ")}`);

console.log(await support.execute({ text: "my modem is broken" }, { store: new MemoryStore() }));
