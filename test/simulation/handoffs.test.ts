import { expect, it } from "vitest";
import type { NodeContext, NodeFunction } from "../../src/core/node.ts";
import { MemoryStore } from "../../src/stores/memory.ts";
import type { Graph } from "../../src/testing/engine-world.ts";
import { BelievesFirst, ForgetsLastRecord } from "../broken-stores.ts";
import { checked, isFound } from "./checked.ts";
import { handoffSketches as sketches, type HandoffTold, simulateHandoffs } from "./handoff-simulation.ts";

const none = (): HandoffTold => ({ deaths: 0, handed: 0, redriven: 0 });

it("agents who hand to one another come to the same however often they die, with the output of whoever handed to nobody (C5.3, C6.1, C6.2, C10.4)", async () => {
  const told = none();
  await checked({ Kind: MemoryStore, numRuns: 1000, sketches }, (world, sketch) =>
    simulateHandoffs(world, sketch, told),
  );
  // Without these it would prove little.
  expect(told.deaths).toBeGreaterThan(150);
  expect(told.handed).toBeGreaterThan(500);
  expect(told.redriven).toBeGreaterThan(50);
});

it("the simulation finds a hand-off that follows the edges too, an engine that believes too early, and one that forgets (C5.3, C6.1)", async () => {
  // Whoever should hand over gives an output like any other.
  const handoff: NodeContext["handoff"] = (_, message) => message as never;
  const deafly = (node: NodeFunction<unknown>): NodeFunction<unknown> => {
    return (input, context) => {
      const { runId, invocationId, attempt } = context;
      return node(input, { runId, invocationId, attempt, handoff } as NodeContext);
    };
  };
  const deaf = (graph: Graph): Graph => {
    const nodes = Object.entries(graph.nodes).map(([id, node]) => [id, deafly(node as NodeFunction<unknown>)] as const);
    return { ...graph, nodes: Object.fromEntries(nodes) };
  };
  const plants = [
    { Kind: MemoryStore, mutate: deaf },
    { Kind: BelievesFirst, mutate: undefined },
    { Kind: ForgetsLastRecord, mutate: undefined },
  ];
  for (const { Kind, mutate } of plants) {
    const simulate = isFound({ Kind, numRuns: 1000, sketches }, (world, sketch) =>
      simulateHandoffs(world, sketch, none(), mutate),
    );
    expect(await simulate).toBe(true);
  }
});
