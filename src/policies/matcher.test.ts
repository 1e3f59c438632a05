import { describe, expect, test } from "vitest";
import { compileMatcher, compileValueMatcher, type Matcher, matcherRule } from "./matcher.ts";

class NotFound extends Error {}
class Quota {
  readonly quota = true;
}
// As libraries older than classes define their errors.
function OldError(this: Error): void {
  this.message = "old";
}
OldError.prototype = Object.create(Error.prototype) as object;
const oldError = new (OldError as unknown as new () => Error)();

describe("a matcher of errors (C1.4)", () => {
  test.each<[string, Matcher, unknown, unknown]>([
    ["a class", NotFound, new NotFound(), new Error()],
    ["a built-in class", TypeError, new TypeError(), new RangeError()],
    ["a class that is no Error", Quota, new Quota(), { quota: true }],
    ["Error itself, but for what is none", Error, new TypeError(), "text"],
    ["a function that speaks of a class", (error) => (error as { class: string }).class === "a", { class: "a" }, {}],
    ["a constructor function", OldError as unknown as Matcher, oldError, new Error()],
    ["a class of DOM errors", DOMException, new DOMException("x"), new Error()],
    ["a code", "E1", { code: "E1" }, { code: "E2" }],
    ["a code, which is no text in the message", "E1", Object.assign(new Error(), { code: "E1" }), new Error("E1")],
    ["a RegExp", /rate.limit/i, new Error("Rate limit"), new Error("other")],
    ["a RegExp on what is no error", /^rate$/, "rate", 5],
    ["an arrow", (error) => error === 1, 1, 2],
    ["a function", (error: unknown): boolean => error === 1, 1, 2],
    ["any of several", ["E1", [NotFound, /busy/]], new Error("busy"), new Error("other")],
  ])("%s", (_, matcher, yes, no) => {
    const matches = compileMatcher(matcher);
    expect([matches(yes), matches(no)]).toEqual([true, false]);
  });

  test("an empty list matches nothing", () => {
    expect(compileMatcher([])(new Error())).toBe(false);
  });

  test("a RegExp that remembers where it stopped gives the same answer every time", () => {
    for (const pattern of [/busy/g, /busy/y]) {
      const matches = compileMatcher(pattern);
      expect([1, 2, 3].map(() => matches(new Error("busy")))).toEqual([true, true, true]);
      expect(pattern.lastIndex).toBe(0);
    }
    expect(compileMatcher(/busy/y)(new Error("very busy"))).toBe(true);
  });

  test("a RegExp sees the first 8192 characters of a message", () => {
    const matches = compileMatcher(/end$/);
    expect(matches(new Error(`${"x".repeat(8_189)}end and more`))).toBe(true);
    expect(matches(new Error(`${"x".repeat(8_190)}end`))).toBe(false);
  });

  test("a predicate that throws counts as a match: what cannot be judged is a failure", () => {
    const matches = compileMatcher((error) => (error as { deep: { er: number } }).deep.er > 1);
    expect(matches(new Error())).toBe(true);
  });
});

describe("a matcher as a judge of returned values (C2.1)", () => {
  const judge = (matcher: Matcher, value: unknown): boolean | undefined => compileValueMatcher(matcher)?.(value);

  test("a class and a function judge them", () => {
    expect([judge(Quota, new Quota()), judge(Quota, {})]).toEqual([true, false]);
    const status = (value: unknown): boolean => (value as { status: number }).status >= 500;
    expect([judge(status, { status: 503 }), judge(status, { status: 200 })]).toEqual([true, false]);
    expect([judge([Quota, status], { status: 503 }), judge([Quota, status], {})]).toEqual([true, false]);
  });

  test("a code and a RegExp do not, since a text that was returned may speak of errors", () => {
    expect(compileValueMatcher("E1")).toBeUndefined();
    expect(compileValueMatcher(/error/)).toBeUndefined();
    expect(compileValueMatcher(["E1", /error/])).toBeUndefined();
    expect(judge(["E1", Quota], new Quota())).toBe(true);
  });

  test("a function that says yes even to undefined is meant for errors", () => {
    expect(compileValueMatcher((error) => !(error instanceof NotFound))).toBeUndefined();
  });

  test("a function that throws on a value, or says no clear yes, calls it no failure", () => {
    expect(judge((value) => (value as { a: { b: boolean } }).a.b, {})).toBe(false);
    expect(judge(((value: unknown) => value) as Matcher, "truthy")).toBe(false);
  });
});

test("what is no matcher is told by the rule (C0.3)", () => {
  for (const matcher of [Error, "E1", /x/, () => true, [], ["E1", [/x/]]])
    expect(matcherRule.allows(matcher)).toBe(true);
  for (const other of ["", 404, null, {}, [404], ["E1", [null]]]) expect(matcherRule.allows(other)).toBe(false);
  expect(matcherRule.says).toMatch(/class.*code.*RegExp.*function.*array/);
});
