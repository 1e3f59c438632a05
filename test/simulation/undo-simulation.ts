import fc from "fast-check";
import { expect } from "vitest";
import type { NodeContext } from "../../src/core/node.ts";
import type { Runnable } from "../../src/engine/runnable.ts";
import { CallLog } from "../../src/testing/call-log.ts";
import type { EngineWorld, Graph, RunOutcome } from "../../src/testing/engine-world.ts";
import { Lives } from "./lives.ts";
import { type Edge, meaningOf } from "./oracle.ts";
import { type Behaviour, type Death, deaths, INPUT, madeOf } from "./sketch.ts";

const LONGEST_MS = 2500;

export interface UndoSketch {
  /** How long each works, whether it heeds being told to stop, and how it is undone, if at all. */
  nodes: { ms: number; isStubborn: boolean; undo: Behaviour | null }[];
  edges: [from: number, to: number][];
  concurrency: number;
  /** When it is cancelled, and whether what was done is to be undone. */
  cancelMs: number;
  compensates: boolean;
  deaths: Death[];
}

export const undoSketches: fc.Arbitrary<UndoSketch> = fc.record({
  nodes: fc.array(
    fc.record({
      ms: fc.constantFrom(0, 7, 900, LONGEST_MS),
      isStubborn: fc.boolean(),
      undo: fc.constantFrom<Behaviour | null>("good", "good", "good", "flaky", "bad", null),
    }),
    { minLength: 1, maxLength: 7, size: "max" },
  ),
  edges: fc.uniqueArray(
    fc.tuple(fc.nat(6), fc.nat(6)).filter(([from, to]) => from < to),
    { maxLength: 8, size: "max", selector: ([from, to]) => from * 10 + to },
  ),
  concurrency: fc.constantFrom(1, 2, 100),
  cancelMs: fc.integer({ min: 0, max: 8000 }),
  compensates: fc.constantFrom(true, true, true, false),
  deaths,
});

/** What a simulation has seen, to tell whether it has proven anything. */
export interface UndoTold {
  deaths: number;
  undone: number;
  completed: number;
}

/** Cancels a run at some time from another process, with deaths before and after, and looks at what is undone. */
export async function simulateUndoing(
  world: EngineWorld<Runnable>,
  sketch: UndoSketch,
  told: UndoTold,
  mutate: (graph: Graph) => Graph = (graph) => graph,
): Promise<void> {
  const simulation = new UndoSimulation(world, sketch);
  const lives = new Lives(world, world.workflow(mutate(simulation.graph())), INPUT, sketch.deaths);
  const stop = new AbortController();
  const cancelled = cancel(world, sketch, stop.signal);
  try {
    const outcome = await lives.run();
    simulation.compare(outcome, lives.died);
    if (outcome.status === "completed") told.completed++;
    told.undone += simulation.undone.length;
  } finally {
    told.deaths += lives.died;
    stop.abort();
    await cancelled.catch(() => {});
    // Those that heed nothing work on although their run has ended.
    await world.runtime.clock.advance(LONGEST_MS);
  }
}

async function cancel(
  world: EngineWorld<Runnable>,
  { cancelMs, compensates }: UndoSketch,
  stop: AbortSignal,
): Promise<void> {
  const { clock } = world.runtime;
  const engine = world.engine();
  await clock.sleep(cancelMs, stop);
  for (;;) {
    try {
      return await engine.cancel("r", "changed plans", { compensate: compensates });
    } catch (error) {
      // It has not begun yet, or has ended.
      if ((error as { code?: string }).code !== "NOT_FOUND") throw error;
      await clock.sleep(300, stop);
    }
  }
}

class UndoSimulation {
  /** The nodes that were undone, each once, in the order in which that was begun. */
  readonly undone: string[] = [];
  readonly #world: EngineWorld<Runnable>;
  readonly #sketch: UndoSketch;
  /** Nodes in the order in which they gave something, at last. */
  readonly #given = new Set<string>();
  readonly #log = new CallLog();
  readonly #outputs = new Map<string, unknown>();

  constructor(world: EngineWorld<Runnable>, sketch: UndoSketch) {
    this.#world = world;
    this.#sketch = sketch;
    world.runtime.events.on((event) => {
      if (event.type === "node.completed") this.#log.acknowledged("r", event.nodeId);
      if (event.type === "node.compensated") this.#log.acknowledged("r", `undo ${event.nodeId}`);
    });
  }

  graph(): Graph {
    const { nodes, concurrency } = this.#sketch;
    const { clock } = this.#world.runtime;
    const made = nodes.map(({ ms, isStubborn }, i) => {
      const id = `n${i}`;
      const run = async (input: unknown, { signal }: NodeContext): Promise<unknown> => {
        this.#log.called("r", id);
        await clock.sleep(ms, isStubborn ? undefined : signal);
        this.#given.delete(id);
        this.#given.add(id);
        return madeOf(id, input);
      };
      return [id, run] as const;
    });
    const forms = nodes.flatMap(({ undo }, i) =>
      undo === null ? [] : [[`n${i}`, { compensate: this.#undo(`n${i}`, undo) }] as const],
    );
    return {
      nodes: Object.fromEntries(made),
      edges: this.#edges().map(({ from, to }) => [from, to] as const),
      forms: Object.fromEntries(forms),
      policies: Object.fromEntries(made.map(([id]) => [id, { retry: { maxAttempts: 3, initialDelayMs: 10 } }])),
      concurrency,
    };
  }

  #undo(id: string, how: Behaviour): (output: unknown, context: NodeContext) => Promise<void> {
    return async (output, { attempt }) => {
      this.#log.called("r", `undo ${id}`);
      if (!this.undone.includes(id)) this.undone.push(id);
      this.#outputs.set(id, output);
      await this.#world.runtime.clock.sleep(5);
      if (how === "bad" || (how === "flaky" && attempt === 1)) throw new Error(`${id} cannot be undone`);
    };
  }

  #edges(): Edge[] {
    const { nodes, edges } = this.#sketch;
    return edges
      .filter(([, to]) => to < nodes.length)
      .map(([from, to]) => ({ from: `n${from}`, to: `n${to}`, isBack: false }));
  }

  compare({ status, agentSteps }: RunOutcome, died: number): void {
    const { nodes, compensates } = this.#sketch;
    expect(this.#log.violations()).toEqual([]);
    const done = agentSteps.map(({ nodeId }) => nodeId);
    const edges = this.#edges();
    const outputs = new Map<string, unknown>();
    meaningOf(
      {
        input: INPUT,
        nodes: nodes.map((_, i) => {
          const id = `n${i}`;
          const serve = (input: unknown): unknown => {
            outputs.set(id, madeOf(id, input));
            return outputs.get(id);
          };
          return { id, servers: [{ id, serve }], join: "all", onFailure: "fail" };
        }),
        edges,
      },
      () => "",
    );
    // Whatever was done, what it needs was done before.
    for (const { from, to } of edges) if (done.includes(to)) expect(done).toContain(from);
    if (status === "completed") {
      expect(done.toSorted()).toEqual(nodes.map((_, i) => `n${i}`));
      expect(this.undone).toEqual([]);
      return;
    }
    expect(status).toBe("cancelled");
    const isUndone = (id: string): boolean => compensates && nodes[Number(id.slice(1))]!.undo !== null;
    const newestFirst = [...this.#given].reverse().filter((id) => done.includes(id));
    expect(this.undone).toEqual(newestFirst.filter(isUndone));
    for (const id of this.undone) {
      expect(this.#outputs.get(id)).toEqual(outputs.get(id));
      const tries = { good: 1, flaky: 2, bad: 3 }[nodes[Number(id.slice(1))]!.undo!];
      const calls = this.#log.callsOf(`undo ${id}`);
      expect(calls).toBeGreaterThanOrEqual(died > 0 ? 1 : tries);
      expect(calls).toBeLessThanOrEqual(tries * (1 + died));
    }
  }
}
