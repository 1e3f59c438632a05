import { describe, expect, test } from "vitest";
import { createEngine, SqliteStore, Workflow } from "../src/index.ts";
import { type Ended, holdfast, jsonLines, MAIN, project, shell, start } from "./cli-harness.ts";

const RETRIES = `
  import { Workflow } from "holdfast";
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  export default new Workflow({ id: "triage" })
    .addNode("fetch", () => sleep(100))
    .addNode("classify", async (_, { attempt }) => {
      console.log("classify says \\u001b[2Jhello");
      await sleep(100);
      if (attempt < 2) throw new Error("503 from the model");
      return "spam";
    })
    .addNode("route", async (label) => { await sleep(100); throw new Error("no such folder"); })
    .addNode("shelve", () => "shelved")
    .connect("fetch", "classify")
    .connect("classify", "route")
    .addFallback("route", "shelve")
    .configureRetry("classify", { maxAttempts: 2, initialDelayMs: 500, jitter: "none" })
    .configureCircuitBreaker("route", { failureThreshold: 1 });
`;

/** Runs a line on a terminal of 100 columns and 30 rows, as \`script\` of util-linux makes one; gives all it wrote there. */
async function onTerminal(folder: string, line: string, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const words = ["-qefc", `stty cols 100 rows 30; ${line}`, "/dev/null"];
  return start(folder, "script", words, { TERM: "xterm-256color", HOLDFAST: `${process.execPath} ${MAIN}`, ...env })
    .ended;
}

const ESC = "\u001b";

describe("on a terminal", () => {
  test("one region is drawn again and again: a row for each open node, with a countdown while it waits", async () => {
    const folder = project({ "triage.mjs": RETRIES });
    const { code, out } = await onTerminal(folder, "$HOLDFAST run triage.mjs --run-id m-1");
    expect(code).toBe(0);
    expect(out).toMatch(/triage m-1: 0 of 3 nodes, 3 left, /);
    expect(out).toMatch(/triage m-1: 1 of 3 nodes, 2 left, \d+\.\d nodes\/s, /);
    expect(out).toMatch(/ {2}classify {2}attempt 1, /);
    // Frames are drawn as differences, of which each countdown is one.
    const countdowns = new Set(
      [...out.matchAll(/classify {2}attempt 1 failed, next in (0\.\d) s: 503 from the model/g)].map(([, left]) => left),
    );
    expect(countdowns.size).toBeGreaterThan(2);
    expect(out).toContain("  breaker triage/route is open");
    // What is to stay is written above the region, and stays there once.
    expect(out.match(/route failed after 1 attempt: no such folder/g)).toHaveLength(1);
    expect(out).toContain("classify says hello");
    expect(out).toContain("run m-1 of triage completed after ");
    expect(out).toContain('"shelved"\r\n');
    // The cursor is hidden while it is drawn, and shown again in the end.
    expect(out.indexOf(`${ESC}[?25l`)).toBeGreaterThanOrEqual(0);
    expect(out.lastIndexOf(`${ESC}[?25h`)).toBeGreaterThan(out.lastIndexOf(`${ESC}[?25l`));
    expect(out).toContain(`${ESC}[1A`);
  });

  test.each([{ CI: "true" }, { TERM: "dumb" }])(
    "under %o there are plain lines and not one control code",
    async (env) => {
      const folder = project({ "triage.mjs": RETRIES });
      const { code, out } = await onTerminal(folder, "$HOLDFAST run triage.mjs 2>&1 >/dev/null", env);
      expect(code).toBe(0);
      expect(out).toContain("classify attempt 1 failed, next in 0.5 s: 503 from the model");
      expect(out.replace(`says ${ESC}[2Jhello`, "").replace(`says ${ESC}[2Jhello`, "")).not.toContain(ESC);
    },
  );

  test("status words are coloured, except under NO_COLOR, and the last column is cut at the width", async () => {
    const folder = project();
    const store = new SqliteStore(`${folder}/.holdfast/holdfast.db`);
    const engine = createEngine({ store });
    const long = new Workflow({ id: "w" }).addNode("n", () => Promise.reject(new Error("x".repeat(300))));
    await engine.run(long, undefined, { runId: "r" });
    await engine.close();
    const coloured = await onTerminal(folder, "$HOLDFAST dlq list; $HOLDFAST runs list");
    expect(coloured.out).toContain(`${ESC}[33mpending${ESC}[39m`);
    expect(coloured.out).toContain(`${ESC}[31mfailed${ESC}[39m`);
    const plain = await onTerminal(folder, "$HOLDFAST dlq list", { NO_COLOR: "1" });
    expect(plain.out).not.toContain(ESC);
    expect(plain.out).toMatch(/ x+\.\.\.\r\n$/);
    expect(Math.max(...plain.out.split("\r\n").map((line) => line.length))).toBe(100);
    expect((await holdfast(folder, "dlq", "list")).out).toContain("x".repeat(300));
  });
});

describe("a reader that goes away", () => {
  test("is no error: what is left to print is dropped", async () => {
    const folder = project();
    const engine = createEngine({ store: new SqliteStore(`${folder}/.holdfast/holdfast.db`) });
    const one = new Workflow({ id: "one" }).addNode("n", () => 1);
    await Promise.all(
      Array.from({ length: 600 }, (_, i) => engine.run(one, undefined, { runId: `run-${i}-${"x".repeat(100)}` })),
    );
    await engine.close();
    for (const list of ["runs list --limit 1000", "runs list --limit 1000 --json"]) {
      const { out, err } = await shell(folder, `{ holdfast ${list}; echo "ended with $?" >&2; } | head -1`);
      expect(out.split("\n")).toHaveLength(2);
      expect(err).toBe("ended with 0\n");
    }
  });

  test("does not stop a run that somebody only watched", async () => {
    const folder = project({ "triage.mjs": RETRIES });
    const { out } = await shell(folder, "holdfast run triage.mjs --run-id m-1 2>&1 | head -1");
    expect(out).toBe("run m-1 of triage started\n");
    expect(jsonLines((await holdfast(folder, "runs", "list", "--json")).out)).toMatchObject([{ status: "completed" }]);
  });

  test("differs from a disk that is full, which is an error", async () => {
    const folder = project({
      "one.mjs":
        'import { Workflow } from "holdfast"; export default new Workflow({ id: "one" }).addNode("n", () => 1);',
    });
    const { err } = await shell(folder, 'holdfast run one.mjs > /dev/full; echo "ended with $?" >&2');
    expect(err).toContain("error: standard output cannot be written: ENOSPC");
    expect(err).toContain("ended with 2\n");
  });
});
