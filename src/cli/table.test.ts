import { expect, test } from "vitest";
import { facts, table } from "./table.ts";

const asIs = (word: string): string => word;
const HEADINGS = ["RUN", "STATUS", "ERROR"];

test("columns are as wide as what is in them, and no line ends in blanks", () => {
  const rows = [
    ["m-1", "completed", ""],
    ["a longer id", "failed", "503"],
  ];
  expect(table(HEADINGS, rows, asIs, Infinity)).toBe(
    ["RUN          STATUS     ERROR", "m-1          completed", "a longer id  failed     503"].join("\n"),
  );
});

test("only the last column is cut to fit, and never to less than can be read", () => {
  const rows = [["m-1", "failed", "x".repeat(40)]];
  expect(table(HEADINGS, rows, asIs, 30).split("\n")[1]).toBe(`m-1  failed  ${"x".repeat(14)}...`);
  expect(table(HEADINGS, rows, asIs, 5).split("\n")[1]).toBe(`m-1  failed  ${"x".repeat(9)}...`);
});

test("colour does not shift what comes after it, and headings have none", () => {
  const paint = (word: string): string => (word === "failed" || word === "STATUS" ? `<${word}>` : word);
  expect(table(HEADINGS, [["m-1", "failed", "503"]], paint, Infinity)).toBe("RUN  STATUS  ERROR\nm-1  <failed>  503");
});

test("a cell cannot add a row or act on the terminal", () => {
  const text = table(["RUN", "ERROR"], [["a\nb\u001b[2J", "x\ny"]], asIs, Infinity);
  expect(text).toBe("RUN  ERROR\na b  x y");
});

test("facts stand beside their names, further lines below the first", () => {
  expect(
    facts([
      ["run", "m-1"],
      ["payload", "{\n}"],
    ]),
  ).toBe("  run      m-1\n  payload  {\n           }");
});
