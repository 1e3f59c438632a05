import type { Clock } from "../src/core/clock.ts";
import type { Store } from "../src/core/store.ts";
import { Engine } from "../src/engine/engine.ts";
import type { Runnable } from "../src/engine/runnable.ts";
import type { EngineSubject, Graph } from "../src/testing/engine-world.ts";
import type { NodeDefinition } from "../src/workflow/definition.ts";
import { DefinitionBuilder } from "../src/workflow/builder.ts";

/** The embedded engine on a kind of store, as the contract of engines and the simulation want it. */
export function embeddedEngine(newStore: (clock: Clock) => Store): EngineSubject<Runnable> {
  return {
    newStore,
    newEngine: (store, runtime, limits, workflows) => new Engine({ store, runtime, workflows, ...limits }),
    workflow: (graph) => ({ definition: definitionOf(graph) }),
  };
}

function definitionOf(graph: Graph): Runnable["definition"] {
  const { id = "w", nodes, edges = [], fallbacks = [], policies = {}, forms = {}, ...rest } = graph;
  const builder = new DefinitionBuilder({ id, ...rest });
  for (const [node, run] of Object.entries(nodes)) builder.addNode(node, run as NodeDefinition["run"], forms[node]);
  for (const [from, to, mapping, when] of edges) builder.connect(from, to, mapping, when);
  for (const [primary, backup] of fallbacks) builder.addFallback(primary, backup);
  for (const [node, options] of Object.entries(policies)) builder.configure(node, options);
  return builder.definition;
}
