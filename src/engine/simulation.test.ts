import fc from "fast-check";
import { BelievesFirst, ForgetsLastRecord } from "../../test/broken-stores.ts";
import { embeddedEngine } from "../../test/embedded-engine.ts";
import { expect, it } from "vitest";
import type { NodeContext } from "../core/node.ts";
import { seededRandom } from "../core/random.ts";
import { MemoryStore } from "../stores/memory.ts";
import { EngineWorld, type Graph, type RunOutcome } from "../testing/engine-world.ts";
import type { Runnable } from "./runnable.ts";

/** Always works, never works, or works from the second call on. */
type Behaviour = "good" | "bad" | "flaky";

interface Sketch {
  /** One node each, with how it and its backups behave. */
  nodes: { itself: Behaviour; backups: Behaviour[] }[];
  /** Pairs of nodes, the first lower. */
  edges: [number, number][];
  concurrency: number;
  /** At which append of each life the process dies, before it is stored or right after. */
  deaths: { at: number; moment: "asked" | "stored" }[];
  /** For how long nodes work: decides who finishes first. */
  seed: number;
}

const behaviour = fc.constantFrom<Behaviour>("good", "good", "good", "flaky", "bad");
const sketches: fc.Arbitrary<Sketch> = fc.record({
  nodes: fc.array(fc.record({ itself: behaviour, backups: fc.array(behaviour, { maxLength: 2 }) }), {
    minLength: 1,
    maxLength: 9,
  }),
  edges: fc.uniqueArray(
    fc.tuple(fc.nat(8), fc.nat(8)).filter(([from, to]) => from < to),
    { maxLength: 14, selector: ([from, to]) => from * 10 + to },
  ),
  concurrency: fc.constantFrom(1, 2, 100),
  deaths: fc.array(fc.record({ at: fc.integer({ min: 1, max: 12 }), moment: fc.constantFrom("asked", "stored") }), {
    maxLength: 4,
  }),
  seed: fc.nat(),
});

it("a random graph that dies at random writes ends as the oracle says, and repeats nothing acknowledged (C6.1, C6.2)", async () => {
  const { deaths, result } = await simulate(MemoryStore, 400);
  expect(result).toMatchObject({ failed: false, numRuns: 400 });
  // Without deaths it would prove little.
  expect(deaths).toBeGreaterThan(200);
});

it("the simulation finds an engine that believes what is not stored yet, and one that forgets (C6.1)", async () => {
  for (const Kind of [BelievesFirst, ForgetsLastRecord]) expect((await simulate(Kind, 400)).result.failed).toBe(true);
});

async function simulate(Kind: typeof MemoryStore, numRuns: number) {
  let deaths = 0;
  const subject = embeddedEngine((clock) => new Kind({ clock }));
  const property = fc.asyncProperty(sketches, (sketch) =>
    EngineWorld.run(subject, async (world) => {
      const { outcome, died } = await carriedOut(world, sketch);
      deaths += died;
      const expected = oracle(sketch);
      if (expected.failing.size === 0) expect(outcome).toMatchObject({ status: "completed", output: expected.output });
      else {
        expect(outcome.status).toBe("failed");
        expect(expected.failing).toContain((outcome.error as { nodeId?: string }).nodeId);
        expect(outcome.deadLetters.length).toBeGreaterThan(0);
        for (const { nodeId } of outcome.deadLetters) expect(expected.failing).toContain(nodeId);
      }
      expect(world.log.violations()).toEqual([]);
    }),
  );
  const result = await fc.check(property, { numRuns, seed: 20261124, endOnFailure: Kind !== MemoryStore });
  return { deaths, result };
}

async function carriedOut(
  world: EngineWorld<Runnable>,
  sketch: Sketch,
): Promise<{ outcome: RunOutcome; died: number }> {
  const random = seededRandom(sketch.seed);
  const workflow = world.workflow(graphOf(world, sketch, random));
  let died = 0;
  for (const { at, moment } of sketch.deaths) {
    const handle = world.handle();
    handle.dieAt(at, moment);
    const snapshots = { minEvents: 1 + (sketch.seed % 4), bytesPerEvent: Infinity };
    const life = world.finish(world.engine({ store: handle, snapshots }).run(workflow, "in", { runId: "r" }));
    const lived = await life.then(
      () => true,
      () => false,
    );
    if (lived) break;
    died++;
    await world.leasesRunOut();
  }
  return { outcome: await world.finish(world.engine().run(workflow, "in", { runId: "r" })), died };
}

function graphOf(world: EngineWorld<Runnable>, sketch: Sketch, random: () => number): Graph {
  const nodes: Record<string, Graph["nodes"][string]> = {};
  const fallbacks: [string, string][] = [];
  const policies: Record<string, { retry: object }> = {};
  const add = (id: string, how: Behaviour): void => {
    policies[id] = { retry: { maxAttempts: how === "bad" ? 2 : 8, initialDelayMs: 10 } };
    nodes[id] = world.node(async (input: unknown, { attempt }: NodeContext) => {
      await world.runtime.clock.sleep(Math.floor(random() * 30));
      if (how === "bad" || (how === "flaky" && attempt === 1)) throw new Error(`${id} failed`);
      return outputOf(id, input);
    });
  };
  for (const [i, { itself, backups }] of sketch.nodes.entries()) {
    add(`n${i}`, itself);
    for (const [j, how] of backups.entries()) {
      add(`n${i}b${j}`, how);
      fallbacks.push([`n${i}`, `n${i}b${j}`]);
    }
  }
  const edges = edgesOf(sketch).map(([from, to]): [string, string] => [`n${from}`, `n${to}`]);
  return { nodes, edges, fallbacks, policies, concurrency: sketch.concurrency };
}

function edgesOf({ nodes, edges }: Sketch): [number, number][] {
  return edges.filter(([, to]) => to < nodes.length);
}

function outputOf(id: string, input: unknown): string {
  return `${id}(${
    typeof input === "string"
      ? input
      : Object.values(input as object)
          .toSorted()
          .join(",")
  })`;
}

/** What must come out, worked out node by node, without a journal, a clock or any order of ends. */
function oracle(sketch: Sketch): { output: unknown; failing: Set<string> } {
  const edges = edgesOf(sketch);
  const outputs: (string | undefined)[] = [];
  const failing = new Set<string>();
  for (const [i, { itself, backups }] of sketch.nodes.entries()) {
    const inputs = edges.filter(([, to]) => to === i).map(([from]) => outputs[from]);
    if (inputs.includes(undefined)) {
      outputs.push(undefined);
      continue;
    }
    const servers = [itself, ...backups];
    const server = servers.findIndex((how) => how !== "bad");
    if (server === -1) failing.add(`n${i}`);
    const id = server === 0 ? `n${i}` : `n${i}b${server - 1}`;
    const input = inputs.length === 0 ? "in" : inputs.length === 1 ? inputs[0] : inputs;
    outputs.push(server === -1 ? undefined : outputOf(id, input));
  }
  const ends = sketch.nodes.map((_, i) => i).filter((i) => !edges.some(([from]) => from === i));
  const output = ends.length === 1 ? outputs[ends[0]!] : Object.fromEntries(ends.map((i) => [`n${i}`, outputs[i]]));
  return { output, failing };
}
