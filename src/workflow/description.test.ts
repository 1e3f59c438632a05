import { expect, it } from "vitest";
import { DefinitionBuilder } from "./builder.ts";
import { describeWorkflow } from "./description.ts";

it("a workflow as data says everything but its functions, and survives JSON (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w", version: "2", concurrency: 3, onFailure: "continue" });
  builder.addNode("a", () => 1, { handoffTo: ["b"] });
  builder.addNode("b", () => 1, { join: "any", onFailure: "fail" });
  builder.addNode("spare", () => 1);
  builder.connect("a", "b", { x: "y" }, () => true);
  builder.addFallback("b", "spare");
  builder.configure("b", {
    retry: { maxAttempts: 2, retryableErrors: [TypeError, /busy/] },
    timeout: { attemptTimeoutMs: 5 },
  });
  const described = describeWorkflow(builder.definition);
  expect(described).toEqual({
    ...{ id: "w", name: "w", version: "2", fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/) as string },
    ...{ concurrency: 3, maxNodeInvocations: 1000, onFailure: "continue" },
    nodes: [
      { id: "a", join: "all", handoffTo: ["b"] },
      {
        id: "b",
        join: "any",
        onFailure: "fail",
        policies: {
          retry: { maxAttempts: 2, retryableErrors: ["the function TypeError", "/busy/"] },
          timeout: { attemptTimeoutMs: 5 },
        },
      },
      { id: "spare", join: "all" },
    ],
    edges: [{ from: "a", to: "b", mapping: { x: "y" }, conditional: true }],
    fallbacks: [{ primary: "b", backup: "spare" }],
  });
  expect(JSON.parse(JSON.stringify(described))).toEqual(described);
});

it("ready-made nodes say what they wait for and which workflow they run, and a node whether it can be undone (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w" });
  builder.addNode("pause", { kind: "wait", until: () => 0 });
  builder.addNode("approval", { kind: "signal", name: undefined, timeoutMs: Infinity });
  builder.addNode("answer", { kind: "signal", name: "ok", timeoutMs: 5 });
  builder.addNode("again", { kind: "workflow", workflow: builder }, { compensate: () => 1 });
  const { nodes } = describeWorkflow(builder.definition);
  expect(nodes).toEqual([
    { id: "pause", join: "all", waitsFor: { time: true } },
    { id: "approval", join: "all", waitsFor: { signal: "approval" } },
    { id: "answer", join: "all", waitsFor: { signal: "ok", timeoutMs: 5 } },
    { id: "again", join: "all", workflow: "w", compensated: true },
  ]);
});

it("what has no limit is left out, and a workflow that cannot be run can be described (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w", maxNodeInvocations: Infinity });
  builder.connect("a", "nowhere");
  expect(describeWorkflow(builder.definition)).toEqual({
    ...{ id: "w", name: "w", version: "1", fingerprint: expect.any(String) as string, onFailure: "fail" },
    ...{ nodes: [], edges: [{ from: "a", to: "nowhere" }], fallbacks: [] },
  });
});

it("the description is a copy: whoever changes it changes nothing else (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w" });
  builder.addNode("a", () => 1, { handoffTo: ["a"] });
  builder.connect("a", "a", { x: "y" });
  const described = describeWorkflow(builder.definition);
  described.nodes[0]!.handoffTo!.push("b");
  described.edges[0]!.mapping!["x"] = "z";
  expect(describeWorkflow(builder.definition)).toMatchObject({
    nodes: [{ handoffTo: ["a"] }],
    edges: [{ mapping: { x: "y" } }],
  });
});
