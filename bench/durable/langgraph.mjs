// LangGraph.js with its SQLite saver: one node in a loop, a state of 1 kB that each step overwrites. The saver opens the
// database at synchronous=NORMAL, so a power loss may take steps that it has acknowledged; nothing here changes that.
import { Annotation, END, START, StateGraph } from "@langchain/langgraph";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import { OUTPUT } from "./step.mjs";

const State = Annotation.Root({ done: Annotation(), steps: Annotation(), output: Annotation() });
const graph = new StateGraph(State)
  .addNode("step", async ({ done }) => ({ done: done + 1, output: OUTPUT }))
  .addEdge(START, "step")
  .addConditionalEdges("step", ({ done, steps }) => (done < steps ? "step" : END));

export function langgraph(file) {
  const saver = SqliteSaver.fromConnString(file);
  const compiled = graph.compile({ checkpointer: saver });
  return {
    async run(id, steps) {
      const settings = { configurable: { thread_id: id }, recursionLimit: steps + 10, durability: "sync" };
      const { done } = await compiled.invoke({ done: 0, steps }, settings);
      if (done !== steps) throw new Error(`LangGraph ended run ${id} after ${done} of ${steps} steps`);
    },
    close: () => saver.db.close(),
  };
}
