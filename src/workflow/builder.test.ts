import { expect, it } from "vitest";
import { ConfigError } from "../core/errors.ts";
import { DefinitionBuilder } from "./builder.ts";

it("a workflow is called by its id, in version 1 and without a limit, unless it says otherwise (C5.1)", () => {
  const { nodes, edges, fallbacks, policies, ...rest } = new DefinitionBuilder({ id: "w" }).definition;
  expect(rest).toEqual({
    ...{ id: "w", name: "w", version: "1", concurrency: Infinity },
    ...{ maxNodeInvocations: 1000, onFailure: "fail", migrations: [] },
  });
  expect([nodes, edges, fallbacks, [...policies]]).toEqual([[], [], [], []]);
  const said = new DefinitionBuilder({ id: "w", name: "W", version: "2", concurrency: 3 }).definition;
  expect(said).toMatchObject({ id: "w", name: "W", version: "2", concurrency: 3 });
});

it("a wrong option is a ConfigError that names it (C0.3, C10.4)", () => {
  const make = (options: object) => () => new DefinitionBuilder(options as never);
  expect(make({})).toThrow(/workflow\.id must be a non-empty string of at most 512 characters, got undefined/);
  expect(make({ id: "" })).toThrow(ConfigError);
  expect(make({ id: "x".repeat(513) })).toThrow(ConfigError);
  for (const concurrency of [0, -1, 1.5, NaN, "2"]) {
    expect(make({ id: "w", concurrency })).toThrow(/workflow\.concurrency must be a whole number of at least 1/);
  }
  expect(make({ id: "w", retires: 1 })).toThrow(/workflow has no option "retires"/);
});

it("a definition is the same object until something is added, and an earlier one stays as it was (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w" });
  const steps = [
    () => builder.addNode("a", () => 1),
    () => builder.addNode("b", () => 1),
    () => builder.connect("a", "b", undefined),
    () => builder.addFallback("a", "b"),
    () => builder.configure("a", { retry: {} }),
  ];
  const seen = [builder.definition];
  for (const step of steps) {
    expect(builder.definition).toBe(seen.at(-1));
    step();
    seen.push(builder.definition);
  }
  expect(new Set(seen).size).toBe(6);
  expect(
    seen.map(({ nodes, edges, fallbacks, policies }) =>
      [nodes, edges, fallbacks, [...policies]].map((part) => part.length),
    ),
  ).toEqual([
    [0, 0, 0, 0],
    [1, 0, 0, 0],
    [2, 0, 0, 0],
    [2, 1, 0, 0],
    [2, 1, 1, 0],
    [2, 1, 1, 1],
  ]);
});

it("a mapping that its caller changes afterwards stays what it was (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w" });
  const mapping: Record<string, string> = { x: "y" };
  builder.connect("a", "b", mapping);
  mapping["x"] = "z";
  expect(builder.definition.edges[0]?.mapping).toEqual({ x: "y" });
});

it("policies of a node add up, and the later of two of a kind counts (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w" });
  builder.configure("a", { retry: { maxAttempts: 2 }, timeout: { totalTimeoutMs: 1 } });
  builder.configure("a", { retry: { maxAttempts: 3 } });
  expect(builder.definition.policies.get("a")).toEqual({ retry: { maxAttempts: 3 }, timeout: { totalTimeoutMs: 1 } });
});
