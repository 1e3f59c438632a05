import fc from "fast-check";
import type { Edge, Graph } from "./oracle.ts";

/** Always works, never works until it is mended, or works from the second attempt on. */
export type Behaviour = "good" | "bad" | "flaky";

export interface Sketch {
  nodes: { itself: Behaviour; backups: Behaviour[]; join: "all" | "any"; goesOn: boolean }[];
  /** Forward edges, each pair once. `odds` of 4 is an edge without a condition. */
  edges: { from: number; to: number; odds: number; isMapped: boolean }[];
  /** Edges back to a node from a later one, or from itself; the nodes between are a chain, if nothing else. */
  loops: { head: number; length: number; odds: number }[];
  /** From which `n` on no edge leads back any more. */
  fuel: number;
  concurrency: number;
  /** One for each life: at which append the process dies, before it is stored or right after, and what goes on. */
  deaths: Death[];
  /** For how long nodes work, and which conditions hold. */
  seed: number;
}

export interface Death {
  at: number;
  moment: "asked" | "stored";
  next: "run" | "resume" | "recover";
}

/** What nodes hand to each other. `n` grows along each path, so that loops end. */
export interface Parcel {
  by: string;
  text: string;
  n: number;
}

const behaviour = fc.constantFrom<Behaviour>("good", "good", "good", "good", "flaky", "bad");
export const deaths: fc.Arbitrary<Death[]> = fc.array(
  fc.record({
    at: fc.integer({ min: 1, max: 12 }),
    moment: fc.constantFrom("asked", "stored"),
    next: fc.constantFrom("run", "resume", "recover"),
  }),
  { maxLength: 4 },
);
const odds = fc.constantFrom(4, 4, 4, 3, 2, 1);

export const sketches: fc.Arbitrary<Sketch> = fc.record({
  nodes: fc.array(
    fc.record({
      itself: behaviour,
      backups: fc.oneof({ weight: 3, arbitrary: fc.constant<Behaviour[]>([]) }, fc.array(behaviour, { maxLength: 2 })),
      join: fc.constantFrom("all", "all", "any"),
      goesOn: fc.boolean(),
    }),
    { minLength: 1, maxLength: 9, size: "max" },
  ),
  edges: fc.uniqueArray(
    fc.record({ from: fc.nat(8), to: fc.nat(8), odds, isMapped: fc.boolean() }).filter(({ from, to }) => from < to),
    { maxLength: 14, size: "max", selector: ({ from, to }) => from * 10 + to },
  ),
  loops: fc.array(fc.record({ head: fc.nat(6), length: fc.nat(4), odds: fc.constantFrom(3, 2) }), {
    minLength: 1,
    maxLength: 3,
  }),
  fuel: fc.integer({ min: 3, max: 12 }),
  concurrency: fc.constantFrom(1, 2, 100),
  deaths,
  seed: fc.nat(),
});

/** What the function of a node makes of its input, whatever form that has. */
export function madeOf(id: string, input: unknown): Parcel {
  const seen = numbersIn(input);
  return { by: id, text: digest(`${id}(${JSON.stringify(sorted(input))})`), n: 1 + Math.max(0, ...seen) };
}

export const INPUT: Parcel = { by: "", text: "in", n: 0 };

/** The edges that a sketch comes to. Where a loop would have a second way in, or share nodes, it is left out. */
export function edgesOf({ nodes, edges, loops, fuel, seed }: Sketch): Edge[] {
  const all = [...edges];
  for (const { head, length } of loops) {
    for (let from = head; from < head + length; from++) {
      const isThere = all.some((edge) => edge.from === from && edge.to === from + 1);
      if (!isThere) all.push({ from, to: from + 1, odds: 4, isMapped: false });
    }
  }
  const forward = all.filter(({ to }) => to < nodes.length).toSorted((a, b) => a.from - b.from || a.to - b.to);
  const taken = new Set<number>();
  const made: Edge[] = forward.map(({ from, to, odds: chance, isMapped }) => ({
    from: `n${from}`,
    to: `n${to}`,
    isBack: false,
    mapping: isMapped ? { text: `text${from}`, n: `n${from}` } : undefined,
    when: chance === 4 ? undefined : ({ text }: Parcel) => draw(`${seed}:${from}-${to}:${text}`, 4) < chance,
  }));
  for (const { head, length, odds: chance } of loops) {
    const tail = head + length;
    if (tail >= nodes.length) continue;
    const reach = (from: number): number[] => [
      from,
      ...forward.flatMap((edge) => (edge.from === from ? reach(edge.to) : [])),
    ];
    const body = new Set(reach(head).filter((id) => reach(id).includes(tail)));
    if (!body.has(head) || [...body].some((id) => taken.has(id))) continue;
    const comesIn = forward.filter(({ from, to }) => !body.has(from) && body.has(to));
    // Whoever leads into the middle of a loop must lead to its head as well, or nobody could say where it begins.
    if (comesIn.some(({ from }) => !comesIn.some((edge) => edge.from === from && edge.to === head))) continue;
    // What comes in there is the same in each round: `n` must come from the loop all the same.
    const aside = comesIn.filter(({ to }) => to !== head);
    const isConditional = forward.some((edge) => body.has(edge.from) && body.has(edge.to) && edge.odds < 4);
    if (aside.length > 0 && (isConditional || aside.some(({ to }) => nodes[to]!.join === "any"))) continue;
    for (const id of body) taken.add(id);
    made.push({
      from: `n${tail}`,
      to: `n${head}`,
      isBack: true,
      when: ({ text, n }: Parcel) => n < fuel && draw(`${seed}:${tail}-${head}:${text}`, 4) < chance,
    });
  }
  return made;
}

/** Whether nobody can save a node. Only such nodes are ever mended, so that what a backup has given stands. */
export function isHopeless({ itself, backups }: Sketch["nodes"][number]): boolean {
  return [itself, ...backups].every((how) => how === "bad");
}

/** The sketch as the oracle wants it. */
export function graphOf(sketch: Sketch, mended: boolean): Graph {
  return {
    input: INPUT,
    nodes: sketch.nodes.map((node, i) => ({
      id: `n${i}`,
      servers: [node.itself, ...node.backups].map((how, j) => {
        const id = j === 0 ? `n${i}` : `n${i}b${j - 1}`;
        const works = how !== "bad" || (mended && j === 0 && isHopeless(node));
        return { id, serve: (input) => (works ? madeOf(id, input) : null) };
      }),
      join: node.join,
      onFailure: node.goesOn ? "continue" : "fail",
    })),
    edges: edgesOf(sketch),
  };
}

function numbersIn(value: unknown): number[] {
  if (typeof value === "number") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(numbersIn) : [];
}

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => [key, sorted(inner)]);
}

/** A number below `limit` that depends on a text alone. */
export function draw(text: string, limit: number): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash ^ text.charCodeAt(i), 0x9e3779b1) + 0x7f4a7c15) | 0;
  return ((hash ^ (hash >>> 15)) >>> 0) % limit;
}

function digest(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 12)}~${draw(text, 2 ** 31).toString(36)}`;
}
