import { describe, expect, test } from "vitest";
import { clausesOf, contractClauses } from "./contract.ts";
import { pathsBelow, read } from "./repository.ts";

test("every clause that is built stands in the title of a test, and no title cites an unknown one", () => {
  const contract = read("docs/behaviour.md");
  expect(clausesOf(contract).length).toBeGreaterThan(60);
  // The suites in src/testing are published for stores and engines. The plants below cite clauses that nobody tests.
  const own = "test/contract-clauses.test.ts";
  const tests = [...pathsBelow("src", /\.test\.ts$|^src\/testing\//), ...pathsBelow("test", /\.test\.ts$/)];
  const texts = new Map(tests.filter((path) => path !== own).map((path) => [path, read(path)]));
  expect(contractClauses(contract, texts)).toEqual([]);
});

describe("the contract test", () => {
  const PAGE =
    "## C1\n\n**C1.1** A promise, see C1.2.\n\n**C1.2**\n*(In part: half of it.)*\nAnother.\n\n**C1.3**\n*(Planned.)*\nLater.\n\n**C1.4** The last.\n";
  const TESTS =
    'describe("a thing", () => {\n  test("it does one (C1.1)", () => {});\n  it.each([1])("and %s (C1.2)", () => {});\n});\ntest.each([["two at once (C1.1, C1.4)", 1]])("%s", () => {});\n';
  const judge = (page: string, text: string): string[] => contractClauses(page, new Map([["a.test.ts", text]]));

  test("tells clauses that are built from planned ones", () => {
    expect(clausesOf(PAGE)).toEqual([
      { id: "C1.1", built: true },
      { id: "C1.2", built: true },
      { id: "C1.3", built: false },
      { id: "C1.4", built: true },
    ]);
  });

  test("has nothing to say where all is well", () => {
    expect(judge(PAGE, TESTS)).toEqual([]);
    expect(
      judge(PAGE, `${TESTS}// a comment about C9.9\nconst text = "see C9.9 for more"; test.skipIf(text)("x", f);`),
    ).toEqual([]);
    expect(judge(PAGE, `${TESTS}test("what is planned may be tested already (C1.3)", f);`)).toEqual([]);
    expect(judge(PAGE, TESTS.replace('"and %s (C1.2)"', "`and ${some} (C1.2)`"))).toEqual([]);
  });

  test.each([
    ["a clause whose test is gone", PAGE, TESTS.replace("(C1.2)", ""), "cites C1.2, which is built"],
    [
      "a clause that is only in a comment",
      PAGE,
      `// (C1.2)\n${TESTS.replace("(C1.2)", "")}`,
      "cites C1.2, which is built",
    ],
    ["a clause that is added", `${PAGE}\n**C1.5** New.\n`, TESTS, "cites C1.5, which is built"],
    ["a clause that is built now", PAGE.replace("*(Planned.)*\n", ""), TESTS, "cites C1.3, which is built"],
    ["a clause that is removed", PAGE.replace("**C1.4** The last.", ""), TESTS, "unknown clause C1.4"],
    ["a clause that is invented", PAGE, `${TESTS}test("more (C7.7)", f);`, "a.test.ts:6 cites the unknown clause C7.7"],
    ["an invented one in a table", PAGE, `${TESTS}test.each([["more (C7.7)"]])("%s", f);`, "unknown clause C7.7"],
    ["a clause twice", `${PAGE}\n**C1.1** Again.\n`, TESTS, "two clauses C1.1"],
    ["a citation in another place", PAGE, `${TESTS}test("by C1.1 it does", f);`, "not at its end"],
    ["a citation in another form", PAGE, `${TESTS}test("it does (C1.1, and C1.2)", f);`, "not at its end"],
    ["a test that is skipped", PAGE, `${TESTS}test.skip("it does (C1.1)", f);`, "test with .skip"],
    ["a test that runs alone", PAGE, `${TESTS}describe.only("it does", f);`, "test with .only"],
  ])("sees %s", (_, page, text, said) => {
    expect(judge(page, text).join("\n")).toContain(said);
  });
});
