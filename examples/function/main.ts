// A plain function as a workflow: its steps are its checkpoints, and the workflow can be drawn like any other.
import { MemoryStore, type NodeContext, Workflow } from "holdfast";

async function greet(name: string, ctx: NodeContext): Promise<string> {
  const text = await ctx.step("compose", () => {
    console.log("composes");
    return `hello, ${name}`;
  });
  await ctx.step("send", () => console.log("sends"));
  return text;
}

const store = new MemoryStore();
const workflow = Workflow.from(greet);
console.log(await workflow.execute("Ada", { runId: "greet-ada", store }));
// A second time it is the stored result that comes back.
console.log(await workflow.execute("Ada", { runId: "greet-ada", store }));
console.log(workflow.toMermaid());
