import fc from "fast-check";
import { WorkflowDefinitionError } from "../../src/core/errors.ts";
import type { Runnable } from "../../src/engine/runnable.ts";
import type { MemoryStore } from "../../src/stores/memory.ts";
import { EngineWorld } from "../../src/testing/engine-world.ts";
import { embeddedEngine } from "../embedded-engine.ts";

/** Another seed, and how many times as many runs, for who wants to search longer than a test may. */
const SEED = Number(process.env["SIMULATION_SEED"] ?? 20261124);
const TIMES = Number(process.env["SIMULATION_TIMES"] ?? 1);

interface Check<S> {
  /** The kind of store that the engines work on. */
  Kind: typeof MemoryStore;
  numRuns: number;
  sketches: fc.Arbitrary<S>;
}

type Simulate<S> = (world: EngineWorld<Runnable>, sketch: S) => Promise<void>;

/** Simulates many sketches, each in a world of its own. Throws with the seed and the smallest that fails. */
export async function checked<S>(check: Check<S>, simulate: Simulate<S>): Promise<void> {
  const { numRuns } = check;
  await fc.assert(propertyOf(check, simulate), { numRuns: numRuns * TIMES, seed: SEED });
}

/** Whether a fault is found that was planted: a simulation that misses one proves nothing. */
export async function isFound<S>(check: Check<S>, simulate: Simulate<S>): Promise<boolean> {
  const { numRuns } = check;
  const found = await fc.check(propertyOf(check, simulate), { numRuns, seed: SEED, endOnFailure: true });
  // A graph that the engine refuses is no fault that was found.
  if (found.errorInstance instanceof WorkflowDefinitionError) throw found.errorInstance;
  return found.failed;
}

function propertyOf<S>({ Kind, sketches }: Check<S>, simulate: Simulate<S>): fc.IAsyncProperty<[S]> {
  const subject = embeddedEngine((clock) => new Kind({ clock }));
  return fc.asyncProperty(sketches, (sketch) => EngineWorld.run(subject, (world) => simulate(world, sketch)));
}
