import fc from "fast-check";
import { expect } from "vitest";
import type { NodeContext, NodeFunction } from "../../src/core/node.ts";
import type { Runnable } from "../../src/engine/runnable.ts";
import { CallLog } from "../../src/testing/call-log.ts";
import type { EngineWorld, Graph } from "../../src/testing/engine-world.ts";
import { compareOutcome } from "./compare.ts";
import { Lives } from "./lives.ts";
import { type Edge, meaningOf, type Node } from "./oracle.ts";
import { type Behaviour, type Death, deaths, draw, INPUT, madeOf, type Parcel } from "./sketch.ts";

/** Agents who hand to one another, one at a time, until one of them hands to nobody. The first begins. */
export interface HandoffSketch {
  agents: { how: Behaviour; mayHandTo: number[]; hasNext: boolean }[];
  /** From which `n` on nobody hands on any more. */
  fuel: number;
  deaths: Death[];
  seed: number;
}

const agent = fc.record({
  how: fc.constantFrom<Behaviour>("good", "good", "good", "good", "flaky", "bad"),
  mayHandTo: fc.uniqueArray(fc.nat(4), { maxLength: 4 }),
  hasNext: fc.boolean(),
});

export const handoffSketches: fc.Arbitrary<HandoffSketch> = fc.record({
  agents: fc.array(agent, { minLength: 2, maxLength: 5 }),
  fuel: fc.integer({ min: 2, max: 12 }),
  deaths,
  seed: fc.nat(),
});

/** What a simulation has seen, to tell whether it has proven anything. */
export interface HandoffTold {
  deaths: number;
  handed: number;
  redriven: number;
}

/** Carries a conversation out, with its deaths; then mends who has failed, redrives and looks once more. */
export async function simulateHandoffs(
  world: EngineWorld<Runnable>,
  sketch: HandoffSketch,
  told: HandoffTold,
  mutate: (graph: Graph) => Graph = (graph) => graph,
): Promise<void> {
  let isMended = false;
  let log = new CallLog();
  world.runtime.events.on((event) => {
    if (event.type === "node.completed" || event.type === "node.failed")
      log.acknowledged(event.runId, event.invocationId);
  });
  const functionOf = (id: string, how: Behaviour, handsTo: Node["handsTo"]): NodeFunction => {
    return async (input: unknown, context: NodeContext) => {
      log.called(context.runId, context.invocationId);
      await world.runtime.clock.sleep(5);
      if ((how === "bad" && !isMended) || (how === "flaky" && context.attempt === 1)) throw new Error(`${id} fails`);
      const output = madeOf(id, input);
      const receiver = handsTo?.(output);
      return receiver === undefined ? output : context.handoff(receiver, output);
    };
  };
  const nodes = nodesOf(sketch, () => isMended);
  const edges = edgesOf(sketch);
  const graph: Graph = {
    nodes: Object.fromEntries(nodes.map(({ id, how, handsTo }) => [id, functionOf(id, how, handsTo)])),
    edges: edges.filter(({ isHandoff }) => !isHandoff).map(({ from, to }) => [from, to] as const),
    forms: Object.fromEntries(sketch.agents.map((_, i) => [`n${i}`, { handoffTo: receivers(sketch, i) }])),
    policies: Object.fromEntries(nodes.map(({ id }) => [id, { retry: { maxAttempts: 8, initialDelayMs: 1 } }])),
  };
  const lives = new Lives(world, world.workflow(mutate(graph)), INPUT, sketch.deaths);
  const names = nodes.map(({ id }) => id);
  try {
    const meaning = meaningOf({ input: INPUT, nodes, edges }, () => "");
    compareOutcome(await lives.run(), meaning, edges, names, false);
    expect(log.violations()).toEqual([]);
    told.handed += meaning.invocations.size - 1;
    if (meaning.lost.length === 0) return;
    told.redriven++;
    isMended = true;
    log = new CallLog();
    for (const { runId, invocationId } of world.eventsOf("node.completed")) log.acknowledged(runId, invocationId);
    const mended = meaningOf({ input: INPUT, nodes, edges }, () => "");
    compareOutcome(await lives.redrive(), mended, edges, names, true);
    expect(log.violations()).toEqual([]);
  } finally {
    told.deaths += lives.died;
  }
}

/** Each agent, and behind some of them a node that goes on with what nobody was handed. */
function nodesOf(sketch: HandoffSketch, isMended: () => boolean): (Node & { how: Behaviour })[] {
  const node = (id: string, how: Behaviour, handsTo?: Node["handsTo"]): Node & { how: Behaviour } => {
    const serve = (input: unknown): unknown => (how === "bad" && !isMended() ? null : madeOf(id, input));
    return { id, how, servers: [{ id, serve }], join: "all", onFailure: "fail", handsTo };
  };
  return sketch.agents.flatMap(({ how, hasNext }, i) => {
    const may = receivers(sketch, i);
    const one = node(`n${i}`, how, (output) => {
      const { text, n } = output as Parcel;
      return n < sketch.fuel ? may[draw(`${sketch.seed}:${i}:${text}`, may.length + 1)] : undefined;
    });
    return hasNext ? [one, node(`next${i}`, "good")] : [one];
  });
}

/** Everybody can be reached from the first: one whom nobody hands to would start by itself. */
function receivers({ agents }: HandoffSketch, i: number): string[] {
  const known = agents[i]!.mayHandTo.filter((to) => to < agents.length);
  const may = i + 1 < agents.length && !known.includes(i + 1) ? [i + 1, ...known] : known;
  return may.map((to) => `n${to}`);
}

function edgesOf(sketch: HandoffSketch): Edge[] {
  return sketch.agents.flatMap(({ hasNext }, i) => [
    ...receivers(sketch, i).map((to) => ({ from: `n${i}`, to, isBack: Number(to.slice(1)) <= i, isHandoff: true })),
    ...(hasNext ? [{ from: `n${i}`, to: `next${i}`, isBack: false }] : []),
  ]);
}
