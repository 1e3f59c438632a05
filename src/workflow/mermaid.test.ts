import fc from "fast-check";
import { expect, it } from "vitest";
import { DefinitionBuilder } from "./builder.ts";
import { mermaidOf } from "./mermaid.ts";
import { planWorkflow } from "./plan.ts";

function drawn(builder: DefinitionBuilder): string {
  return mermaidOf(planWorkflow(builder.definition));
}

/** A workflow with every form that a graph can take. */
function everyForm(): DefinitionBuilder {
  const builder = new DefinitionBuilder({ id: "letters", name: 'Letters: "all" forms' });
  for (const id of ["read", "draft", "judge", "send", "file", "done"]) builder.addNode(id, () => id);
  builder.addNode("ask", () => 1, { handoffTo: ["clerk", "boss"] });
  for (const id of ["clerk", "boss", "archive", "spare", "last resort"]) builder.addNode(id, () => id);
  builder.addNode("any", () => 1, { join: "any" });
  builder.connect("read", "draft", { text: "letter", to: "to" });
  builder.connect("draft", "judge");
  builder.connect("judge", "draft", undefined, function isPoor() {
    return false;
  });
  builder.connect(
    "judge",
    "send",
    undefined,
    Object.defineProperty(() => true, "name", { value: "when" }),
  );
  builder.connect(
    "judge",
    "file",
    { a: "b" },
    Object.defineProperty(() => true, "name", { value: "" }),
  );
  builder.connect("send", "done");
  builder.connect("file", "done");
  builder.connect("send", "any");
  builder.connect("file", "any");
  builder.connect("read", "ask");
  builder.connect("read", "archive");
  builder.addFallback("send", "spare");
  builder.addFallback("send", "last resort");
  builder.addFallback("file", "archive");
  return builder;
}

it("every form of a graph is drawn: conditions, mappings, joins, loops, hand-offs and fallbacks (C5.1)", () => {
  expect(drawn(everyForm())).toBe(`---
title: "Letters: \\"all\\" forms"
---
flowchart TD
  n0["read"]
  n1["draft"]
  n2["judge"]
  n3["send"]
  n4["file"]
  n5["done"]
  n6["ask"]
  n7["clerk"]
  n8["boss"]
  n9["archive"]
  n10(["spare"])
  n11(["last resort"])
  n12{{"any"}}
  n0 -->|"text → letter, to"| n1
  n0 --> n6
  n0 --> n9
  n1 --> n2
  n2 -->|"when isPoor, again"| n1
  n2 -->|"when"| n3
  n2 -->|"when, a → b"| n4
  n3 --> n5
  n3 --> n12
  n4 --> n5
  n4 --> n12
  n6 ==>|"hands off"| n7
  n6 ==>|"hands off"| n8
  n3 -.->|"fallback 1"| n10
  n3 -.->|"fallback 2"| n11
  n4 -.->|"fallback"| n9
`);
});

it("what waits, runs another workflow or can be undone says so, whatever its place in the graph (C5.1, C5.9)", () => {
  const inner = new DefinitionBuilder({ id: "in#ner" });
  inner.addNode("a", () => 1);
  const builder = new DefinitionBuilder({ id: "w" });
  builder.addNode("pause", { kind: "wait", until: () => 0 });
  builder.addNode("approval", { kind: "signal", name: undefined, timeoutMs: Infinity });
  builder.addNode("answer", { kind: "signal", name: 'ok"', timeoutMs: 5 }, { join: "any" });
  builder.addNode("ship", { kind: "workflow", workflow: inner }, { compensate: () => 1 });
  builder.addNode("spare", () => 1, { compensate: () => 1 });
  builder.addFallback("ship", "spare");
  expect(drawn(builder).split("\n").slice(4, 9)).toEqual([
    '  n0["pause (wait)"]',
    '  n1["approval (signal)"]',
    '  n2{{"answer (signal ok#34;)"}}',
    '  n3["ship (workflow in#35;ner, compensated)"]',
    '  n4(["spare (compensated)"])',
  ]);
});

/** A text between quotes: characters that mean nothing to Mermaid, and numbers of others. */
const TEXT = String.raw`"((?:[\p{L}\p{M}\p{N}\p{So} _,/()=?!@$'→.+-]|#\d+;)+)"`;
const NODE = new RegExp(`^  (n\\d+)(?:\\[${TEXT}\\]|\\(\\[${TEXT}\\]\\)|\\{\\{${TEXT}\\}\\})$`, "u");
const ARROW = new RegExp(`^  (n\\d+) (?:-->|==>|-\\.->)(?:\\|${TEXT}\\|)? (n\\d+)$`, "u");

/** Reads a flowchart by the part of Mermaid's grammar that is used here, and no more; throws where it is another. */
function parsed(chart: string): { title: string; nodes: string[]; arrows: string[] } {
  const [open, title, close, kind, ...lines] = chart.split("\n");
  expect([open, close, kind, lines.pop()]).toEqual(["---", "---", "flowchart TD", ""]);
  const named = new Map<string, string>();
  const arrows: string[] = [];
  for (const line of lines) {
    const node = NODE.exec(line);
    if (node !== null) {
      expect([arrows.length, named.has(node[1]!)]).toEqual([0, false]);
      named.set(node[1]!, read((node[2] ?? node[3] ?? node[4])!));
      continue;
    }
    const [, from, label = "", to] = ARROW.exec(line) ?? expect.fail(`This is no line of a flowchart: ${line}`);
    arrows.push([named.get(from!)!, read(label), named.get(to!)!].join(" | "));
  }
  return { title: JSON.parse(title!.slice("title: ".length)) as string, nodes: [...named.values()], arrows };
}

function read(text: string): string {
  // A list, as Markdown would take it for.
  expect(text).not.toMatch(/^(\d+[.)]|[.)+-])/);
  return text.replace(/#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)));
}

/** What is seen of an id: characters that cannot be seen are escapes. */
function seen(id: string): string {
  return id.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (found) =>
    found
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}

it("no id, field or name breaks the text or reads as something else (C0.7, C5.1)", () => {
  const nasty = [
    ...['a"b', "a#quot;b", "#35;", "end", "graph TD", "a\nb --> c", "%%{init: {}}%%", "style x:#f00;", "`md`", "1. x"],
    ...[
      "- x",
      "<b>x</b>",
      "&amp;",
      "__proto__",
      "../x",
      "a\0b",
      "💥👩‍🚀",
      "\ud800",
      "\u202eabc",
      "] --> [",
      "click n0 call f()",
      " ",
    ],
    ...[
      "classDef a fill:#f9f;",
      "subgraph",
      "x|y",
      "{{x}}",
      "n0",
      "a;b",
      "@{ shape: x }",
      "\u2028",
      "$$x$$",
      "\\u0000",
    ],
  ];
  const id = fc.oneof(
    fc.constantFrom(...nasty),
    fc.string({ minLength: 1, unit: "binary" }),
    fc.string({ minLength: 1 }),
  );
  fc.assert(
    fc.property(fc.uniqueArray(id, { minLength: 3, maxLength: 6 }), id, id, id, (ids, name, out, into) => {
      const builder = new DefinitionBuilder({ id: "w", name });
      for (const node of ids) builder.addNode(node, () => 1);
      const [a, b, c] = ids as [string, string, string];
      builder.connect(
        a,
        b,
        { [out]: into },
        Object.defineProperty(() => true, "name", { value: name }),
      );
      builder.addFallback(b, c);
      const chart = parsed(drawn(builder));
      expect(chart.title).toBe(seen(name));
      expect(chart.nodes).toEqual(ids.map(seen));
      const mapped = out === into ? seen(out) : `${seen(out)} → ${seen(into)}`;
      const when = name === "when" ? "when" : `when ${name}`.trim();
      const expected = `${seen(when)}, ${mapped}`;
      expect(chart.arrows).toEqual([
        [seen(a), expected, seen(b)].join(" | "),
        [seen(b), "fallback", seen(c)].join(" | "),
      ]);
    }),
    { numRuns: 500, seed: 20261125 },
  );
});

it("a workflow that cannot be run is not drawn (C5.1)", () => {
  const builder = new DefinitionBuilder({ id: "w" });
  builder.addNode("a", () => 1);
  builder.connect("a", "nowhere");
  expect(() => drawn(builder)).toThrow(/"nowhere"/);
});
