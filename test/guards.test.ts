import { describe, expect, test } from "vitest";
import { architecture, printedFolders } from "./architecture.ts";
import { docs } from "./docs.ts";
import { COMPUTED, FRONT_DOOR, type Layers } from "./layers.ts";

/** A project that keeps its rules: each plant below changes one thing in it. */
const LAYERS: Layers = {
  folders: { core: [], policies: ["core"], stores: ["core"], [FRONT_DOOR]: ["policies", "stores"] },
  packages: { stores: { "node:fs": "any", "node:crypto": ["createHash"], libsql: "lazily" } },
  globals: {
    Date: { "core/clock.ts": "time" },
    performance: { "core/clock.ts": "time" },
    setTimeout: { "core/clock.ts": "time" },
    setInterval: {},
    "AbortSignal.timeout": {},
    "Math.random": { "core/random.ts": "randomness" },
    crypto: { "core/random.ts": "randomness" },
    process: {},
    createRequire: {},
    [COMPUTED]: { "stores/sqlite.ts": "loads what it is told to" },
  },
};

const SOURCES: Record<string, string> = {
  "core/clock.ts":
    "export const now = () => performance.now() + Date.now();\nexport type Handle = ReturnType<typeof setTimeout>;\nexport const later = (fn: () => void) => setTimeout(fn, 1);\n",
  "core/random.ts": "export const random = () => Math.random();\nexport const id = () => crypto.randomUUID();\n",
  "policies/retry.ts": 'import { now } from "../core/clock.ts";\nexport const at = now();\n',
  "stores/sqlite.ts":
    'import { createHash } from "node:crypto";\nimport * as fs from "node:fs";\nimport type { Handle } from "../core/clock.ts";\nexport const sqlite: Handle[] = [fs, createHash, import("libsql"), (x: string) => import(x)];\n',
  "index.ts": 'export * from "./policies/retry.ts";\nexport { sqlite } from "./stores/sqlite.ts";\n',
};

/** What is said about the project when some files have a line more in front of them. */
function complaints(added: Record<string, string>, layers: Layers = LAYERS): string[] {
  const files = new Map(Object.entries(SOURCES));
  for (const [path, text] of Object.entries(added)) files.set(path, `${text}\n${files.get(path) ?? ""}`);
  return architecture(files, layers);
}

const inCore = (text: string): Record<string, string> => ({ "core/random.ts": text });
const inPolicies = (text: string): Record<string, string> => ({ "policies/retry.ts": text });
const UPWARD = "core may not import policies";

/** What is planted, where, and what must be said about it. */
const FAULTS: [string, Record<string, string>, string][] = [
  ["an upward import of a value", inCore('import { at } from "../policies/retry.ts";'), UPWARD],
  ["an upward import of a type", inCore('import type { At } from "../policies/retry.ts";'), UPWARD],
  ["an upward import of an inline type", inCore('import { type At } from "../policies/retry.ts";'), UPWARD],
  ["an upward import for its effects", inCore('import "../policies/retry.ts";'), UPWARD],
  ["an upward import in single quotes", inCore("import { at } from '../policies/retry.ts';"), UPWARD],
  ["an upward import over several lines", inCore('import {\n  at,\n} from\n  "../policies/retry.ts";'), UPWARD],
  [
    "an upward import after code on its line",
    inCore('export const one = 1; import { at } from "../policies/retry.ts";'),
    UPWARD,
  ],
  ["an upward re-export", inCore('export { at } from "../policies/retry.ts";'), UPWARD],
  ["an upward export of everything", inCore('export * from "../policies/retry.ts";'), UPWARD],
  ["an upward dynamic import", inCore('export const load = () => import("../policies/retry.ts");'), UPWARD],
  [
    "an upward dynamic import over lines",
    inCore('export const load = () => import(\n  "../policies/retry.ts"\n);'),
    UPWARD,
  ],
  ["an upward dynamic import by template", inCore("export const load = () => import(`../policies/retry.ts`);"), UPWARD],
  ["a computed import", inCore('export const load = (x: string) => import("../" + x);'), "works out what it imports"],
  [
    "a template import with a hole",
    inCore("export const load = (x: string) => import(`../${x}.ts`);"),
    "works out what it imports",
  ],
  ["an upward import in a type", inCore('export type A = import("../policies/retry.ts").At;'), UPWARD],
  ["an upward typeof import", inCore('export type A = typeof import("../policies/retry.ts");'), UPWARD],
  ["the package by its own name", inCore('import { at } from "holdfast/policies";'), "by its own name"],
  ["createRequire", inCore('import { createRequire } from "node:module";'), "touches createRequire"],
  [
    "createRequire under another name",
    inCore('import { createRequire as load } from "node:module";'),
    "touches createRequire",
  ],
  [
    "createRequire through its module",
    inCore('import * as m from "node:module";\nm.createRequire("x");'),
    "touches createRequire",
  ],
  ["a require", inCore('declare const require: any;\nrequire("node:os");'), 'imports "node:os"'],
  ["new URL beside us", inCore('export const u = new URL("../policies/retry.ts", import.meta.url);'), UPWARD],
  [
    "new URL, computed",
    inCore("export const u = (x: string) => new URL(x, import.meta.url);"),
    "works out what it imports",
  ],
  ["import.meta.resolve", inCore('import.meta.resolve("../policies/retry.ts");'), UPWARD],
  [
    "an import of the front door",
    inPolicies('import type {} from "../index.ts";'),
    "policies may not import front door",
  ],
  ["a sideways import", inPolicies('import type {} from "../stores/sqlite.ts";'), "policies may not import stores"],
  [
    "a cycle through types",
    { "core/a.ts": 'import type {} from "./b.ts";', "core/b.ts": 'export type {} from "./a.ts";' },
    "core/a.ts -> core/b.ts -> core/a.ts",
  ],
  ["a file that imports itself", { "core/a.ts": 'import type {} from "./a.ts";' }, "core/a.ts -> core/a.ts"],
  ["a new folder", { "helpers/a.ts": "export const a = 1;" }, 'the folder "helpers", which is not listed'],
  ["a target that is no file", inPolicies('import {} from "../core/gone.ts";'), "no file of src/"],
  ["a target without .ts", inPolicies('import {} from "../core/clock";'), "no file of src/"],
  ["a target outside of src", inPolicies('import {} from "../../test/docs.ts";'), 'imports "../test/docs.ts"'],
  ["a file that is not TypeScript", { "core/a.js": "export const a = 1;" }, "is no .ts file"],
  ["a file that cannot be read", { "core/a.ts": "export const = 1;" }, "cannot be read"],
  ["node:crypto in policies", inPolicies('import { createHash } from "node:crypto";'), 'imports "node:crypto"'],
  ["a bare built-in module", inPolicies('import { createHash } from "crypto";'), 'imports "crypto"'],
  ["an npm package in policies", inPolicies('import ms from "ms";'), 'imports "ms"'],
  ["a scoped package's file", inPolicies('import {} from "@scope/name/deep/file.js";'), 'imports "@scope/name"'],
  [
    "another name of a package",
    { "stores/sqlite.ts": 'import { randomUUID } from "node:crypto";' },
    "takes randomUUID",
  ],
  ["all of a package with names", { "stores/sqlite.ts": 'import * as c from "node:crypto";' }, "takes all of it"],
  [
    "an optional package, statically",
    { "stores/sqlite.ts": 'import Database from "libsql";' },
    "only when it needs it",
  ],
  ["Date.now()", inPolicies("export const t = Date.now();"), "touches Date"],
  ["new Date", inPolicies("export const t = new Date();"), "touches Date"],
  ["Date()", inPolicies("export const t = Date();"), "touches Date"],
  ["Date, destructured", inPolicies("const { now: n } = Date;\nexport { n };"), "touches Date"],
  ["Date in an object's shorthand", inPolicies("export const o = { Date };"), "touches Date"],
  ["Date through globalThis", inPolicies("export const t = globalThis.Date;"), "touches Date"],
  ["Date through globalThis in brackets", inPolicies('export const t = globalThis["Date"];'), "touches Date"],
  [
    "Date through a cast globalThis",
    inPolicies("export const t = (globalThis as { Date: unknown }).Date;"),
    "touches Date",
  ],
  ["globalThis through a variable", inPolicies("const g = globalThis;\nexport const t = g.Date;"), "touches Date"],
  ["globalThis, destructured", inPolicies("const { Date: D } = globalThis;\nexport { D };"), "touches Date"],
  ["Date as a default in a pattern", inPolicies("export const f = ({ now = Date.now } = {}) => now;"), "touches Date"],
  ["Date as a computed key", inPolicies("export const o = { [Date.now()]: 1 };"), "touches Date"],
  [
    "performance through a variable",
    inPolicies("const p = performance;\nexport const t = p.now();"),
    "touches performance",
  ],
  ["setTimeout", inPolicies("export const t = setTimeout(() => {}, 1);"), "touches setTimeout"],
  [
    "setInterval in a class field",
    inPolicies("export class C { t = setInterval(() => {}, 1); }"),
    "touches setInterval",
  ],
  ["AbortSignal.timeout", inPolicies("export const s = AbortSignal.timeout(1);"), "touches AbortSignal.timeout"],
  [
    "AbortSignal.timeout, destructured",
    inPolicies("const { timeout } = AbortSignal;\nexport { timeout };"),
    "touches AbortSignal.timeout",
  ],
  [
    "AbortSignal through a variable",
    inPolicies("const S = AbortSignal;\nexport const s = S.timeout(1);"),
    "touches AbortSignal.timeout",
  ],
  ["process.hrtime", inPolicies("export const t = process.hrtime.bigint();"), "touches process"],
  [
    "node:timers/promises",
    inPolicies('import { setTimeout as sleep } from "node:timers/promises";'),
    'imports "node:timers/promises"',
  ],
  ["Math.random", inPolicies("export const r = Math.random();"), "touches Math.random"],
  ["Math.random in brackets", inPolicies('export const r = Math["random"]();'), "touches Math.random"],
  ["Math.random, destructured", inPolicies("const { random } = Math;\nexport { random };"), "touches Math.random"],
  ["Math through a variable", inPolicies("const m = Math;\nexport const r = m.random();"), "touches Math.random"],
  ["crypto.randomUUID", inPolicies("export const i = crypto.randomUUID();"), "touches crypto"],
];

const HARMLESS: [string, string][] = [
  ["a comment that names setTimeout", "// setTimeout(fn, 1) and Date.now() and process\n/* import x from 'y' */"],
  ["a comment that holds an import", '// import { at } from "../stores/sqlite.ts";'],
  ["a string that holds an import", "export const s = 'import { a } from \"../stores/sqlite.ts\"; Date.now()';"],
  ["a template that holds an import", 'export const s = `import "../stores/sqlite.ts"; ${1} setTimeout`;'],
  ["a regular expression that names Date", "export const r = /Date.now()/;"],
  ["import.meta.url", "export const u = import.meta.url;"],
  ["new URL of another base", 'export const u = (base: string) => new URL("../stores/sqlite.ts", base);'],
  ["Date as a type", "export type D = Date; export const f = (d: Date): d is Date => true;"],
  ["typeof setTimeout as a type", "export type H = ReturnType<typeof setTimeout>;"],
  ["Date as a key", "export const o = { Date: 1, process: 2, performance() {} };"],
  ["Date as a property", "export const f = (x: { Date: 1; process: 2 }) => x.Date + x.process;"],
  ["a method named like a global", "export class C { process() {} static setTimeout = 1; #crypto = 2; }"],
  ["another member of Math", "export const f = Math.floor(1); const { ceil } = Math; export { ceil };"],
  [
    "another member of AbortSignal",
    "export const f = (x: unknown) => x instanceof AbortSignal || AbortSignal.any([]);",
  ],
  ["another member of globalThis", "export const b = (globalThis as { Buffer?: 1 }).Buffer;"],
];

describe("the architecture test", () => {
  test("has nothing to say about a project that keeps its rules", () => {
    expect(complaints({})).toEqual([]);
  });

  test.each(FAULTS)("sees %s", (_, planted, said) => {
    expect(complaints(planted).join("\n")).toContain(said);
  });

  test.each(HARMLESS)("takes no offence at %s", (_, text) => {
    expect(complaints(inPolicies(text))).toEqual([]);
  });

  test.each([
    [
      "folder",
      { ...LAYERS, folders: { ...LAYERS.folders, stores: ["core", "policies"] } },
      "stores may import policies, but does not",
    ],
    [
      "empty folder",
      { ...LAYERS, folders: { ...LAYERS.folders, observe: [] } },
      '"observe" is listed, but has no file',
    ],
    [
      "package",
      { ...LAYERS, packages: { ...LAYERS.packages, core: { "node:os": "any" } } },
      'core may import "node:os", but does not',
    ],
    [
      "global",
      { ...LAYERS, globals: { ...LAYERS.globals, process: { "core/clock.ts": "" } } },
      "core/clock.ts may touch process, but does not",
    ],
  ] as [string, Layers, string][])("sees a permission for a %s that nobody uses", (_, layers, said) => {
    expect(complaints({}, layers)).toEqual([expect.stringContaining(said)]);
  });

  test("reads the printed table by its heading, whatever else the page holds", () => {
    const page =
      "# A\n\n| `x` | `y` |\n|---|---|\n| `z` | `q` |\n\n## Layers\n\n| folder | may import | for |\n|---|---|---|\n| `b` | `d` `c` | `x` |\n| `core` | nothing | |\n| front door (`src/*.ts`) | `b`, front door | |\n\n## Next\n\n| `e` | `f` |\n";
    expect(printedFolders(page)).toEqual({ b: ["c", "d"], core: [], [FRONT_DOOR]: ["b", FRONT_DOOR] });
  });
});

const fence = (code: string, opening = "```ts", closing = "```"): string =>
  `# Page\n\n${opening}\n${code}\n${closing}\n`;
const RETRY = 'import { RetryPolicy } from "holdfast/policies";\n';

/** Pages with one fault each, and what must be said about it. */
const BAD_PAGES: [string, string, string][] = [
  ["a wrong value", fence("console.log(1 + 1); // => 3"), "gives 2, not 3"],
  ["a wrong value of a declaration", fence("const two = 1 + 1; // => 3\nconsole.log(two);"), "gives 2, not 3"],
  ["a wrong value of an expression", fence("1 + 1; // => 3"), "gives 2, not 3"],
  ["a wrong value that is awaited", fence("console.log(await Promise.resolve(2)); // => 3"), "gives 2, not 3"],
  ["a value of another type", fence('console.log(2); // => "2"'), "gives 2, not '2'"],
  ["a forgotten await", fence("console.log(Promise.resolve(2)); // => 2"), "gives Promise"],
  ["a throws that does not throw", fence('JSON.parse("1"); // throws "Unexpected"'), "does not throw"],
  ["a throws that does not reject", fence('await Promise.resolve(1); // throws "no"'), "does not throw"],
  ["a throws that says otherwise", fence('throw new Error("no"); // throws "yes"'), 'throws "no"'],
  ["a throws without its await", fence('Promise.reject(new Error("no")); // throws "no"'), "does not throw"],
  ["a block that throws", fence('throw new Error("planted");'), "planted"],
  ["an unhandled rejection", fence('void Promise.reject(new Error("planted"));'), "planted"],
  ["a block that never ends", fence("setInterval(() => {}, 1000);"), "did not end within"],
  ["a top-level await for nothing", fence("await new Promise(() => {});"), "ended with 13"],
  ["an early exit without a claim", fence("process.exit(0);"), "did not run to its end"],
  [
    "an early exit before a claim",
    fence("if (Number(1) === 1) process.exit(0);\nconsole.log(1); // => 1"),
    "never reached",
  ],
  [
    "a claim in a callback that is never called",
    fence("const f = () => {\n  console.log(1); // => 1\n};\nvoid f;"),
    "never reached",
  ],
  [
    "a wrong claim in a callback that is called later",
    fence("setTimeout(() => {\n  console.log(1); // => 2\n}, 50);"),
    "gives 1, not 2",
  ],
  [
    "a claim that fails the second time",
    fence("for (const n of [1, 2]) {\n  console.log(n); // => 1\n}"),
    "gives 2, not 1",
  ],
  [
    "a missing export",
    fence('import { Gone } from "holdfast/policies";\nconsole.log(Gone);'),
    "no exported member 'Gone'",
  ],
  [
    "a missing type",
    fence('import type { Gone } from "holdfast";\nexport type A = Gone;'),
    "no exported member 'Gone'",
  ],
  ["a missing subpath", fence('import {} from "holdfast/gone";'), "holdfast/gone"],
  ["an unknown option", fence(`${RETRY}new RetryPolicy({ attempts: 3 });`), "'attempts' does not exist"],
  ["an error of types in no-run", fence('export const n: number = "1";', "```ts no-run"), "not assignable"],
  ["a claim in no-run", fence("console.log(1); // => 1", "```ts no-run"), "not run"],
  ["code that cannot be read", fence("const = 1;"), "cannot be read"],
  ["an unknown language", fence("1", "```typescript"), 'unknown language "typescript"'],
  ["a language in capitals", fence("1", "```TS"), 'unknown language "TS"'],
  ["a fence without a language", fence("1", "```"), "without a language"],
  ["a fence that is never closed", fence("1;", "```ts", ""), "never closed"],
  ["an unclosed fence before", `\`\`\`sh\nls\n\n${fence("console.log(1); // => 2")}`, "opens within that of line 1"],
  [
    "a fault behind a fence of four",
    `\`\`\`\`text\n\`\`\`ts\n\`\`\`\`\n\n${fence("console.log(1); // => 2")}`,
    "gives 1, not 2",
  ],
  ["a fault in an indented fence", "- item\n\n  ```ts\n  console.log(1); // => 2\n  ```\n", "gives 1, not 2"],
  ["a fault in a fence of tildes", fence("console.log(1); // => 2", "~~~ts", "~~~"), "gives 1, not 2"],
  ["a fault in a page with CRLF", fence("console.log(1); // => 2").replaceAll("\n", "\r\n"), "gives 1, not 2"],
  ["a fence in a quotation", "> ```ts\n> console.log(1); // => 2\n> ```\n", "must begin its line"],
  ["a fence behind a list mark", "- ```ts\n  console.log(1); // => 2\n  ```\n", "must begin its line"],
  ["a claim without its space", fence("console.log(1); //=> 1"), "looks like a claim"],
  ["a claim with a thin arrow", fence("console.log(1); // -> 1"), "looks like a claim"],
  ["a claim in a block comment", fence("console.log(1); /* => 1 */"), "looks like a claim"],
  ["a throws without quotes", fence('throw new Error("no"); // throws Error'), "looks like a claim"],
  ["a claim with a remark behind it", fence("console.log(1); // => 1, at once"), "no value that can be compared"],
  ["a claim on its own line", fence("console.log(1);\n// => 1"), "behind no statement"],
  ["a claim within a statement", fence("console.log(\n  1, // => 1\n);"), "behind no statement"],
  ["a claim about two variables", fence("const a = 1, b = 2; // => 2\nconsole.log(a, b);"), "one variable"],
  ["a claim about two values", fence("console.log(1, 2); // => 2"), "one value"],
  ["a claim behind a function", fence("function f() {} // => 1\nf();"), "cannot stand behind"],
];

const GOOD_PAGES: [string, string][] = [
  ["a declaration", fence("const sum: number = 1 + 1; // => 2\nconsole.log(sum);")],
  ["a call over several lines", fence("console.log(\n  [1, 2].map(\n    (n) => n * 2,\n  ),\n); // => [2, 4]")],
  [
    "an awaited declaration over several lines",
    fence("const n = await Promise.resolve(\n  2,\n); // => 2\nconsole.log(n);"),
  ],
  ["a return in a callback", fence("[1].map((n) => {\n  return n + 1; // => 2\n});")],
  ["a claim in a callback that is called later", fence("setTimeout(() => {\n  console.log(1); // => 1\n}, 50);")],
  ["a throws of a call over several lines", fence('JSON.parse(\n  "{",\n); // throws "JSON"')],
  ["a throws that rejects", fence('await Promise.reject(new Error("it is down")); // throws "is down"')],
  ["// => in a string", fence('console.log("// => 3"); // => "// => 3"')],
  ["// => in a template", fence("console.log(`\n// => 3\n`);")],
  ["a plain remark", fence("console.log(1); // one => two is no claim\n// throwsome\nconsole.log(2); // gives 2")],
  ["no-run without a claim", fence("await new Promise(() => {});", "```ts no-run")],
  ["code in backquotes", "Write ```` ```ts ```` to open a block, ``` x ``` for code.\n"],
  ["other languages", `${fence("ls", "```sh")}${fence("{", "```json")}${fence("=> ->", "```text")}`],
  ["a fence within a longer one", fence("```ts\nconsole.log(1); // => 2\n```", "````text", "````")],
  [
    "an empty folder to work in",
    fence('import { readdirSync } from "node:fs";\nconsole.log(readdirSync(".")); // => []'),
  ],
  [
    "the package by its names",
    fence(
      `${RETRY}import { Workflow } from "holdfast";\nimport { FakeClock } from "holdfast/testing";\nconsole.log([RetryPolicy, Workflow, FakeClock].map((c) => c.name)); // => ["RetryPolicy", "Workflow", "FakeClock"]`,
    ),
  ],
];

describe("the docs test", () => {
  test(
    "sees each fault that is planted in a page, and takes no offence at pages without one",
    { timeout: 60_000 },
    async () => {
      const page = (kind: string, name: string): string => `${kind}, ${name}`;
      const pages = [
        ...BAD_PAGES.map(([name, text]) => ({ path: page("bad", name), text, least: 0 })),
        ...GOOD_PAGES.map(([name, text]) => ({ path: page("good", name), text, least: 0 })),
        { path: "too few.md", text: fence("1;", "```ts no-run"), least: 2 },
        { path: "good.ts", text: 'export const s = "/** ```typescript */"; // ```\n/* ```js */', least: 0 },
        {
          path: "bad.ts",
          text: "/**\n * Doubles.\n *\n * @example\n * ```ts\n * console.log(2); // => 1\n * ```\n */\nexport const a = 1;",
          least: 1,
        },
      ];
      const said = await docs(pages, 3_000);
      const about = (path: string): string => said.filter((complaint) => complaint.startsWith(`${path}:`)).join("\n");
      const missed = BAD_PAGES.filter(([name, , text]) => !about(page("bad", name)).includes(text));
      expect(missed.map(([name, , text]) => `${name}: wanted "${text}", got "${about(page("bad", name))}"`)).toEqual(
        [],
      );
      expect(GOOD_PAGES.map(([name]) => about(page("good", name))).filter(Boolean)).toEqual([]);
      expect(about("too few.md")).toBe("too few.md:1 has 1 examples, not at least 2.");
      expect(about("good.ts")).toBe("");
      expect(about("bad.ts")).toBe("bad.ts:6 gives 2, not 1.");
    },
  );
});
