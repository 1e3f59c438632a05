import { describe, expect, test } from "vitest";
import { plainCodec } from "../core/codec.ts";
import { storedError } from "../core/errors.ts";
import {
  asJson,
  clean,
  cleanLines,
  counted,
  cut,
  duration,
  errorLines,
  instant,
  jsonLine,
  readable,
  readableLine,
} from "./text.ts";

const ESC = "\u001b";

describe("cleaning", () => {
  test.each([
    ["colours and cursor moves", `a${ESC}[31mb${ESC}[2J${ESC}[1;1Hc`, "abc"],
    ["a title, ended by a bell or by a string terminator", `a${ESC}]0;owned\u0007b${ESC}]0;owned${ESC}\\c`, "abc"],
    ["a link", `${ESC}]8;;http://evil.test\u0007text${ESC}]8;;\u0007`, "text"],
    ["eight-bit control sequences", "a\u009b31mb", "ab"],
    ["a bare escape, a backspace, a carriage return, a bell", `a${ESC}b\bc\rd\u0007e`, "abcde"],
    ["marks that turn the direction of text round", "a\u202eb\u2066c\u200f", "abc"],
  ])("takes out %s", (_, text, cleaned) => {
    expect(cleanLines(text)).toBe(cleaned);
  });

  test("keeps everything that is text, in any script", () => {
    const text = "na\u00efve \u{1f600} \u4f60\u597d \u05e9\u05dc\u05d5\u05dd <b>&amp;";
    expect(clean(text)).toBe(text);
  });

  test("makes one line of an id, and keeps the lines of a text", () => {
    expect(clean("a\n\tb\u2028c")).toBe("a b c");
    expect(cleanLines("a\n\tb")).toBe("a\n\tb");
  });
});

test.each([
  [0, "0 ms"],
  [-5, "0 ms"],
  [99, "99 ms"],
  [100, "0.1 s"],
  [4_249, "4.2 s"],
  [9_949, "9.9 s"],
  [9_950, "10 s"],
  [59_499, "59 s"],
  [59_500, "1 min 0 s"],
  [200_000, "3 min 20 s"],
  [3_600_000, "1 h 0 min"],
  [90_000_000, "25 h 0 min"],
])("%i ms are said as %s", (ms, words) => {
  expect(duration(ms)).toBe(words);
});

test("counts, cuts and dates", () => {
  expect([counted(0, "node"), counted(1, "node"), counted(2, "node")]).toEqual(["0 nodes", "1 node", "2 nodes"]);
  expect([cut("abcdef", 6), cut("abcdefg", 6), cut("abcdefg", 2)]).toEqual(["abcdef", "abc...", "..."]);
  expect(instant(0)).toBe("1970-01-01T00:00:00.000Z");
});

test("a line of JSON means the same after what a terminal would act upon is escaped", () => {
  const value = { [`k${ESC}`]: `${ESC}[2J\u009b31m\u007f\u202e`, text: "na\u00efve" };
  const line = jsonLine(value);
  expect(line).toMatch(/^[\u0020-\u007e\u00ef]+$/);
  expect(JSON.parse(line)).toEqual(value);
});

describe("a stored value", () => {
  const shown = (value: unknown): string => readable(plainCodec.encode(value, "it"));

  test("is JSON where JSON says it exactly", () => {
    expect(shown({ a: [1, "x"] })).toBe('{\n  "a": [\n    1,\n    "x"\n  ]\n}');
    expect(readableLine(plainCodec.encode({ a: [1, "x"] }, "it"))).toBe('{"a":[1,"x"]}');
  });

  test("is printed as Node prints it where JSON cannot say it", () => {
    expect(shown(12n)).toBe("12n");
    expect(shown({ at: new Date(0), nan: NaN })).toBe("{ at: 1970-01-01T00:00:00.000Z, nan: NaN }");
    expect(readableLine(plainCodec.encode(new Set(["x".repeat(90), "y".repeat(90)]), "it"))).not.toContain("\n");
  });

  test("that holds our mark as a text of its own is printed in the other form, which is the same value", () => {
    expect(shown({ price: "$" })).toBe("{ price: '$' }");
  });

  test("is shown whole", () => {
    const deep = { a: { b: { c: { d: { e: 1n } } } }, list: Array.from({ length: 150 }, (_, i) => i) };
    expect(shown(deep)).toContain("e: 1n");
    expect(shown(deep)).toContain("149");
  });
});

test("an error is told with its causes and codes, a line each", () => {
  const cause = Object.assign(new Error("connect ECONNREFUSED\n127.0.0.1"), { code: "ECONNREFUSED" });
  expect(errorLines(storedError(new TypeError("fetch failed", { cause })))).toEqual([
    "TypeError: fetch failed",
    "caused by Error [ECONNREFUSED]: connect ECONNREFUSED 127.0.0.1",
  ]);
});

test("a value that is kept as a blob is shown as what it is, and not taken for damage (C6.6)", () => {
  const blob = `blob:${"a".repeat(64)}`;
  expect([readable(blob), readableLine(blob), asJson(blob)]).toEqual([blob, blob, { $: "blob", v: "a".repeat(64) }]);
});
