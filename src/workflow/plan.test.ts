import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WorkflowDefinitionError } from "../core/errors.ts";
import type { StandardSchema } from "../core/schema.ts";
import { DefinitionBuilder } from "./builder.ts";
import type { FieldMapping, NodePolicies } from "./definition.ts";
import { type Plan, planOf, planWorkflow } from "./plan.ts";

type Edge = readonly [from: string, to: string, mapping?: FieldMapping];

interface Sketch {
  nodes?: string[];
  edges?: Edge[];
  fallbacks?: [string, string][];
  policies?: [string, NodePolicies][];
}

function planned({ nodes = [], edges = [], fallbacks = [], policies = [] }: Sketch): Plan {
  const builder = new DefinitionBuilder({ id: "w" });
  for (const id of nodes) builder.addNode(id, () => id);
  for (const [from, to, mapping] of edges) builder.connect(from, to, mapping);
  for (const [primary, backup] of fallbacks) builder.addFallback(primary, backup);
  for (const [id, options] of policies) builder.configure(id, options);
  return planWorkflow(builder.definition);
}

function problemsOf(sketch: Sketch): readonly string[] {
  try {
    planned(sketch);
  } catch (error) {
    expect(error).toBeInstanceOf(WorkflowDefinitionError);
    return (error as WorkflowDefinitionError).problems;
  }
  return [];
}

describe("what cannot be run is refused with everything that is wrong", () => {
  it("all problems are listed at once (C5.1)", () => {
    const problems = problemsOf({
      nodes: ["a", "a", ""],
      edges: [
        ["a", "b"],
        ["c", "a"],
      ],
      fallbacks: [["a", "d"]],
      policies: [["e", { retry: {} }]],
    });
    expect(problems).toHaveLength(6);
    const error = new WorkflowDefinitionError("w", problems);
    expect(error.message.split("\n")).toHaveLength(7);
    for (const problem of problems) expect(error.message).toContain(problem);
  });

  const cases: [what: string, sketch: Sketch, problem: RegExp][] = [
    ["no nodes at all", {}, /^it has no nodes\. Add one/],
    ["two nodes of one name", { nodes: ["a", "a"] }, /^there are two nodes called "a"/],
    ["an empty id", { nodes: [""] }, /^a node id must be a non-empty string of at most 512 characters, got ""/],
    ["an id that is too long", { nodes: ["x".repeat(513)] }, /^a node id must be/],
    [
      "an edge from nowhere",
      { nodes: ["a"], edges: [["b", "a"]] },
      /^connect\("b", "a"\) names "b", which is no node\. There are: "a"/,
    ],
    ["an edge to nowhere", { nodes: ["a"], edges: [["a", "b"]] }, /^connect\("a", "b"\) names "b", which is no node/],
    ["an edge to itself", { nodes: ["a"], edges: [["a", "a"]] }, /^the nodes "a" -> "a" form a loop that nothing ends/],
    [
      "an edge twice",
      {
        nodes: ["a", "b"],
        edges: [
          ["a", "b", { x: "y" }],
          ["a", "b", { z: "q" }],
        ],
      },
      /^"a" and "b" are connected twice/,
    ],
    [
      "a loop",
      {
        nodes: ["a", "b", "c"],
        edges: [
          ["a", "b"],
          ["b", "c"],
          ["c", "b"],
        ],
      },
      /^the nodes "b" -> "c" -> "b" form a loop that nothing ends/,
    ],
    [
      "a fallback to nowhere",
      { nodes: ["a"], fallbacks: [["a", "b"]] },
      /^addFallback\("a", "b"\) names "b", which is no node/,
    ],
    ["a fallback of nowhere", { nodes: ["a"], fallbacks: [["b", "a"]] }, /names "b", which is no node/],
    ["a node that is its own fallback", { nodes: ["a"], fallbacks: [["a", "a"]] }, /fallbacks "a" -> "a" form a cycle/],
    [
      "fallbacks in a circle",
      {
        nodes: ["a", "b", "c"],
        fallbacks: [
          ["a", "b"],
          ["b", "c"],
          ["c", "a"],
        ],
      },
      /form a cycle/,
    ],
    [
      "policies for nowhere",
      { nodes: ["a"], policies: [["b", { retry: {}, timeout: {} }]] },
      /^retry, timeout is configured for "b", which is no node/,
    ],
    [
      "two edges that fill one field",
      {
        nodes: ["a", "b", "c"],
        edges: [
          ["a", "c", { x: "in" }],
          ["b", "c", { y: "in" }],
        ],
      },
      /^"a" and "b" both fill the field "in" of "c"/,
    ],
    [
      "a mapping that fills the field of a whole output",
      {
        nodes: ["a", "b", "c"],
        edges: [
          ["a", "c"],
          ["b", "c", { y: "a" }],
        ],
      },
      /^"a" and "b" both fill the field "a" of "c"/,
    ],
    [
      "an edge from a node that only stands in",
      {
        nodes: ["a", "b", "c"],
        edges: [
          ["a", "c"],
          ["b", "c"],
        ],
        fallbacks: [["a", "b"]],
      },
      /^connect\("b", "c"\) leads from a node that only stands in for others/,
    ],
  ];
  for (const [what, sketch, problem] of cases) {
    it(`${what} (C5.1)`, () => {
      expect(problemsOf(sketch)).toEqual([expect.stringMatching(problem)]);
    });
  }

  it("a node that is no function (C5.1)", () => {
    const builder = new DefinitionBuilder({ id: "w" });
    builder.addNode("a", "text" as never);
    expect(() => planWorkflow(builder.definition)).toThrow(
      /node "a" must be a function or a ready-made node, got "text"/,
    );
  });
});

it("nodes without inbound edges get the input, those without outbound ones give the result (C5.3)", () => {
  const { starts, ends } = planned({
    nodes: ["a", "b", "c", "d"],
    edges: [
      ["a", "c"],
      ["b", "c"],
    ],
  });
  expect({ starts, ends }).toEqual({ starts: ["a", "b", "d"], ends: ["c", "d"] });
});

it("a backup without inbound edges is no start and no end; one with them has its place (C5.4)", () => {
  const { starts, ends } = planned({
    nodes: ["a", "spare", "b", "both"],
    edges: [
      ["a", "b"],
      ["a", "both"],
    ],
    fallbacks: [
      ["a", "spare"],
      ["b", "both"],
    ],
  });
  expect({ starts, ends }).toEqual({ starts: ["a"], ends: ["b", "both"] });
});

it("backups are in order, depth first, each once (C5.4)", () => {
  const { nodes } = planned({
    nodes: ["a", "b", "c", "d", "e"],
    fallbacks: [
      ["a", "b"],
      ["b", "d"],
      ["a", "c"],
      ["c", "d"],
      ["c", "e"],
    ],
  });
  expect(nodes.get("a")?.backups).toEqual(["b", "d", "c", "e"]);
  expect(nodes.get("c")?.backups).toEqual(["d", "e"]);
  expect(nodes.get("e")?.backups).toEqual([]);
});

it("fallbacks that share fallbacks are walked once each, not once for each way to them (C5.4)", () => {
  const levels = Array.from({ length: 30 }, (_, i) => i);
  const nodes = levels.flatMap((i) => [`n${i}`, `a${i}`, `b${i}`]);
  const fallbacks = levels.slice(1).flatMap((i): [string, string][] => [
    [`n${i - 1}`, `a${i}`],
    [`n${i - 1}`, `b${i}`],
    [`a${i}`, `n${i}`],
    [`b${i}`, `n${i}`],
  ]);
  // There are 2^29 ways from the first to the last.
  expect(planned({ nodes, fallbacks }).nodes.get("n0")?.backups).toHaveLength(29 * 3);
});

it("strange ids are ordinary nodes (C0.7)", () => {
  const nodes = ["__proto__", "constructor", "toString", "../x", "a\0b", "🪸", "A", "a"];
  const plan = planned({ nodes, edges: nodes.slice(1).map((id) => ["__proto__", id] as const) });
  expect([...plan.nodes.keys()]).toEqual(nodes);
  expect(plan.ends).toEqual(nodes.slice(1));
});

it("a chain of many thousand nodes is planned without running out of stack (C5.1)", () => {
  const nodes = Array.from({ length: 4000 }, (_, i) => `n${i}`);
  const edges = nodes.slice(1).map((id, i): Edge => [`n${i}`, id]);
  expect(planned({ nodes, edges }).ends).toEqual(["n3999"]);
  expect(problemsOf({ nodes, edges: [...edges, ["n3999", "n0"]] })).toHaveLength(1);
});

it("a random graph is refused exactly if it has a loop (C5.1)", () => {
  const edge = fc.tuple(fc.nat(7), fc.nat(7)).filter(([from, to]) => from !== to);
  const graph = fc.uniqueArray(edge, { maxLength: 14, selector: ([from, to]) => `${from} ${to}` });
  fc.assert(
    fc.property(graph, (pairs) => {
      const nodes = Array.from({ length: 8 }, (_, i) => `n${i}`);
      const edges = pairs.map(([from, to]): Edge => [`n${from}`, `n${to}`]);
      // Taking away what nothing leads to, again and again, leaves the loops.
      let left = pairs;
      for (let before = -1; before !== left.length;) {
        before = left.length;
        left = left.filter(([from]) => left.some(([, to]) => to === from));
      }
      expect(problemsOf({ nodes, edges }).length > 0).toBe(left.length > 0);
    }),
    { numRuns: 300, seed: 20261124 },
  );
});

describe("a schema", () => {
  const any: StandardSchema = {
    "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) },
  };

  it("of a node that is none is refused (C10.4)", () => {
    const builder = new DefinitionBuilder({ id: "w" });
    builder.addNode("a", () => 1, { input: { type: "number" } as never, output: any });
    expect(() => planWorkflow(builder.definition)).toThrow(
      /the input of node "a" must be a Standard Schema, such as zod, valibot and arktype make, got /,
    );
  });

  it("of a workflow that is none is a ConfigError (C0.3, C10.4)", () => {
    for (const side of ["input", "output"])
      expect(() => new DefinitionBuilder({ id: "w", [side]: String })).toThrow(
        new RegExp(`workflow\\.${side} must be a Standard Schema`),
      );
  });

  it("of what a run gives is refused where several nodes give something (C10.3, C10.4)", () => {
    const builder = new DefinitionBuilder({ id: "w", output: any });
    builder.addNode("a", () => 1);
    builder.addNode("b", () => 2);
    expect(() => planWorkflow(builder.definition)).toThrow(/the end nodes "a", "b", each with an output of its own/);
    builder.connect("a", "b");
    expect(planWorkflow(builder.definition).ends).toEqual(["b"]);
  });

  it("changes no fingerprint, since it changes nothing that was stored (C5.10)", () => {
    const [plain, judged] = [{}, { input: any, output: any }].map((options) => {
      const builder = new DefinitionBuilder({ id: "w", ...options });
      builder.addNode("a", () => 1, options);
      return planWorkflow(builder.definition).fingerprint;
    });
    expect(judged).toBe(plain);
  });
});

it("which edge closes a loop follows from the order of the nodes, not from that of the edges (C5.3)", () => {
  const edges: Edge[] = [
    ["brief", "draft"],
    ["brief", "judge"],
    ["draft", "judge"],
    ["judge", "draft"],
  ];
  const closing = (order: readonly Edge[]): string[] => {
    const builder = new DefinitionBuilder({ id: "w" });
    for (const id of ["brief", "draft", "judge"]) builder.addNode(id, () => id);
    for (const [from, to] of order) builder.connect(from, to, undefined, () => true);
    const nodes = [...planWorkflow(builder.definition).nodes.values()];
    return nodes.flatMap(({ outbound }) =>
      outbound.filter(({ isBack }) => isBack).map(({ from, to }) => `${from}>${to}`),
    );
  };
  expect(closing(edges)).toEqual(["judge>draft"]);
  expect(closing([edges[1]!, edges[3]!, edges[0]!, edges[2]!])).toEqual(["judge>draft"]);
  expect(closing([...edges].reverse())).toEqual(["judge>draft"]);
});

it("a definition is planned once, and a changed one anew (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w" });
  builder.addNode("a", () => 1);
  const plan = planOf(builder.definition);
  expect(planOf(builder.definition)).toBe(plan);
  builder.addNode("b", () => 2);
  expect(planOf(builder.definition).nodes.size).toBe(2);
});
