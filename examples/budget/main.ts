// What a node may spend in a run, over all its attempts: the cheaper model, when the better one would be too dear.
import { MemoryStore, type NodeContext, resilientQueueRun, Workflow } from "holdfast";

const answers = new Workflow({ id: "answers" })
  .addNode("ask", (questions: string[], { degraded, attempt }: NodeContext) => {
    const model = degraded ? "small" : "large";
    console.log(`attempt ${attempt} asks the ${model} model`);
    if (attempt < 3) throw Object.assign(new Error("cut off"), { usd: 0.04 });
    return { text: `${questions.length} answers of the ${model} model`, usd: 0.01 };
  })
  .configureRetry("ask", { maxAttempts: 3, initialDelayMs: 1 })
  .configureBudget("ask", {
    limitUsd: 0.1,
    onExhausted: "degrade",
    estimate: ({ degraded }) => (degraded ? 0.01 : 0.05),
    cost: (answer) => (answer as { usd: number }).usd,
    costOfFailure: (error) => (error as { usd: number }).usd,
  });

const run = await resilientQueueRun({ workflow: answers, workflowInput: ["why?"], store: new MemoryStore() });
console.log(run.finalWorkflowOutput);
console.log(`it cost ${run.totalCost} USD`);
