import { expect, it } from "vitest";
import { MemoryStore } from "../../src/stores/memory.ts";
import type { Graph } from "../../src/testing/engine-world.ts";
import { BelievesFirst, ForgetsLastRecord } from "../broken-stores.ts";
import { checked, isFound } from "./checked.ts";
import { simulateForms } from "./form-simulation.ts";
import { sketches } from "./sketch.ts";

it("a random graph that dies at random writes ends as the oracle says, and repeats nothing acknowledged (C5.3, C5.4, C5.6, C6.1, C6.2)", async () => {
  const told = { deaths: 0, rounds: 0, redriven: 0 };
  await checked({ Kind: MemoryStore, numRuns: 1200, sketches }, (world, sketch) => simulateForms(world, sketch, told));
  // Without these it would prove little.
  expect(told.deaths).toBeGreaterThan(600);
  expect(told.rounds).toBeGreaterThan(200);
  expect(told.redriven).toBeGreaterThan(200);
});

it("the simulation finds an engine that believes what is not stored yet, and one that forgets (C6.1)", async () => {
  for (const Kind of [BelievesFirst, ForgetsLastRecord]) expect(await isPlantFound({ Kind })).toBe(true);
});

it("the simulation finds a join that does not wait, an exit that is dropped and a condition that nobody asks (C5.3)", async () => {
  const hasty = (graph: Graph): Graph => ({
    ...graph,
    forms: Object.fromEntries(Object.keys(graph.forms!).map((id) => [id, { ...graph.forms![id], join: "any" }])),
  });
  const careless = (graph: Graph): Graph => ({
    ...graph,
    edges: graph.edges!.filter(([from, to]) => !leavesLoop(graph, from, to)),
  });
  const blind = (graph: Graph): Graph => ({
    ...graph,
    edges: graph.edges!.map((edge) => (edge[0] < edge[1] ? ([edge[0], edge[1], edge[2]] as const) : edge)),
  });
  for (const mutate of [hasty, careless, blind]) expect(await isPlantFound({ mutate })).toBe(true);
});

interface Plant {
  Kind?: typeof MemoryStore;
  mutate?: (graph: Graph) => Graph;
}

function isPlantFound({ Kind = MemoryStore, mutate }: Plant): Promise<boolean> {
  const told = { deaths: 0, rounds: 0, redriven: 0 };
  return isFound({ Kind, numRuns: 1200, sketches }, (world, sketch) => simulateForms(world, sketch, told, mutate));
}

/** Whether an edge leads out of a loop: its source can come back to itself, but not over this edge. */
function leavesLoop({ edges = [] }: Graph, from: string, to: string): boolean {
  const leads = (start: string, end: string, seen: readonly string[] = []): boolean =>
    edges.some(([a, b]) => a === start && (b === end || (!seen.includes(b) && leads(b, end, [...seen, b]))));
  return leads(from, from) && !leads(to, from);
}
