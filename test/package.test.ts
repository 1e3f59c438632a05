import { execFile } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectWithPackage } from "./packed.ts";
import { read, ROOT } from "./repository.ts";
import { missing, RUNTIMES } from "./runtimes.ts";

const MINUTE = 60_000;

/** For each major of Node that we promise, where it is on this machine, or null. */
const NODES = Object.entries(RUNTIMES).flatMap(([name, path]) =>
  name.startsWith("node-") ? [[name.slice("node-".length), path] as const] : [],
);

const SUBPATHS = Object.keys((JSON.parse(read("package.json")) as { exports: object }).exports)
  .filter((subpath) => subpath !== "./package.json")
  .map((subpath) => `holdfast${subpath.slice(1)}`);

/** What each subpath is asked for, so that an empty module is not taken for a whole one. */
const ASKED = `
  const asked = { holdfast: "Workflow", "holdfast/policies": "RetryPolicy", "holdfast/testing": "FakeClock" };
  for (const [subpath, module] of Object.entries(modules)) {
    if (typeof module[asked[subpath]] !== "function") throw new Error(subpath + " lacks " + asked[subpath]);
  }
`;

const FILES: Record<string, string> = {
  "use.mjs": `
    const modules = {};
    for (const subpath of ${JSON.stringify(SUBPATHS)}) modules[subpath] = await import(subpath);
    ${ASKED}
    console.log("ok");
  `,
  "use.cjs": `
    const modules = {};
    for (const subpath of ${JSON.stringify(SUBPATHS)}) modules[subpath] = require(subpath);
    ${ASKED}
    if (require("holdfast/package.json").name !== "holdfast") throw new Error("package.json");
    console.log("ok");
  `,
  // The store is a file, so that each Node loads the SQLite binding that it has.
  "run.mjs": `
    import { SqliteStore, Workflow } from "holdfast";
    const workflow = new Workflow({ id: "double" }).addNode("double", (n) => n * 2);
    const runId = process.version;
    const first = await workflow.execute(21, { runId, store: new SqliteStore("runs.db") });
    const again = await workflow.execute(21, { runId, store: new SqliteStore("runs.db") });
    console.log(first === 42 && again === 42 ? "ok" : "not ok");
  `,
  "use.ts": `
    import { createEngine, MemoryStore, onEvent, type RunResult, Workflow } from "holdfast";
    import { type BackoffOptions, CircuitBreaker, Fallback, pipeline, RetryPolicy } from "holdfast/policies";
    import { FakeClock, fakeRuntime } from "holdfast/testing";

    const backoff: BackoffOptions = { initialDelayMs: 1 };
    const guarded = pipeline(new Fallback({ fallback: "none" }), new RetryPolicy(backoff), new CircuitBreaker());
    const found: number | "none" = await guarded.execute(() => 5);
    const workflow = new Workflow({ id: "w" }).addNode("double", (n: number) => n * 2);
    const result: RunResult<number> = await createEngine({ store: new MemoryStore() }).run(workflow, 21);
    // @ts-expect-error there is no such node
    workflow.configureRetry("treble", backoff);
    // @ts-expect-error there is no such option
    new RetryPolicy({ attempts: 3 });
    const stop: () => void = onEvent((event) => void (event.type === "timeout" && event.timeoutMs.toFixed()));
    export default [found, result.output?.toFixed(), stop, new FakeClock().now(), fakeRuntime().clock];
  `,
  "browser.ts": `
    import { CircuitBreaker, Timeout } from "holdfast/policies";
    const breaker = new CircuitBreaker({ name: "fetch", fallback: null });
    export const page: Promise<string | null> = breaker.execute(({ signal }) => fetch("/", { signal }).then((r) => r.text()));
    export const limit: number = new Timeout({ attemptTimeoutMs: 5 }).timeoutMs;
  `,
};

const STRICT = { strict: true, exactOptionalPropertyTypes: true, noEmit: true, target: "es2022", skipLibCheck: false };
const PROJECTS: Record<string, object> = {
  "Node, with module nodenext": {
    compilerOptions: {
      ...STRICT,
      module: "nodenext",
      lib: ["es2023"],
      types: ["node"],
      typeRoots: [join(ROOT, "node_modules/@types")],
    },
    files: ["use.ts"],
  },
  "browsers, with a bundler and without the types of Node": {
    compilerOptions: { ...STRICT, module: "esnext", moduleResolution: "bundler", lib: ["es2023", "dom"], types: [] },
    files: ["browser.ts"],
  },
};

let folder: string;

function run(command: string, ...args: string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(command, args, { cwd: folder, timeout: MINUTE }, (error, stdout, stderr) =>
      resolve(error === null ? stdout.trim() : `${stdout}${stderr}` || error.message),
    );
  });
}

beforeAll(() => {
  folder = projectWithPackage(FILES);
}, 5 * MINUTE);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the package brings what it needs and nothing that belongs to its own tests", () => {
  const files = readdirSync(join(folder, "node_modules/holdfast"), { recursive: true, encoding: "utf8" });
  expect(files.filter((path) => /\.test\.|(^|\/)(src|test|examples|bench|node_modules)(\/|$)/.test(path))).toEqual([]);
  expect(files).toEqual(
    expect.arrayContaining([
      "package.json",
      "README.md",
      "LICENSE",
      "CHANGELOG.md",
      "dist/index.js",
      "dist/cli/main.js",
    ]),
  );
});

test.each(Object.entries(PROJECTS))("its types serve TypeScript for %s", { timeout: MINUTE }, async (_, project) => {
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
  expect(await run(process.execPath, join(ROOT, "node_modules/typescript/bin/tsc"), "-p", folder)).toBe("");
});

for (const [major, node] of NODES) {
  const leftOut = missing(`Node ${major}`, node, "`node scripts/runtimes.mjs` installs it");

  test.skipIf(leftOut)(
    `every entry loads by import and by require, and a run is stored, on Node ${major}`,
    async () => {
      expect(await run(node!, "--version")).toMatch(new RegExp(`^v${major}\\.`));
      expect(await run(node!, "use.mjs")).toBe("ok");
      expect(await run(node!, "--no-warnings", "use.cjs")).toBe("ok");
      expect(await run(node!, "--no-warnings", "run.mjs")).toBe("ok");
    },
  );

  test.skipIf(leftOut)(`the command line starts on Node ${major}`, { timeout: MINUTE }, async () => {
    expect(await run(node!, "node_modules/holdfast/dist/cli/main.js", "--version")).toMatch(/^\d+\.\d+\.\d+/);
    expect(await run(node!, "node_modules/holdfast/dist/cli/main.js", "--help")).toContain("Usage: holdfast");
  });
}

// The last test, since it takes the optional package away.
test(
  "without the optional package a store says what to install, where Node has no SQLite of its own",
  { timeout: MINUTE },
  async () => {
    for (const name of ["libsql", "@libsql"])
      rmSync(join(folder, "node_modules", name), { recursive: true, force: true });
    for (const [major, node] of NODES) {
      if (node === null) continue;
      const said = await run(node, "--no-warnings", "run.mjs");
      if (Number(major) >= 22) expect(said).toBe("ok");
      else expect(said).toContain("npm install libsql");
    }
  },
);
