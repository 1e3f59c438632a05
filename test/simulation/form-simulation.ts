import { expect } from "vitest";
import type { NodeContext } from "../../src/core/node.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Runnable } from "../../src/engine/runnable.ts";
import { CallLog } from "../../src/testing/call-log.ts";
import type { EngineWorld, Graph, RunOutcome } from "../../src/testing/engine-world.ts";
import { compareOutcome, nodeOf } from "./compare.ts";
import { Lives } from "./lives.ts";
import { type Meaning, meaningOf } from "./oracle.ts";
import { edgesOf, graphOf, INPUT, isHopeless, madeOf, type Parcel, type Sketch } from "./sketch.ts";

/** What a simulation has seen, to tell whether it has proven anything. */
export interface Told {
  deaths: number;
  rounds: number;
  redriven: number;
}

/**
 * Carries a sketch out on an engine, with its deaths, and holds what comes of it against the oracle; then mends what
 * has failed, redrives it and looks once more. `mutate` plants a fault in what the engine is given.
 */
export async function simulateForms(
  world: EngineWorld<Runnable>,
  sketch: Sketch,
  told: Told,
  mutate: (graph: Graph) => Graph = (graph) => graph,
): Promise<void> {
  const simulation = new FormSimulation(world, sketch);
  const lives = new Lives(world, world.workflow(mutate(simulation.graph())), INPUT, sketch.deaths);
  try {
    const meaning = simulation.compare(await lives.run(), lives.died);
    if ([...meaning.invocations.keys()].some((id) => !id.includes("#0"))) told.rounds++;
    if (meaning.lost.length === 0) return;
    told.redriven++;
    simulation.mend();
    const redriven = await lives.redrive();
    // A loop that was left without the failed node has been left: what followed from that stands.
    if (meaning.lost.some((visit) => isLeft(sketch, nodeOf(visit)))) simulation.compareCalls(redriven);
    else simulation.compare(redriven);
  } finally {
    told.deaths += lives.died;
  }
}

/** Whether a node is part of a loop, and its failure does not end the run. */
function isLeft(sketch: Sketch, id: string): boolean {
  const edges = edgesOf(sketch);
  const back = edges.filter(({ isBack }) => isBack);
  const number = (name: string): number => Number(name.slice(1));
  const isInside = back.some(({ from, to }) => number(to) <= number(id) && number(id) <= number(from));
  return isInside && sketch.nodes[number(id)]!.goesOn;
}

/** One sketch as the engine is given it, and what was seen of its nodes. */
class FormSimulation {
  readonly #world: EngineWorld<Runnable>;
  readonly #sketch: Sketch;
  readonly #random: () => number;
  readonly #inputs = new Map<string, unknown>();
  readonly #working = new Map<number, number>();
  #log = new CallLog();
  /** How many nodes have worked at the same time. */
  #most = 0;
  #isMended = false;

  constructor(world: EngineWorld<Runnable>, sketch: Sketch) {
    this.#world = world;
    this.#sketch = sketch;
    this.#random = seededRandom(sketch.seed);
    world.runtime.events.on((event) => {
      if (event.type === "node.completed" || event.type === "node.failed")
        this.#log.acknowledged(event.runId, event.invocationId);
    });
  }

  graph(): Graph {
    const { nodes, concurrency } = this.#sketch;
    const made: { -readonly [K in keyof Graph]: Graph[K] } & { nodes: Record<string, Graph["nodes"][string]> } = {
      nodes: {},
      edges: edgesOf(this.#sketch).map(({ from, to, mapping, when }) => [from, to, mapping, when!] as const),
      concurrency,
    };
    const fallbacks: [string, string][] = [];
    const policies: Record<string, { retry: object }> = {};
    const forms: Record<string, object> = {};
    for (const [i, node] of nodes.entries()) {
      forms[`n${i}`] = { join: node.join, onFailure: node.goesOn ? "continue" : "fail" };
      for (const [j, how] of [node.itself, ...node.backups].entries()) {
        const id = j === 0 ? `n${i}` : `n${i}b${j - 1}`;
        if (j > 0) fallbacks.push([`n${i}`, id]);
        policies[id] = { retry: { maxAttempts: how === "bad" ? 2 : 8, initialDelayMs: 10 } };
        made.nodes[id] = async (input: Parcel, context: NodeContext) => {
          this.#called(input, context);
          await this.#work(context);
          const isBad = how === "bad" && !(this.#isMended && j === 0 && isHopeless(node));
          if (isBad || (how === "flaky" && context.attempt === 1)) throw new Error(`${id} failed`);
          return madeOf(id, input);
        };
      }
    }
    return { ...made, fallbacks, policies, forms };
  }

  /** Takes some time, and counts who works at the same time in one life. */
  async #work({ fencingToken }: NodeContext): Promise<void> {
    const working = (this.#working.get(fencingToken) ?? 0) + 1;
    this.#working.set(fencingToken, working);
    this.#most = Math.max(this.#most, working);
    await this.#world.runtime.clock.sleep(Math.floor(this.#random() * 30));
    this.#working.set(fencingToken, this.#working.get(fencingToken)! - 1);
  }

  /** How often a function is called that nobody interrupts. */
  #attempts(invocation: string): number {
    const [visit = "", backup = ""] = invocation.split(">");
    const { itself, backups } = this.#sketch.nodes[Number(nodeOf(visit).slice(1))]!;
    const how = backup === "" ? itself : backups[Number(backup.split("b")[1])];
    return how === "good" ? 1 : 2;
  }

  #called(input: unknown, { runId, invocationId }: NodeContext): void {
    this.#log.called(runId, invocationId);
    if (this.#inputs.has(invocationId)) expect(input).toEqual(this.#inputs.get(invocationId));
    this.#inputs.set(invocationId, input);
  }

  /** From now on nodes work that nobody could save; what has been done stays done. */
  mend(): void {
    this.#isMended = true;
    // What failed is called again, and only that.
    const completed = this.#world.eventsOf("node.completed");
    this.#log = new CallLog();
    for (const { runId, invocationId } of completed) this.#log.acknowledged(runId, invocationId);
  }

  compare(outcome: RunOutcome, died: number = Infinity): Meaning {
    const meaning = meaningOf(graphOf(this.#sketch, this.#isMended), (visit, from) => this.#firstOf(visit, from));
    this.compareCalls(outcome);
    if (died < Infinity) {
      for (const { invocationId } of outcome.agentSteps) {
        const calls = this.#log.callsOf(invocationId);
        const expected = this.#attempts(invocationId);
        expect(calls).toBeLessThanOrEqual(expected + died);
        expect(calls).toBeGreaterThanOrEqual(died > 0 ? 1 : expected);
      }
    }
    const names = this.#sketch.nodes.map((_, i) => `n${i}`);
    compareOutcome(outcome, meaning, edgesOf(this.#sketch), names, this.#isMended);
    if (meaning.fatal.length > 0) return meaning;
    for (const [id, { input }] of meaning.invocations) {
      expect([id, this.#inputs.get(id)]).toEqual([id, input]);
    }
    return meaning;
  }

  /** That nothing acknowledged was called again, and that no letter is left once all is mended. */
  compareCalls({ deadLetters }: RunOutcome): void {
    expect(this.#log.violations()).toEqual([]);
    expect(this.#most).toBeLessThanOrEqual(this.#sketch.concurrency);
    if (this.#isMended) expect(deadLetters.filter(({ status }) => status !== "succeeded")).toEqual([]);
  }

  /** Which of several edges was the first, as the input of the visit tells; the last where it never began, which a loop cannot be without. */
  #firstOf(visit: string, from: readonly string[]): string {
    const input = this.#inputs.get(visit);
    if (input === undefined) return from.at(-1)!;
    const { by, ...fields } = input as Partial<Parcel>;
    return by === undefined ? Object.keys(fields).find((field) => field.startsWith("n"))! : by.replace(/b\d+$/, "");
  }
}
