import { describe, expect, it } from "vitest";
import { DefinitionBuilder } from "./builder.ts";
import type { WorkflowDefinition } from "./definition.ts";
import { fingerprintOf, outlineChanges, outlineOf } from "./fingerprint.ts";

function base(): DefinitionBuilder {
  const builder = new DefinitionBuilder({ id: "w", version: "1" });
  for (const id of ["a", "b", "c", "spare"]) builder.addNode(id, () => id);
  builder.connect("a", "b", { x: "y", p: "q" });
  builder.connect("b", "c", undefined);
  builder.addFallback("b", "spare");
  return builder;
}

const BASE = base().definition;

describe("every single edit of the structure gives another fingerprint, and is told in words (C5.10)", () => {
  const [first, second] = BASE.edges;
  const edits: [what: string, edited: WorkflowDefinition, told: string[]][] = [
    ["a node added", { ...BASE, nodes: [...BASE.nodes, { ...BASE.nodes[0]!, id: "d" }] }, ['it now has the node "d"']],
    ["a node removed", { ...BASE, nodes: BASE.nodes.slice(1) }, ['it had the node "a"']],
    [
      "a node renamed",
      { ...BASE, nodes: BASE.nodes.map((node) => (node.id === "c" ? { ...node, id: "C" } : node)) },
      ['it had the node "c"', 'it now has the node "C"'],
    ],
    [
      "an edge added",
      { ...BASE, edges: [...BASE.edges, { from: "a", to: "c" }] },
      ['it now has the edge from "a" to "c"'],
    ],
    ["an edge removed", { ...BASE, edges: [first!] }, ['it had the edge from "b" to "c"']],
    [
      "an edge rewired",
      { ...BASE, edges: [first!, { ...second!, from: "a" }] },
      ['it had the edge from "b" to "c"', 'it now has the edge from "a" to "c"'],
    ],
    [
      "an edge turned around",
      { ...BASE, edges: [first!, { from: "c", to: "b" }] },
      ['it had the edge from "b" to "c"', 'it now has the edge from "c" to "b"'],
    ],
    [
      "a mapping changed",
      { ...BASE, edges: [{ ...first!, mapping: { x: "z", p: "q" } }, second!] },
      ['with "p" to "q" and "x" to "y"', 'with "p" to "q" and "x" to "z"'],
    ],
    [
      "a mapping removed",
      { ...BASE, edges: [{ from: "a", to: "b" }, second!] },
      ['it now has the edge from "a" to "b"'],
    ],
    ["an empty mapping added", { ...BASE, edges: [first!, { ...second!, mapping: {} }] }, ["with no fields"]],
    [
      "a fallback added",
      { ...BASE, fallbacks: [...BASE.fallbacks, { primary: "c", backup: "spare" }] },
      ['from "c" to "spare"'],
    ],
    ["a fallback removed", { ...BASE, fallbacks: [] }, ['it had the fallback from "b" to "spare"']],
    ["a condition", { ...BASE, edges: [{ ...first!, when: () => true }, second!] }, ["on a condition"]],
    [
      "another join",
      { ...BASE, nodes: BASE.nodes.map((node) => (node.id === "c" ? { ...node, join: "any" } : node)) },
      ['it now has the join "any" at "c"'],
    ],
    [
      "a hand-off",
      { ...BASE, nodes: BASE.nodes.map((node) => (node.id === "a" ? { ...node, handoffTo: ["c"] } : node)) },
      ['it now has the hand-off from "a" to "c"'],
    ],
    ["another version", { ...BASE, version: "2" }, ['it had the version "1"', 'it now has the version "2"']],
  ];
  for (const [what, edited, told] of edits) {
    it(what, () => {
      expect(fingerprint(edited)).not.toBe(fingerprint(BASE));
      const changes = outlineChanges(outlineOf(BASE), outlineOf(edited));
      for (const words of told) expect(changes).toContain(words);
    });
  }

  it("each of them another one", () => {
    const all = [BASE, ...edits.map(([, edited]) => edited)].map(fingerprint);
    expect(new Set(all).size).toBe(all.length);
  });

  it("the order in which backups are tried", () => {
    const pair = [
      { primary: "b", backup: "spare" },
      { primary: "b", backup: "c" },
    ];
    const [one, other] = [
      { ...BASE, fallbacks: pair },
      { ...BASE, fallbacks: pair.toReversed() },
    ];
    expect(fingerprint(one)).not.toBe(fingerprint(other));
    expect(outlineChanges(outlineOf(one), outlineOf(other))).toBe("the order of its fallbacks has changed");
  });
});

it("what does not change the meaning of a journal does not change the fingerprint (C5.10)", () => {
  const same: WorkflowDefinition[] = [
    { ...BASE, name: "another name" },
    { ...BASE, concurrency: 1 },
    { ...BASE, nodes: BASE.nodes.toReversed() },
    { ...BASE, nodes: BASE.nodes.map((node) => ({ ...node, run: () => "other code" })) },
    { ...BASE, edges: BASE.edges.toReversed() },
    { ...BASE, edges: [{ ...BASE.edges[0]!, mapping: { p: "q", x: "y" } }, BASE.edges[1]!] },
    {
      ...BASE,
      policies: new Map([["a", { retry: { maxAttempts: 9 }, circuitBreaker: {}, timeout: { totalTimeoutMs: 1 } }]]),
    },
  ];
  for (const definition of same) expect(fingerprint(definition)).toBe(fingerprint(BASE));
});

it("ids that look alike when they are put together are told apart (C0.7, C5.10)", () => {
  const edge = (from: string, to: string) => fingerprint({ ...BASE, edges: [{ from, to }] });
  expect(new Set([edge("a,b", "c"), edge("a", "b,c"), edge('a","b', "c"), edge("a", 'b","c')]).size).toBe(4);
});

function fingerprint(definition: WorkflowDefinition): string {
  const text = fingerprintOf(outlineOf(definition));
  expect(text).toMatch(/^[0-9a-f]{8}$/);
  return text;
}
