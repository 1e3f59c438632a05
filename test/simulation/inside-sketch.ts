import fc from "fast-check";
import type { Edge, Graph } from "./oracle.ts";
import { type Behaviour, type Death, deaths, INPUT, madeOf, type Parcel } from "./sketch.ts";

/** A node by what goes on inside it. */
export type Inside =
  /** Does so many steps, one on another; a flaky one fails behind them. */
  | { kind: "steps"; count: number; how: Behaviour }
  | { kind: "map"; items: Behaviour[]; collects: boolean; concurrency: number }
  | { kind: "wait"; ms: number }
  /** Told so long after the run was begun. */
  | { kind: "signal"; afterMs: number }
  /** A workflow of its own, in a row. */
  | { kind: "workflow"; row: (Inside & { kind: "steps" | "wait" })[] };

export interface InsideSketch {
  nodes: Inside[];
  /** Forward edges, each pair once. */
  edges: [from: number, to: number][];
  concurrency: number;
  deaths: Death[];
  seed: number;
}

const behaviour = fc.constantFrom<Behaviour>("good", "good", "good", "flaky", "bad");
const steps = fc.record({ kind: fc.constant("steps" as const), count: fc.nat(3), how: behaviour });
// Some of them are long enough for the run to be parked.
const wait = fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(0, 40, 1500, 9000) });
const map = fc.record({
  kind: fc.constant("map" as const),
  items: fc.array(behaviour, { maxLength: 5 }),
  collects: fc.boolean(),
  concurrency: fc.constantFrom(1, 2, 10),
});
const signal = fc.record({ kind: fc.constant("signal" as const), afterMs: fc.constantFrom(0, 10, 60, 4000) });
const workflow = fc.record({
  kind: fc.constant("workflow" as const),
  row: fc.array(fc.oneof({ weight: 3, arbitrary: steps }, wait), { minLength: 1, maxLength: 3 }),
});

export const insideSketches: fc.Arbitrary<InsideSketch> = fc.record({
  nodes: fc.array(fc.oneof({ weight: 2, arbitrary: steps }, { weight: 2, arbitrary: map }, wait, signal, workflow), {
    minLength: 1,
    maxLength: 6,
    size: "max",
  }),
  edges: fc.uniqueArray(
    fc.tuple(fc.nat(5), fc.nat(5)).filter(([from, to]) => from < to),
    { maxLength: 8, selector: ([from, to]) => from * 10 + to },
  ),
  concurrency: fc.constantFrom(1, 2, 100),
  deaths: fc.array(
    deaths.map(([death]) => death ?? { at: 20, moment: "asked" as const, next: "run" as const }),
    { maxLength: 4 },
  ),
  seed: fc.nat(),
});

export function insideEdges({ nodes, edges }: InsideSketch): Edge[] {
  return edges
    .filter(([, to]) => to < nodes.length)
    .map(([from, to]) => ({ from: `n${from}`, to: `n${to}`, isBack: false }));
}

/** The sketch as the oracle wants it. */
export function insideGraph(sketch: InsideSketch, isMended: boolean): Graph {
  return {
    input: INPUT,
    nodes: sketch.nodes.map((inside, i) => {
      const id = `n${i}`;
      return {
        id,
        servers: [{ id, serve: (input) => outputOf(id, inside, input, isMended) }],
        join: "all",
        onFailure: "fail",
      };
    }),
    edges: insideEdges(sketch),
  };
}

function outputOf(id: string, inside: Inside, input: unknown, isMended: boolean): unknown {
  switch (inside.kind) {
    case "steps":
      return inside.how === "bad" && !isMended ? null : madeBySteps(id, inside.count, input);
    case "wait":
      return input;
    case "signal":
      return toldTo(id);
    case "map": {
      const results = inside.items.map((how, j) => {
        // What was collected is a result like others, which nobody mends.
        if (how !== "bad" || (isMended && !inside.collects)) return { text: madeOf(`${id}i${j}`, input).text };
        return inside.collects ? "failed" : null;
      });
      return results.includes(null) ? null : madeOf(id, results);
    }
    case "workflow":
      return inside.row.reduce<unknown>(
        (got, inner, j) => (got === null ? null : outputOf(`n${j}`, inner, got, isMended)),
        input,
      );
  }
}

function madeBySteps(id: string, count: number, input: unknown): Parcel {
  let last = input;
  for (let j = 0; j < count; j++) last = madeOf(`${id}s${j}`, last);
  return madeOf(id, last);
}

/** What is said to a node that waits for it. */
export function toldTo(id: string): Parcel {
  return { by: "somebody", text: `for ${id}`, n: 1 };
}
