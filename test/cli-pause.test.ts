import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { openDriver, type SqliteDriver } from "../src/stores/sqlite-driver.ts";
import { callsIn, holdfast, project, type Started, startHoldfast } from "./cli-harness.ts";

/** Two nodes; the second waits until a file says go. */
const SLOW = `
  import { appendFileSync, existsSync } from "node:fs";
  import { Workflow } from "holdfast";
  const called = (name) => appendFileSync("calls", name + "\\n");
  export default new Workflow({ id: "slow" })
    .addNode("first", (n) => { called("first"); return n; })
    .addNode("second", async (n) => {
      called("second");
      console.log("at work");
      while (!existsSync("go")) await new Promise((done) => setTimeout(done, 20));
      return n * 2;
    })
    .connect("first", "second");
`;

let lock: SqliteDriver | undefined;
function unlock(): void {
  lock?.close();
  lock = undefined;
}
afterEach(unlock);

/** A run whose second node has ended, which cannot be stored: this process has locked the file. */
async function paused(folder: string): Promise<Started> {
  const run = startHoldfast(folder, ["run", "slow.mjs", "--input", "21", "--run-id", "r", "--store", "kept.db"]);
  await run.said("at work");
  lock = openDriver(join(folder, "kept.db"));
  // It may meet a heartbeat of the run.
  lock.exec("PRAGMA busy_timeout=2000");
  lock.exec("BEGIN IMMEDIATE");
  writeFileSync(join(folder, "go"), "");
  await run.said("store in trouble, retrying in 0.3 s: ");
  return run;
}

describe("a run whose store is in trouble", () => {
  test("says that it pauses, and goes on by itself when the store is back (C6.10)", async () => {
    const folder = project({ "slow.mjs": SLOW });
    const run = await paused(folder);
    unlock();
    const { code, out, err } = await run.ended;
    expect([code, out]).toEqual([0, "42\n"]);
    expect(err).toMatch(/\nstore in trouble, retrying in 0\.3 s: .*kept\.db.*locked.*\n/);
    expect(err).toContain("\nrun r of slow resumed; 1 node had been interrupted\n");
    expect(callsIn(folder)).toEqual(["first", "second", "second"]);
  });

  test.each([
    ["while it waits for the next try", 0],
    ["while it tries again", 1000],
  ] as const)("can be interrupted %s, and resumed later (C6.1, C6.10)", async (_when, afterMs) => {
    const folder = project({ "slow.mjs": SLOW });
    const run = await paused(folder);
    await new Promise((done) => setTimeout(done, afterMs));
    run.child.kill("SIGINT");
    const { code, out, err } = await run.ended;
    expect([code, out]).toEqual([130, ""]);
    expect(err).toMatch(
      /Run r was interrupted\. Resume it with:\n {2}npx holdfast run slow\.mjs --run-id r --resume --store kept\.db\n$/,
    );
    unlock();
    const resumed = await holdfast(folder, "run", "slow.mjs", "--run-id", "r", "--resume", "--store", "kept.db");
    expect(resumed).toMatchObject({ code: 0, out: "42\n" });
    expect(callsIn(folder)).toEqual(["first", "second", "second"]);
  });
});
