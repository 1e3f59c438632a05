// LangGraph.js with its SQLite saver: one node in a loop, a state of 1 kB that each step overwrites, durability "sync",
// so that a step is stored before the next begins. The saver opens the database at synchronous=NORMAL, so a power loss
// may take steps that it has acknowledged; nothing here changes that. It carries a run on from its newest state, and
// reads no other.
import { Annotation, END, START, StateGraph } from "@langchain/langgraph";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import { never, OUTPUT } from "./step.mjs";

/** Called when the last step of a run begins that is to be left there. */
let left = null;

const State = Annotation.Root({ done: Annotation(), steps: Annotation(), output: Annotation() });
const graph = new StateGraph(State)
  .addNode("step", async ({ done, steps }) => {
    if (left !== null && done === steps - 1) {
      left();
      await never();
    }
    return { done: done + 1, output: OUTPUT };
  })
  .addEdge(START, "step")
  .addConditionalEdges("step", ({ done, steps }) => (done < steps ? "step" : END));

export function open(file) {
  const saver = SqliteSaver.fromConnString(file);
  const compiled = graph.compile({ checkpointer: saver });
  const invoke = async (id, steps, input) => {
    const settings = { configurable: { thread_id: id }, recursionLimit: steps + 10, durability: "sync" };
    const { done } = await compiled.invoke(input, settings);
    if (done !== steps) throw new Error(`LangGraph ended run ${id} after ${done} of ${steps} steps`);
  };
  return {
    run: (id, steps) => invoke(id, steps, { done: 0, steps }),
    leave: (id, steps) =>
      new Promise((resolve, reject) => {
        left = resolve;
        invoke(id, steps, { done: 0, steps }).catch(reject);
      }),
    finish: (id, steps) => invoke(id, steps, null),
    close: () => saver.db.close(),
  };
}
