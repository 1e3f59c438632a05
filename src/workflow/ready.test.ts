import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DefinitionBuilder } from "./builder.ts";
import { type Plan, planWorkflow } from "./plan.ts";
import { type Activation, Readiness } from "./ready.ts";
import { type InvocationId, invocationKey } from "./invocation-id.ts";
import { applyEvent } from "./apply-event.ts";
import { type Invocation, newRunState, type RunState } from "./run-state.ts";

function planOf(nodes: string[], edges: [string, string][], fallbacks: [string, string][] = []): Plan {
  const builder = new DefinitionBuilder({ id: "w" });
  for (const id of nodes) builder.addNode(id, () => id);
  for (const [from, to] of edges) builder.connect(from, to, undefined);
  for (const [primary, backup] of fallbacks) builder.addFallback(primary, backup);
  return planWorkflow(builder.definition);
}

/** A run that is walked by hand. */
class Walk {
  readonly state: RunState = newRunState();
  readonly readiness: Readiness;

  constructor(plan: Plan) {
    this.readiness = new Readiness(plan, this.state);
    applyEvent(this.state, { kind: "run_started", workflowId: "w", outline: "", fingerprint: "", input: "1", at: 0 });
  }

  /** Names what is ready, `n>b` for a backup. */
  start(activations: readonly Activation[]): string[] {
    for (const activation of activations) applyEvent(this.state, { kind: "invocation_started", ...activation, at: 0 });
    return activations.map(({ id: { node, backup } }) => (backup === undefined ? node : `${node}>${backup}`));
  }

  end(name: string, fails = false): string[] {
    const [node, backup] = name.split(">") as [string, string | undefined];
    const id = { node, iteration: 0, backup };
    const error = { name: "Error", message: "no" };
    if (fails) applyEvent(this.state, { kind: "invocation_failed", id, attempts: 1, error, at: 0 });
    else applyEvent(this.state, { kind: "invocation_completed", id, attempts: 1, output: "1", at: 0 });
    return this.start(this.readiness.afterEnd(this.state.invocations.get(invocationKey(id))!));
  }
}

it("a node is ready when the last of those that lead to it has completed (C5.3)", () => {
  const walk = new Walk(
    planOf(
      ["a", "b", "c", "d"],
      [
        ["a", "c"],
        ["b", "c"],
        ["b", "d"],
      ],
    ),
  );
  expect(walk.start(walk.readiness.atStart())).toEqual(["a", "b"]);
  expect(walk.end("b")).toEqual(["d"]);
  expect(walk.end("d")).toEqual([]);
  expect(walk.end("a")).toEqual(["c"]);
  expect(walk.readiness.failed).toEqual([]);
});

it("when a node fails its backups are ready one after the other, depth first (C5.4)", () => {
  const walk = new Walk(
    planOf(
      ["a", "b", "b1", "c", "end"],
      [["a", "end"]],
      [
        ["a", "b"],
        ["b", "b1"],
        ["a", "c"],
      ],
    ),
  );
  expect(walk.start(walk.readiness.atStart())).toEqual(["a"]);
  expect(walk.end("a", true)).toEqual(["a>b"]);
  expect(walk.end("a>b", true)).toEqual(["a>b1"]);
  expect(walk.end("a>b1", true)).toEqual(["a>c"]);
  expect(walk.readiness.failed).toEqual([]);
  expect(walk.end("a>c")).toEqual(["end"]);
  expect(walk.readiness.servedBy("a#0")?.id.backup).toBe("c");
});

it("a node whose backups have all failed has failed, and what depends on it is never ready (C5.6)", () => {
  const walk = new Walk(planOf(["a", "b", "end"], [["a", "end"]], [["a", "b"]]));
  walk.start(walk.readiness.atStart());
  walk.end("a", true);
  expect(walk.end("a>b", true)).toEqual([]);
  expect(walk.readiness.failed).toEqual([{ node: "a", iteration: 0 }]);
  expect(walk.readiness.servedBy("a#0")).toBeUndefined();
});

describe("read back from a journal", () => {
  it("what has begun is not ready again, and what has not is (C6.1)", () => {
    const plan = planOf(
      ["a", "b", "c", "d", "spare"],
      [
        ["a", "b"],
        ["a", "c"],
        ["b", "d"],
        ["c", "d"],
      ],
      [["c", "spare"]],
    );
    const walk = new Walk(plan);
    walk.start(walk.readiness.atStart());
    // Recorded as completed, while the starts of b and c were lost with the process.
    applyEvent(walk.state, {
      kind: "invocation_completed",
      id: { node: "a", iteration: 0 },
      attempts: 1,
      output: "1",
      at: 0,
    });
    const again = new Readiness(plan, walk.state);
    expect(again.atStart()).toEqual([]);
    const ready = endsOf(walk.state).flatMap((invocation) => again.afterEnd(invocation));
    expect(ready.map(({ id }) => id.node)).toEqual(["b", "c"]);
  });

  it("it makes the same ready as the walk that wrote it, for any graph and any order of ends (C6.2)", () => {
    const steps = fc.array(fc.tuple(fc.nat(20), fc.boolean()), { maxLength: 40 });
    const pairs = fc.uniqueArray(
      fc.tuple(fc.nat(7), fc.nat(7)).filter(([a, b]) => a < b),
      {
        selector: ([a, b]) => a * 10 + b,
      },
    );
    fc.assert(
      fc.property(pairs, fc.uniqueArray(fc.nat(6), { maxLength: 3 }), steps, (edges, withSpare, choices) => {
        const nodes = [..."abcdefgh", ...withSpare.map((i) => `spare-${i}`)];
        const plan = planOf(
          nodes,
          edges.map(([from, to]) => [nodes[from]!, nodes[to]!]),
          withSpare.map((i) => [nodes[i]!, `spare-${i}`]),
        );
        const walk = new Walk(plan);
        let open = walk.start(walk.readiness.atStart());
        for (const [choice, fails] of choices) {
          if (open.length === 0) break;
          const name = open[choice % open.length]!;
          open = [...open.filter((other) => other !== name), ...walk.end(name, fails)];
        }
        const again = new Readiness(plan, walk.state);
        const ready = [...again.atStart(), ...endsOf(walk.state).flatMap((one) => again.afterEnd(one))];
        expect(ready).toEqual([]);
        expect(again.failed.toSorted(byNode)).toEqual(walk.readiness.failed.toSorted(byNode));
        for (const id of nodes) expect(again.lastOf(id)).toBe(walk.readiness.lastOf(id));
      }),
      { numRuns: 300, seed: 20261124 },
    );
  });
});

it("a step looks at the successors of a node, not at the whole graph (C6.2)", () => {
  const count = 2000;
  const nodes = Array.from({ length: count }, (_, i) => `n${i}`);
  const plan = planOf(
    nodes,
    nodes.slice(1).map((id, i): [string, string] => [`n${i}`, id]),
  );
  let looked = 0;
  const counted = new Proxy(plan.nodes, {
    get: (target, key) => {
      if (key === "get" || key === "keys" || key === "values" || key === Symbol.iterator) looked++;
      const value = Reflect.get(target, key) as unknown;
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  const walk = new Walk({ ...plan, nodes: counted });
  walk.start(walk.readiness.atStart());
  for (const id of nodes) walk.end(id);
  expect(walk.state.invocations.size).toBe(count);
  expect(looked).toBeLessThanOrEqual(2 * count);
});

/** What has ended, in the order in which the journal tells of it. */
function endsOf({ ended, invocations }: RunState): Invocation[] {
  return [...ended].map((key) => invocations.get(key)!);
}

function byNode(a: InvocationId, b: InvocationId): number {
  return a.node < b.node ? -1 : 1;
}
