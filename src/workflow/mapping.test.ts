import fc from "fast-check";
import { expect, it } from "vitest";
import type { EdgeDefinition } from "./definition.ts";
import { gatherInput, inputFrom, MappingError } from "./mapping.ts";

function gather(edges: EdgeDefinition[], outputs: Record<string, unknown>): unknown {
  return gatherInput(edges, (id) => outputs[id]);
}

it("an edge that delivers by itself gives the output as it is, or the fields that it maps (C5.3)", () => {
  for (const output of [undefined, null, 0, "text", [1], { x: 1 }]) {
    expect(inputFrom({ from: "a", to: "b" }, output)).toBe(output);
  }
  expect(inputFrom({ from: "a", to: "b", mapping: { x: "y" } }, { x: 1, z: 2 })).toEqual({ y: 1 });
});

it("a mapping takes the named fields and leaves the others (C5.3)", () => {
  const edge = { from: "a", to: "b", mapping: { body: "text", to: "to" } };
  expect(gather([edge], { a: { body: 1, to: 2, secret: 3 } })).toEqual({ text: 1, to: 2 });
});

it("one field may fill several, and a field that is there but undefined is delivered (C5.3)", () => {
  const edges = [
    { from: "a", to: "c", mapping: { x: "one", y: "two" } },
    { from: "b", to: "c", mapping: { x: "three" } },
  ];
  const input = gather(edges, { a: { x: 1, y: undefined }, b: { x: 3 } });
  expect(input).toEqual({ one: 1, two: undefined, three: 3 });
  expect(Object.hasOwn(input as object, "two")).toBe(true);
});

it("where edges meet, each without a mapping fills the field named after its node (C5.3)", () => {
  const edges = [
    { from: "a", to: "c" },
    { from: "b", to: "c" },
  ];
  expect(gather(edges, { a: 1, b: [2] })).toEqual({ a: 1, b: [2] });
});

it("a field that is not there is an error that names the edge, the field and what there is (C5.3)", () => {
  const edge = { from: "a", to: "b", mapping: { txet: "t" } };
  const said = (output: unknown): string => {
    try {
      gather([edge], { a: output });
    } catch (error) {
      expect(error).toBeInstanceOf(MappingError);
      expect((error as Error).name).toBe("MappingError");
      return (error as Error).message;
    }
    return "nothing";
  };
  expect(said({ text: 1, size: 2 })).toBe(
    'The edge from "a" to "b" maps the field "txet", but the output of "a" has only "text", "size".',
  );
  expect(said({})).toMatch(/the output of "a" has no fields/);
  expect(said(null)).toMatch(/the output of "a" is null/);
  expect(said("text")).toMatch(/the output of "a" is a string/);
  expect(said(undefined)).toMatch(/the output of "a" is undefined/);
  // Not a field of the output, although reading it would give something.
  expect(said(Object.create({ txet: 1 }))).toMatch(/has no fields/);
});

it("a field or node called __proto__ is an ordinary one (C0.7)", () => {
  const output = JSON.parse('{"__proto__": 1}') as object;
  const mapped = gather([{ from: "a", to: "b", mapping: JSON.parse('{"__proto__": "__proto__"}') as never }], {
    a: output,
  });
  expect(Object.entries(mapped as object)).toEqual([["__proto__", 1]]);
  const edges = [
    { from: "__proto__", to: "c" },
    { from: "b", to: "c" },
  ];
  const joined = gatherInput(edges, (id) => id.length);
  expect(Object.entries(joined as object)).toEqual([
    ["__proto__", 9],
    ["b", 1],
  ]);
  expect(Object.getPrototypeOf(joined)).toBe(Object.prototype);
});

it("what a mapping delivers is each mapped field and nothing else (C5.3)", () => {
  const field = fc.string({ minLength: 1 });
  fc.assert(
    fc.property(fc.dictionary(field, fc.integer()), fc.uniqueArray(field), (output, targets) => {
      const names = Object.keys(output).slice(0, targets.length);
      const pairs = names.map((name, i) => [name, targets[i]!] as const);
      const input = gather([{ from: "a", to: "b", mapping: Object.fromEntries(pairs) }], { a: output });
      expect(Object.entries(input as object).toSorted()).toEqual(
        pairs.map(([from, to]) => [to, output[from]] as [string, number]).toSorted(),
      );
    }),
    { seed: 20261124 },
  );
});
