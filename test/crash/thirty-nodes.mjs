import { setTimeout as sleep } from "node:timers/promises";
import { Workflow } from "../../dist/index.js";

/**
 * Thirty nodes: four branches of six with links between them, three nodes that fail on their first attempt, one that
 * always fails and has a backup, and an end that fails where the input asks for it. What a node returns depends on its
 * input alone. `called` hears of each call before anything else happens in it.
 */
export function thirtyNodes(called) {
  const workflow = new Workflow({ id: "thirty-nodes" });
  const add = (id, work = (input) => `${id}:${digest(JSON.stringify(input))}`) =>
    workflow.addNode(id, async (input, context) => {
      called(context.invocationId);
      await sleep((id.length + id.charCodeAt(1) + id.charCodeAt(id.length - 1)) % 5);
      return work(input, context);
    });
  const flaky =
    (id) =>
    (input, { attempt }) => {
      if (attempt === 1) throw new Error(`${id} fails on its first attempt`);
      return digest(JSON.stringify(input));
    };

  add("source", (input) => input);
  add("join");
  for (const branch of [0, 1, 2, 3]) {
    for (const step of [0, 1, 2, 3, 4, 5]) {
      const id = `b${branch}s${step}`;
      const isFlaky = branch > 0 && step === branch + 1;
      add(id, isFlaky ? flaky(id) : undefined);
      if (isFlaky) workflow.configureRetry(id, { maxAttempts: 5, initialDelayMs: 5 });
      workflow.connect(step === 0 ? "source" : `b${branch}s${step - 1}`, id);
    }
    workflow.connect(`b${branch}s5`, "join");
  }
  workflow.connect("b0s1", "b1s4").connect("b2s2", "b3s5").connect("b3s0", "b0s3");

  add("doomed", () => {
    throw new Error("doomed never works");
  });
  add("spare").addFallback("doomed", "spare").configureRetry("doomed", { maxAttempts: 2, initialDelayMs: 3 });
  add("end", (input) => {
    if (input.source.fails) throw new Error("the end fails, as the input wants it");
    return input;
  });
  add("late");
  return workflow.connect("join", "doomed").connect("doomed", "end").connect("source", "end").connect("b0s0", "late");
}

function digest(text) {
  let hash = 0;
  for (const character of text) hash = (Math.imul(hash, 31) + character.charCodeAt(0)) >>> 0;
  return hash.toString(36);
}
