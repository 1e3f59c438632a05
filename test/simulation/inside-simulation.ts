import { expect } from "vitest";
import type { NodeContext, NodeFunction } from "../../src/core/node.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Runnable } from "../../src/engine/runnable.ts";
import { map } from "../../src/nodes/map.ts";
import { RetryPolicy } from "../../src/policies/retry.ts";
import { CallLog } from "../../src/testing/call-log.ts";
import type { EngineWorld, Graph, ReadyMade } from "../../src/testing/engine-world.ts";
import { compareOutcome } from "./compare.ts";
import { type Inside, insideEdges, insideGraph, type InsideSketch, toldTo } from "./inside-sketch.ts";
import { Lives } from "./lives.ts";
import { meaningOf } from "./oracle.ts";
import { INPUT, madeOf } from "./sketch.ts";

/** What a simulation has seen, to tell whether it has proven anything. */
export interface InsideTold {
  deaths: number;
  redriven: number;
  parked: number;
  stored: number;
}

/** How a node does a step; a plant does it in another way than the engine. */
export type Stepping = (context: NodeContext, name: string, work: () => unknown) => Promise<unknown>;

const honest: Stepping = (context, name, work) => context.step(name, work);

/** Carries a sketch out, with its deaths and signals; then mends what has failed, redrives it and looks once more. */
export async function simulateInside(
  world: EngineWorld<Runnable>,
  sketch: InsideSketch,
  told: InsideTold,
  stepping: Stepping = honest,
): Promise<void> {
  const simulation = new InsideSimulation(world, sketch, stepping);
  const lives = new Lives(world, world.workflow(simulation.graph()), INPUT, sketch.deaths);
  const stop = new AbortController();
  const senders = sketch.nodes.flatMap((inside, i) =>
    inside.kind === "signal" ? [tell(world, `n${i}`, inside.afterMs, stop.signal)] : [],
  );
  const names = sketch.nodes.map((_, i) => `n${i}`);
  const edges = insideEdges(sketch);
  const none = (visit: string): never => {
    throw new Error(`${visit} joins all.`);
  };
  try {
    const meaning = meaningOf(insideGraph(sketch, false), none);
    compareOutcome(await lives.run(), meaning, edges, names, false);
    simulation.compareCalls(lives.died);
    if (meaning.lost.length > 0) {
      told.redriven++;
      simulation.isMended = true;
      compareOutcome(await lives.redrive(), meaningOf(insideGraph(sketch, true), none), edges, names, true);
      simulation.compareCalls(Infinity);
    }
    told.stored += simulation.stored;
    told.parked += world.eventsOf("run.waiting").length;
  } finally {
    told.deaths += lives.died;
    stop.abort();
    await Promise.allSettled(senders);
  }
}

/** Says something to a node from another process, once, as soon as there is a run to say it to. */
async function tell(world: EngineWorld<Runnable>, id: string, afterMs: number, stop: AbortSignal): Promise<void> {
  const { clock } = world.runtime;
  const engine = world.engine();
  await clock.sleep(afterMs, stop);
  for (;;) {
    try {
      return await engine.signal("r", id, toldTo(id));
    } catch (error) {
      if ((error as { code?: string }).code !== "NOT_FOUND") throw error;
    }
    await clock.sleep(300, stop);
  }
}

class InsideSimulation {
  isMended = false;
  /** How many steps have been stored. */
  stored = 0;
  readonly #world: EngineWorld<Runnable>;
  readonly #sketch: InsideSketch;
  readonly #stepping: Stepping;
  readonly #random: () => number;
  /** Of steps and items: done, and acknowledged when the engine gives what was stored. */
  readonly #log = new CallLog();
  readonly #begun = new Map<string, number>();

  constructor(world: EngineWorld<Runnable>, sketch: InsideSketch, stepping: Stepping) {
    this.#world = world;
    this.#sketch = sketch;
    this.#stepping = stepping;
    this.#random = seededRandom(sketch.seed);
  }

  graph(): Graph {
    const { nodes, concurrency } = this.#sketch;
    const edges = insideEdges(this.#sketch).map(({ from, to }) => [from, to] as const);
    return { ...this.#nodes(nodes), edges, concurrency };
  }

  #nodes(insides: readonly Inside[]): Pick<Graph, "nodes" | "policies"> {
    const nodes = insides.map((inside, i) => [`n${i}`, this.#node(`n${i}`, inside)] as const);
    const called = nodes.filter(([, node]) => typeof node === "function");
    // Enough for a map whose items all fail once, in spite of some deaths.
    const retry = { maxAttempts: 10, initialDelayMs: 1 };
    return { nodes: Object.fromEntries(nodes), policies: Object.fromEntries(called.map(([id]) => [id, { retry }])) };
  }

  #node(id: string, inside: Inside): NodeFunction<never> | ReadyMade {
    switch (inside.kind) {
      case "steps":
        return this.#steps(id, inside);
      case "map":
        return this.#map(id, inside);
      case "wait":
        return { kind: "wait", until: (_, now) => now + inside.ms };
      case "signal":
        return { kind: "signal", name: undefined, timeoutMs: Infinity };
      case "workflow": {
        const edges = inside.row.slice(1).map((_, j) => [`n${j}`, `n${j + 1}`] as const);
        return { kind: "workflow", workflow: this.#world.workflow({ id, ...this.#nodes(inside.row), edges }) };
      }
    }
  }

  #steps(id: string, { count, how }: Inside & { kind: "steps" }): NodeFunction {
    return async (input: unknown, context) => {
      let last = input;
      for (let j = 0; j < count; j++) {
        const got = last;
        last = await this.#step(context, `s${j}`, async () => {
          await this.#work();
          return madeOf(`${id}s${j}`, got);
        });
      }
      await this.#work();
      if (how === "bad" && !this.isMended) throw new Error(`${id} fails`);
      if (how === "flaky" && context.attempt === 1) throw new Error(`${id} fails once`);
      return madeOf(id, last);
    };
  }

  #map(id: string, { items, collects, concurrency }: Inside & { kind: "map" }): NodeFunction {
    return async (input: unknown, context) => {
      const each = map({
        run: async (how: (typeof items)[number], { index }) => {
          const key = JSON.stringify([context.runId, context.invocationId, index]);
          const begun = (this.#begun.get(key) ?? 0) + 1;
          this.#begun.set(key, begun);
          await this.#work();
          if (how === "bad" && (collects || !this.isMended)) throw new Error(`item ${index} fails`);
          if (how === "flaky" && begun === 1) throw new Error(`item ${index} fails once`);
          return { text: madeOf(`${id}i${index}`, input).text };
        },
        concurrency,
        onItemFailure: collects ? "collect" : "fail",
        ...(collects && { policy: new RetryPolicy({ maxAttempts: 3, initialDelayMs: 5 }, this.#world.runtime) }),
      });
      const results = (await each(items, this.#observed(context))) as unknown[];
      const plain = results.map((result) => {
        if (!collects) return result;
        const { ok, value } = result as { ok: boolean; value?: unknown };
        return ok ? value : "failed";
      });
      return madeOf(id, plain);
    };
  }

  /** The context with steps that are in the log. */
  #observed(context: NodeContext): NodeContext {
    const { runId, nodeId, invocationId, signal } = context;
    const step = (name: string, work: (step: never) => unknown): Promise<unknown> =>
      this.#step(context, name, () => work({ idempotencyKey: name } as never));
    return { runId, nodeId, invocationId, signal, step } as unknown as NodeContext;
  }

  async #step(context: NodeContext, name: string, work: () => unknown): Promise<unknown> {
    const key = `${context.invocationId}/${name}`;
    let isDone = false;
    const value = await this.#stepping(context, name, async () => {
      this.#log.called(context.runId, key);
      const made = await work();
      isDone = true;
      return made;
    });
    if (isDone) {
      this.stored++;
      this.#log.acknowledged(context.runId, key);
    }
    return value;
  }

  async #work(): Promise<void> {
    await this.#world.runtime.clock.sleep(Math.floor(this.#random() * 20));
  }

  /** That nothing acknowledged was done again, and that what always works was not done more often than lives began it. */
  compareCalls(died: number): void {
    expect(this.#log.violations()).toEqual([]);
    for (const [key, calls] of this.#begun) {
      const [runId, invocation, index] = JSON.parse(key) as [string, string, number];
      const inside = this.#sketch.nodes[Number(invocation.split("#")[0]!.slice(1))]!;
      if (runId !== "r" || inside.kind !== "map" || inside.items[index] !== "good") continue;
      expect([key, calls]).toEqual([key, Math.min(calls, 1 + died)]);
    }
  }
}
