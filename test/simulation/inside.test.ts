import { expect, it } from "vitest";
import { MemoryStore } from "../../src/stores/memory.ts";
import { BelievesFirst, ForgetsLastRecord } from "../broken-stores.ts";
import { checked, isFound } from "./checked.ts";
import { insideSketches as sketches } from "./inside-sketch.ts";
import { simulateInside, type Stepping } from "./inside-simulation.ts";

const none = () => ({ deaths: 0, redriven: 0, parked: 0, stored: 0 });

it("steps, items, waits, signals and inner runs come to the same however often they die, and none is repeated that was stored (C5.2, C6.1, C6.2)", async () => {
  const told = none();
  await checked({ Kind: MemoryStore, numRuns: 700, sketches }, (world, sketch) => simulateInside(world, sketch, told));
  // Without these it would prove little.
  expect(told.deaths).toBeGreaterThan(150);
  expect(told.redriven).toBeGreaterThan(50);
  expect(told.parked).toBeGreaterThan(50);
  expect(told.stored).toBeGreaterThan(500);
});

it("the simulation finds an engine that believes what is not stored yet, one that forgets, and steps that are done again (C6.1)", async () => {
  const repeating: Stepping = async (context, name, work) => {
    const value = await context.step(name, work);
    return context.attempt > 1 ? await work() : value;
  };
  for (const Kind of [BelievesFirst, ForgetsLastRecord])
    expect(
      await isFound({ Kind, numRuns: 700, sketches }, (world, sketch) => simulateInside(world, sketch, none())),
    ).toBe(true);
  const isRepeatFound = await isFound({ Kind: MemoryStore, numRuns: 700, sketches }, (world, sketch) =>
    simulateInside(world, sketch, none(), repeating),
  );
  expect(isRepeatFound).toBe(true);
});
