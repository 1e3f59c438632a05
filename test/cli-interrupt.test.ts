import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { callsIn, holdfast, jsonLines, project, startHoldfast } from "./cli-harness.ts";

/** Two nodes; the second waits until a file says go, however often it is told to stop. */
const SLOW = `
  import { appendFileSync, existsSync } from "node:fs";
  import { Workflow } from "holdfast";
  const called = (name) => appendFileSync("calls", name + "\\n");
  export default new Workflow({ id: "slow" })
    .addNode("first", (input) => { called("first"); return input; })
    .addNode("second", async (input, { idempotencyKey }) => {
      called("second " + idempotencyKey.slice(0, 8));
      console.log("at work");
      if (existsSync("broken")) throw new Error("broken");
      while (!existsSync("go")) await new Promise((done) => setTimeout(done, 20));
      return input.n * 2;
    })
    .connect("first", "second");
`;
const RUN = ["run", "slow.mjs", "--input", '{"n":21}', "--run-id", "it's mine"];

describe("a run that is interrupted", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)(
    "by %s gives its lease back, ends with %i and prints the command that resumes it (C6.1)",
    async (signal, code) => {
      const folder = project({ "slow.mjs": SLOW });
      const run = startHoldfast(folder, [...RUN, "--store", "kept.db"]);
      await run.said("at work");
      run.child.kill(signal);
      const ended = await run.ended;
      expect(ended).toMatchObject({ code, out: "" });
      expect(ended.err).toContain("Run it's mine was interrupted. Resume it with:\n");
      const resume = ended.err.trimEnd().split("\n").at(-1)!.trim();
      expect(resume).toBe(String.raw`npx holdfast run slow.mjs --run-id 'it'\''s mine' --resume --store kept.db`);
      expect(jsonLines((await holdfast(folder, "runs", "list", "--json", "--store", "kept.db")).out)).toMatchObject([
        { runId: "it's mine", status: "running", heldBy: null },
      ]);

      writeFileSync(join(folder, "go"), "");
      const resumed = await holdfast(
        folder,
        "run",
        "slow.mjs",
        "--run-id",
        "it's mine",
        "--resume",
        "--store",
        "kept.db",
      );
      expect(resumed).toMatchObject({ code: 0, out: "42\n" });
      const calls = callsIn(folder);
      expect(calls).toEqual(["first", calls[1], calls[1]]);
    },
  );

  test("a second time ends at once, although the store does not let go", async () => {
    const folder = project({
      "slow.mjs": `import { SqliteStore } from "holdfast"; SqliteStore.prototype.release = () => new Promise(() => {}); ${SLOW}`,
    });
    const run = startHoldfast(folder, RUN);
    await run.said("at work");
    run.child.kill("SIGINT");
    await run.said("Stopping the run, so that it can be resumed. Interrupt again to end at once.");
    run.child.kill("SIGTERM");
    const { code, err } = await run.ended;
    expect(code).toBe(143);
    expect(err).not.toContain("Resume it with");
  });

  test("by SIGKILL is taken over at once, and acknowledged nodes are not called again (C6.1)", async () => {
    const folder = project({ "slow.mjs": SLOW });
    const run = startHoldfast(folder, RUN);
    await run.said("at work");
    run.child.kill("SIGKILL");
    expect((await run.ended).signal).toBe("SIGKILL");
    writeFileSync(join(folder, "go"), "");
    const resumed = await holdfast(folder, "run", "slow.mjs", "--run-id", "it's mine", "--resume");
    expect(resumed).toMatchObject({ code: 0, out: "42\n" });
    expect(resumed.err).toContain("run it's mine of slow resumed; 1 node had been interrupted");
    expect(callsIn(folder).map((call) => call.split(" ")[0])).toEqual(["first", "second", "second"]);
  });

  test("and was kept in memory is gone, which is said", async () => {
    const folder = project({ "slow.mjs": SLOW });
    const run = startHoldfast(folder, [...RUN, "--store", "memory:"]);
    await run.said("at work");
    run.child.kill("SIGINT");
    const { code, err } = await run.ended;
    expect(code).toBe(130);
    expect(err).toContain("Run it's mine was interrupted. It was kept in memory, and is gone.\n");
  });

  test("while its file is loaded leaves nothing behind", async () => {
    const folder = project({ "slow.mjs": `${SLOW}; process.kill(process.pid, "SIGINT");` });
    expect((await startHoldfast(folder, RUN).ended).signal).toBe("SIGINT");
    expect((await holdfast(folder, "runs", "list")).err).toContain("Nothing has been run");
  });

  test("in mid-redrive is carried on by the same command (C7.2)", async () => {
    const folder = project({ "slow.mjs": SLOW, broken: "" });
    expect((await holdfast(folder, ...RUN)).code).toBe(1);
    writeFileSync(join(folder, "slow.mjs"), SLOW.replace('existsSync("broken")', "false"));
    const redrive = startHoldfast(folder, ["dlq", "redrive", "--file", "slow.mjs", "--yes"]);
    await redrive.said("at work");
    redrive.child.kill("SIGINT");
    const ended = await redrive.ended;
    expect(ended.code).toBe(130);
    expect(ended.err).toContain("Interrupted after 0 dead letters. Run the same command again to go on.");
    writeFileSync(join(folder, "go"), "");
    const again = await holdfast(folder, "dlq", "redrive", "--file", "slow.mjs", "--yes", "--json");
    expect(again.code).toBe(0);
    expect(jsonLines(again.out)).toMatchObject([{ status: "succeeded", retryCount: 1 }]);
  });
});
