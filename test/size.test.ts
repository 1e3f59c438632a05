import { describe, expect, test } from "vitest";
import { built, policiesOf } from "./built.ts";
import { bundle, type Bundle } from "./bundle.ts";

/**
 * What a browser loads for a set of imports, in bytes after gzip, at most: about 3 % more than on the day it was
 * written. Who makes a policy larger writes the new number here, and so sees what it costs.
 */
const LIMITS: Record<string, number> = {
  "RetryPolicy, CircuitBreaker, Timeout, Bulkhead, pipeline": 15_330,
  AdaptiveConcurrency: 6_820,
  Budget: 7_050,
  Bulkhead: 4_640,
  Chaos: 3_620,
  CircuitBreaker: 9_930,
  Fallback: 3_520,
  Hedge: 4_300,
  RateLimiter: 8_150,
  ResourceLock: 5_270,
  RetryBudget: 1_810,
  RetryPolicy: 5_170,
  Timeout: 3_870,
  pipeline: 3_550,
  sharing: 13_550,
  onEvent: 930,
  HoldfastError: 250,
};

/** What only the sharing of state between processes needs. Whoever shares nothing loads nothing of it. */
const SHARING = [
  "breaker-fleet",
  "call-batch",
  "held-lease",
  "ledger-member",
  "lock-lease",
  "shared-breaker",
  "shared-ledger",
  "shared-limiter",
  "shared-place",
  "shared-rate-line",
].map((module) => `policies/${module}.js`);

const policies = await built("policies/index.js");
const everything = await built("index.js");

const CLASSES = policiesOf(policies);

/** Errors that only workflows have. */
const ENGINE_ERRORS = Object.keys(everything).filter((name) => name.endsWith("Error") && !(name in policies));

/** What is wrong with the bundle of a module that imports these names. */
function problems(names: string, { code, gzipBytes, kept, strangers }: Bundle): string[] {
  const limit = LIMITS[names];
  const wanted = new Set(names.split(", ").map((name) => (name === "pipeline" ? "Pipeline" : name)));
  const exports = Object.values(kept).flat();
  return [
    ...(limit !== undefined && gzipBytes > limit
      ? [`it has ${gzipBytes} bytes and may have ${limit}, of ${Object.keys(kept).join(", ")}`]
      : []),
    ...CLASSES.filter((name) => exports.includes(name) && !wanted.has(name)).map((name) => `it brings ${name}`),
    ...ENGINE_ERRORS.filter((name) => exports.includes(name)).map((name) => `it brings ${name}`),
    ...(wanted.has("sharing") ? [] : SHARING)
      .filter((file) => Object.hasOwn(kept, file))
      .map((file) => `it brings ${file}, which only sharing needs`),
    ...strangers.map((id) => `it imports ${id}`),
    ...(/\b(?:import|require)\b/.test(code) ? ["it imports at run time"] : []),
  ];
}

const importing = (names: string): string => `export { ${names} } from "holdfast/policies";`;

test.each(Object.keys(LIMITS))("a bundle of %s is as small as it was, and brings nothing else", async (names) => {
  expect(problems(names, await bundle(importing(names)))).toEqual([]);
});

test("the code of sharing comes with the place of the state that is shared", async () => {
  expect(Object.keys((await bundle(importing("sharing"))).kept)).toEqual(expect.arrayContaining(SHARING));
});

test("each policy has a limit", () => {
  expect(CLASSES).toContain("RetryPolicy");
  expect(CLASSES.filter((name) => LIMITS[name] === undefined && name !== "Pipeline")).toEqual([]);
});

test("importing holdfast/policies without using it brings nothing", async () => {
  expect(await bundle('import "holdfast/policies";')).toMatchObject({ code: "", kept: {} });
});

test("all of holdfast/policies bundles for browsers, without node: and without any package", async () => {
  const { code, kept, strangers } = await bundle('export * from "holdfast/policies";');
  expect(strangers).toEqual([]);
  expect(code).not.toContain("node:");
  expect(Object.values(kept).flat()).toEqual(expect.arrayContaining(CLASSES));
});

describe("the measure of size", () => {
  const noise = Array.from({ length: 400 }, (_, i) => (i * 2654435761) % 4294967296).join();

  test.each([
    [
      "a policy that another brings",
      "policies/retry.js",
      'import { Bulkhead } from "./bulkhead.js";\nglobalThis.b = Bulkhead;',
      "it brings Bulkhead",
    ],
    [
      "a class that cannot be left out",
      "core/errors.js",
      "export class Kept extends NodeCrashedError { static { Object.defineProperty(this.prototype, 'name', {}); } }",
      "it brings NodeCrashedError",
    ],
    [
      "code that only sharing needs",
      "policies/retry.js",
      'import { LeasePlace } from "./held-lease.js";\nglobalThis.place = LeasePlace;',
      "it brings policies/held-lease.js, which only sharing needs",
    ],
    ["a module of Node", "policies/retry.js", 'import fs from "node:fs";\nglobalThis.fs = fs;', "it imports node:fs"],
    ["a package", "policies/retry.js", 'export { default as pico } from "picocolors";', "it imports picocolors"],
    ["an import at run time", "policies/retry.js", "globalThis.load = (x) => import(x);", "it imports at run time"],
    ["growth", "policies/retry.js", `globalThis.noise = "${noise}";`, "bytes and may have"],
  ])("sees %s", async (_, file, addition, said) => {
    const change = (path: string, text: string): string => (path === file ? `${text}\n${addition}` : text);
    expect(problems("RetryPolicy", await bundle(importing("RetryPolicy"), { change })).join("\n")).toContain(said);
  });

  test("sees what is done when a module is loaded", async () => {
    const change = (path: string, text: string): string =>
      path.endsWith("index.js") || path.endsWith("retry.js") ? `${text}\nglobalThis.planted = 1;` : text;
    expect((await bundle('import "holdfast/policies";', { change })).code).toContain("planted");
  });
});
