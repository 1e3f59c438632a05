import { expect, it } from "vitest";
import { MemoryStore } from "../../src/stores/memory.ts";
import type { Graph } from "../../src/testing/engine-world.ts";
import { BelievesFirst, ForgetsLastRecord } from "../broken-stores.ts";
import { checked, isFound } from "./checked.ts";
import { simulateUndoing, undoSketches as sketches, type UndoTold } from "./undo-simulation.ts";

const none = (): UndoTold => ({ deaths: 0, undone: 0, completed: 0 });

it("a run that is cancelled at any time has exactly what it did undone, the newest first, however often it dies (C5.9)", async () => {
  const told = none();
  await checked({ Kind: MemoryStore, numRuns: 1500, sketches }, (world, sketch) =>
    simulateUndoing(world, sketch, told),
  );
  // Without these it would prove little.
  expect(told.deaths).toBeGreaterThan(200);
  expect(told.undone).toBeGreaterThan(300);
  expect(told.completed).toBeGreaterThan(50);
});

it("the simulation finds a compensation that is left out, an engine that believes too early, and one that forgets (C5.9)", async () => {
  const forgetful = (graph: Graph): Graph => ({
    ...graph,
    forms: Object.fromEntries(Object.entries(graph.forms!).filter(([id]) => id !== "n1")),
  });
  const plants = [
    { Kind: MemoryStore, mutate: forgetful },
    { Kind: BelievesFirst, mutate: undefined },
    { Kind: ForgetsLastRecord, mutate: undefined },
  ];
  for (const { Kind, mutate } of plants) {
    const simulate = isFound({ Kind, numRuns: 1500, sketches }, (world, sketch) =>
      simulateUndoing(world, sketch, none(), mutate),
    );
    expect(await simulate).toBe(true);
  }
});
