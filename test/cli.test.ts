import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { callsIn, holdfast, jsonLines, project, TRIAGE } from "./cli-harness.ts";

describe("holdfast run", () => {
  test("prints the output as data, everything else to standard error, and ends with 0", async () => {
    const folder = project({ "triage.mjs": TRIAGE });
    const { code, out, err } = await holdfast(
      folder,
      "run",
      "triage.mjs",
      "--input",
      '{"id":"m-1"}',
      "--run-id",
      "m-1",
    );
    expect({ code, out }).toEqual({ code: 0, out: '{\n  "folder": "spam"\n}\n' });
    expect(err.replace(/\d+(\.\d+)? m?s\b/g, "T").split("\n")).toEqual([
      "loaded",
      "run m-1 of triage started",
      "fetch started",
      "fetching m-1",
      "fetch completed after 1 attempt, T",
      "classify started",
      "classify attempt 1 failed, next in T: 503 from the model",
      "classify attempt 2",
      "classify completed after 2 attempts, T",
      "route started",
      "route completed after 1 attempt, T",
      "run m-1 of triage completed after T: 3 steps, 4 attempts",
      "",
    ]);
  });

  test("loads a TypeScript file, with the copy of the package that it runs in itself", async () => {
    const folder = project({
      "half.ts": "export enum Unit { Half = 2 }",
      "halve.ts": `
        import { Workflow } from "holdfast";
        import { CircuitBreaker } from "holdfast/policies";
        import { Unit } from "./half.ts";
        interface Order { n: number }
        const breaker = new CircuitBreaker({ name: "own", failureThreshold: 1 });
        export const halve = new Workflow({ id: "halve" }).addNode("halve", async (order: Order): Promise<number> => {
          await breaker.execute(() => Promise.reject(new Error("no"))).catch(() => {});
          return order.n / Unit.Half;
        });
      `,
    });
    const { code, out, err } = await holdfast(folder, "run", "halve.ts", "--input", '{"n":42}');
    expect({ code, out }).toEqual({ code: 0, out: "21\n" });
    // What a policy emits reaches the command line only where both are of the same copy.
    expect(err).toContain("breaker own is open, was closed");
  });

  test("a node that fails for good makes it end with 1, and says how to redrive what it left (C5.6)", async () => {
    const folder = project({ "triage.mjs": TRIAGE, down: "" });
    const { code, out, err } = await holdfast(
      folder,
      "run",
      "triage.mjs",
      "--input",
      '{"id":"m-1"}',
      "--run-id",
      "m-1",
    );
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toContain("rules (for classify) failed after 1 attempt: no rules");
    expect(err).toContain('Node "classify" of run "m-1" failed after 2 attempts: 503 from the model.');
    expect(err).toContain("caused by Error: socket hang up");
    expect(err).toMatch(/npx holdfast dlq redrive dl_[0-9a-f]{24} --file triage.mjs\n$/);
  });

  test("--json prints the whole result as one object", async () => {
    const folder = project({ "triage.mjs": TRIAGE.replace("maxAttempts: 2", "maxAttempts: 1") });
    const { code, out } = await holdfast(folder, "run", "triage.mjs", "--input", '{"id":"m-1"}', "--json");
    expect(code).toBe(0);
    const [result, ...others] = jsonLines(out);
    expect(others).toEqual([]);
    expect(result).toMatchObject({
      workflowId: "triage",
      status: "completed",
      output: { folder: "inbox" },
      degraded: true,
      resumed: false,
      attempts: 4,
      deadLetters: [],
      steps: [
        { nodeId: "fetch", servedBy: "fetch", attempts: 1 },
        { nodeId: "classify", servedBy: "classify", error: { message: "503 from the model", code: "E503" } },
        { nodeId: "classify", servedBy: "rules" },
        { nodeId: "route", servedBy: "route" },
      ],
    });
    expect(result?.["startedAt"]).toMatch(/^\d{4}-\d\d-\d\dT/);
  });

  test("prints values that JSON cannot say readably, and in --json as the journal keeps them", async () => {
    const folder = project({
      "odd.mjs": `
        import { Workflow } from "holdfast";
        export default new Workflow({ id: "odd" }).addNode("odd", () => ({ ids: new Map([["a", 1n]]), never: undefined }));
      `,
    });
    const text = await holdfast(folder, "run", "odd.mjs", "--run-id", "o");
    expect(text.out).toBe("{ ids: Map(1) { 'a' => 1n }, never: undefined }\n");
    const json = await holdfast(folder, "run", "odd.mjs", "--run-id", "o", "--json");
    expect(json.err).toContain("run o had ended before; this is its stored result");
    expect(jsonLines(json.out)[0]?.["output"]).toEqual({
      ids: { $: "Map", v: [["a", { $: "bigint", v: "1" }]] },
      never: { $: "undefined" },
    });
  });

  test("takes the input from a file, and a run without output prints nothing", async () => {
    const folder = project({
      "input.json": '{"name": "Ada"}',
      "greet.mjs": `
        import { writeFileSync } from "node:fs";
        import { Workflow } from "holdfast";
        export const greet = new Workflow({ id: "greet" }).addNode("greet", ({ name }) => writeFileSync("greeted", name));
      `,
    });
    const { code, out } = await holdfast(folder, "run", "greet.mjs", "--input", "@input.json");
    expect({ code, out, greeted: readFileSync(join(folder, "greeted"), "utf8") }).toEqual({
      code: 0,
      out: "",
      greeted: "Ada",
    });
  });

  test("--workflow chooses among several, the default export is the first choice, CommonJS works too", async () => {
    const folder = project({
      "two.cjs": `
        const { Workflow } = require("holdfast");
        exports.one = new Workflow({ id: "one" }).addNode("n", () => 1);
        exports.two = new Workflow({ id: "two" }).addNode("n", () => 2);
      `,
      "main.mjs": `
        import { Workflow } from "holdfast";
        import one from "./two.cjs";
        export const two = one.two;
        export default new Workflow({ id: "main" }).addNode("n", () => "main");
      `,
    });
    const ends = await Promise.all([
      holdfast(folder, "run", "two.cjs", "--workflow", "two"),
      holdfast(folder, "run", "main.mjs"),
      holdfast(folder, "run", "two.cjs"),
      holdfast(folder, "run", "two.cjs", "--workflow", "three"),
    ]);
    expect(ends.map(({ code, out }) => [code, out])).toEqual([
      [0, "2\n"],
      [0, '"main"\n'],
      [2, ""],
      [3, ""],
    ]);
    expect(ends[2]?.err).toContain('two.cjs exports several workflows: "one", "two". Choose one with --workflow.');
    expect(ends[3]?.err).toContain('two.cjs exports no workflow "three". There are: "one", "two".');
  });

  test("a run id that is known gives the stored result, and --resume the one of its stored input (C6.9)", async () => {
    const folder = project({ "triage.mjs": TRIAGE });
    await holdfast(folder, "run", "triage.mjs", "--input", '{"id":"m-1"}', "--run-id", "m-1");
    const again = await holdfast(folder, "run", "triage.mjs", "--input", '{"id":"m-1"}', "--run-id", "m-1");
    const resumed = await holdfast(folder, "run", "triage.mjs", "--run-id", "m-1", "--resume");
    for (const { code, out } of [again, resumed])
      expect({ code, out }).toEqual({ code: 0, out: '{\n  "folder": "spam"\n}\n' });
    expect(callsIn(folder)).toEqual(["fetch", "classify", "classify", "route"]);
  });

  test("a node whose promise nothing can settle ends the command with an explanation, and the run can be resumed", async () => {
    const folder = project({
      "stuck.mjs": `
        import { Workflow } from "holdfast";
        export default new Workflow({ id: "stuck" }).addNode("ask", () => new Promise(() => {}));
      `,
    });
    const { code, err } = await holdfast(folder, "run", "stuck.mjs", "--run-id", "s");
    expect(code).toBe(2);
    expect(err).toContain(
      'Run "s" cannot go on: ask awaits something that nothing in this process is left to bring about.',
    );
    const [row] = jsonLines((await holdfast(folder, "runs", "list", "--json")).out);
    expect(row).toMatchObject({ runId: "s", status: "running", heldBy: null });
  });

  test("ends although the workflow has left a timer running", async () => {
    const folder = project({
      "open.mjs": `
        import { Workflow } from "holdfast";
        setInterval(() => {}, 1000);
        export default new Workflow({ id: "open" }).addNode("n", () => 1);
      `,
    });
    expect((await holdfast(folder, "run", "open.mjs")).code).toBe(0);
  });
});

describe("the command line", () => {
  test("prints its help and version to standard output, and says what is wrong with an option to standard error", async () => {
    const folder = project();
    const [help, version, none, unknown, command, excess, limit] = await Promise.all([
      holdfast(folder, "--help"),
      holdfast(folder, "--version"),
      holdfast(folder),
      holdfast(folder, "run", "x.mjs", "--inptu", "1"),
      holdfast(folder, "walk"),
      holdfast(folder, "runs", "show", "a", "b"),
      holdfast(folder, "runs", "list", "--limit", "many"),
    ]);
    expect(help).toMatchObject({ code: 0, err: "" });
    expect(help.out).toContain("doctor");
    expect(version.out).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(none).toMatchObject({ code: 2, out: "" });
    for (const wrong of [unknown, command, excess, limit]) expect(wrong).toMatchObject({ code: 2, out: "" });
    expect(unknown.err).toContain("error: unknown option '--inptu'\n(Did you mean --input?)");
    expect(command.err).toContain("error: unknown command 'walk'");
    expect(limit.err).toContain("It must be a whole number of at least 1.");
  });

  test("docs/cli.md tells of every command and option", async () => {
    const folder = project();
    const letters = ["list", "show", "stats", "export", "redrive", "discard"].map((name) => `dlq ${name}`);
    const commands = ["run", "signal", "cancel", "runs list", "runs show", ...letters, "prune", "doctor"];
    const page = readFileSync(join(import.meta.dirname, "../docs/cli.md"), "utf8");
    const helps = await Promise.all(commands.map((command) => holdfast(folder, ...command.split(" "), "--help")));
    const options = helps.flatMap(({ out }) => [...out.matchAll(/--[a-z-]+/g)].map(([option]) => option));
    expect(new Set(options).size).toBe(24);
    for (const wanted of [...commands.map((command) => `\`${command}`), ...options]) expect(page).toContain(wanted);
  });
});
