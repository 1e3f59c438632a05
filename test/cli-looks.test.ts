import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { callsIn, holdfast, jsonLines, ONE, project, shell, startHoldfast, TRIAGE } from "./cli-harness.ts";

describe("where there is no store", () => {
  test("lists are empty for the default one, and what is named is not found; none of them makes a store", async () => {
    const folder = project({ "one.mjs": ONE });
    const [runs, letters, run, letter, named, doctor, resumed] = await Promise.all([
      holdfast(folder, "runs", "list"),
      holdfast(folder, "dlq", "list", "--json"),
      holdfast(folder, "runs", "show", "r"),
      holdfast(folder, "dlq", "show", "dl_x"),
      holdfast(folder, "runs", "list", "--store", "sqlite:other.db"),
      holdfast(folder, "doctor"),
      holdfast(folder, "run", "one.mjs", "--run-id", "r", "--resume"),
    ]);
    const place = join(folder, ".holdfast/holdfast.db");
    expect(runs).toMatchObject({ code: 0, out: "", err: `Nothing has been run on ${place} yet.\n` });
    expect(letters).toMatchObject({ code: 0, out: "" });
    expect(run).toMatchObject({ code: 3, err: `error: There is no run "r": nothing has been run on ${place} yet.\n` });
    expect(letter).toMatchObject({ code: 3 });
    expect(named).toMatchObject({
      code: 3,
      err: `error: There is no store ${join(folder, "other.db")}, which --store names.\n`,
    });
    expect(doctor).toMatchObject({ code: 0 });
    expect(resumed).toMatchObject({ code: 3, err: run.err });
    expect(doctor.out).toContain(`ok    store: none yet at ${place}; the first run makes it`);
    expect([existsSync(join(folder, ".holdfast")), existsSync(join(folder, "other.db"))]).toEqual([false, false]);
  });

  test("RESILIENCE_STORE_URL names the store, and --store outranks it (C4.5)", async () => {
    const folder = project({ "one.mjs": ONE });
    const env = { RESILIENCE_STORE_URL: "sqlite:env.db" };
    expect((await startHoldfast(folder, ["run", "one.mjs", "--run-id", "by-env"], env).ended).code).toBe(0);
    expect(
      (await startHoldfast(folder, ["run", "one.mjs", "--run-id", "by-option", "--store", "option.db"], env).ended)
        .code,
    ).toBe(0);
    const byEnv = await startHoldfast(folder, ["runs", "list", "--json"], env).ended;
    const byOption = await startHoldfast(folder, ["runs", "list", "--json", "--store", "option.db"], env).ended;
    expect([byEnv, byOption].map(({ out }) => jsonLines(out).map((row) => row["runId"]))).toEqual([
      ["by-env"],
      ["by-option"],
    ]);
    expect(existsSync(join(folder, ".holdfast"))).toBe(false);
  });
});

describe("prune", () => {
  test("deletes ended runs by age and number, and says with --dry-run which would go (C6.9)", async () => {
    const folder = project({ "one.mjs": ONE, "triage.mjs": TRIAGE, down: "" });
    const nothing = await holdfast(folder, "prune", "--keep", "0");
    expect(nothing).toMatchObject({
      code: 0,
      out: "",
      err: expect.stringMatching(/^Nothing has been run on /) as string,
    });
    for (const id of ["a", "b", "c"]) await holdfast(folder, "run", "one.mjs", "--run-id", id);
    await holdfast(folder, "run", "triage.mjs", "--input", '{"id":"m"}', "--run-id", "failed");
    const dry = await holdfast(folder, "prune", "--keep", "1", "--dry-run");
    expect(dry).toMatchObject({ code: 0, out: "a\nb\n" });
    expect(dry.err).toMatch(/^Nothing was deleted\. Without --dry-run 2 ended runs of .*holdfast\.db would be\.\n$/);
    expect(await holdfast(folder, "prune", "--older-than", "1h", "--json")).toMatchObject({
      code: 0,
      out: '{"dryRun":false,"runs":[]}\n',
    });
    const done = await holdfast(folder, "prune", "--keep", "1", "--json");
    expect(jsonLines(done.out)).toEqual([{ dryRun: false, runs: ["a", "b"] }]);
    expect(done.err).toMatch(/^Deleted 2 ended runs of /);
    // It has a dead letter that is open.
    expect(await holdfast(folder, "prune", "--older-than", "0s", "--workflow", "triage")).toMatchObject({ out: "" });
    const left = jsonLines((await holdfast(folder, "runs", "list", "--json")).out).map((row) => row["runId"]);
    expect(left).toEqual(["failed", "c"]);
  });

  test("refuses what names no run, with the reason", async () => {
    const folder = project({});
    const [neither, unit, count] = await Promise.all([
      holdfast(folder, "prune"),
      holdfast(folder, "prune", "--older-than", "30"),
      holdfast(folder, "prune", "--keep", "few"),
    ]);
    expect(neither).toMatchObject({
      code: 2,
      err: expect.stringContaining("prune needs --older-than or --keep") as string,
    });
    expect(unit).toMatchObject({ code: 2, err: expect.stringContaining("such as 500ms, 2s") as string });
    expect(count).toMatchObject({ code: 2, err: expect.stringContaining("whole number of at least 0") as string });
  });
});

describe("dead letters", () => {
  test("are listed, shown, and redriven one at once or several with --yes (C7.2)", async () => {
    const folder = project({ "triage.mjs": TRIAGE, down: "" });
    for (const id of ["m-1", "m-2"])
      await holdfast(folder, "run", "triage.mjs", "--input", `{"id":"${id}"}`, "--run-id", id);
    const list = await holdfast(folder, "dlq", "list");
    expect(list.out).toMatch(
      /^DEAD LETTER +RUN +WORKFLOW +NODE +STATUS +REDRIVES +ERROR\ndl_\w+ +m-2 +triage +classify +pending +0\/3 +503 from the model\ndl_\w+ +m-1 /,
    );
    const letters = jsonLines((await holdfast(folder, "dlq", "list", "--json", "--node", "classify")).out);
    expect(letters.map((letter) => letter["runId"])).toEqual(["m-2", "m-1"]);
    expect((await holdfast(folder, "dlq", "list", "--run", "m-1", "--json")).out.split("\n")).toHaveLength(2);
    const id = letters[0]!["id"] as string;

    const shown = await holdfast(folder, "dlq", "show", id);
    expect(shown.out).toContain(
      "error        Error [E503]: 503 from the model\n               caused by Error: socket hang up",
    );
    expect(shown.out).toContain('"text": "text of m-2"');
    expect(jsonLines((await holdfast(folder, "dlq", "show", id, "--json")).out)[0]).toEqual(letters[0]);

    const still = await holdfast(folder, "dlq", "redrive", id, "--file", "triage.mjs");
    expect(still.code).toBe(1);
    writeFileSync(join(folder, "triage.mjs"), TRIAGE.replaceAll('existsSync("down")', "false"));
    const dry = await holdfast(folder, "dlq", "redrive", "--file", "triage.mjs", "--node", "classify");
    expect(dry).toMatchObject({ code: 0, err: "loaded\nNothing was done. Add --yes to redrive these 2.\n" });
    const one = await holdfast(folder, "dlq", "redrive", id, "--file", "triage.mjs");
    expect(one).toMatchObject({ code: 0, out: '{\n  "folder": "spam"\n}\n' });
    const settled = await holdfast(folder, "dlq", "redrive", id, "--file", "triage.mjs");
    expect(settled).toMatchObject({ code: 2 });
    const rest = await holdfast(folder, "dlq", "redrive", "--file", "triage.mjs", "--yes", "--json");
    expect(rest.code).toBe(0);
    expect(jsonLines(rest.out)).toMatchObject([{ runId: "m-1", status: "succeeded" }]);
    expect(callsIn(folder).filter((name) => name === "fetch")).toHaveLength(2);
  });

  test("a redrive that fails again ends with 1, without what the file does not export", async () => {
    const folder = project({ "triage.mjs": TRIAGE, "other.mjs": TRIAGE.replace('"triage"', '"other"'), down: "" });
    await holdfast(folder, "run", "triage.mjs", "--input", '{"id":"m-1"}');
    await holdfast(folder, "run", "other.mjs", "--input", '{"id":"m-1"}', "--run-id", "o-1");
    const { code, out, err } = await holdfast(folder, "dlq", "redrive", "--file", "other.mjs", "--yes");
    expect(code).toBe(1);
    expect(out).toMatch(/^dl_\w+ of run o-1 pending: 503 from the model\n$/);
    expect(err).toContain("Left out: 1 dead letter of workflows that other.mjs does not export.");
    expect(err).toContain("1 dead letter redriven, 1 failed again.");
  });
});

describe("holdfast runs", () => {
  test("lists newest first, by status and workflow, up to a limit", async () => {
    const folder = project({ "triage.mjs": TRIAGE, down: "" });
    await holdfast(folder, "run", "triage.mjs", "--input", '{"id":"m-1"}', "--run-id", "bad");
    await shell(folder, `rm down; holdfast run triage.mjs --input '{"id":"m-2"}' --run-id good`);
    const [all, failed, one, none] = await Promise.all([
      holdfast(folder, "runs", "list"),
      holdfast(folder, "runs", "list", "--status", "failed", "--json"),
      holdfast(folder, "runs", "list", "--limit", "1"),
      holdfast(folder, "runs", "list", "--workflow", "other"),
    ]);
    expect(all.out).toMatch(
      /^RUN +WORKFLOW +STATUS +STARTED +HELD BY\ngood +triage +completed +20\S+Z\nbad +triage +failed +20\S+Z\n$/,
    );
    expect(jsonLines(failed.out)).toMatchObject([
      { runId: "bad", workflowId: "triage", status: "failed", heldBy: null },
    ]);
    expect(one.out.split("\n")).toHaveLength(3);
    expect(one.err).toBe("There are more; --limit shows more than 1.\n");
    expect(none).toMatchObject({ code: 0, out: "" });
  });

  test("shows each node with its attempts, who served, and the causes of what it met", async () => {
    const folder = project({ "triage.mjs": TRIAGE, down: "" });
    await holdfast(folder, "run", "triage.mjs", "--input", '{"id":"m-1"}', "--run-id", "m-1");
    const { code, out } = await holdfast(folder, "runs", "show", "m-1");
    expect(code).toBe(0);
    expect(out).toMatch(/^The run failed after .+: node classify gave up: 503 from the model\n/);
    expect(out).toMatch(/\n {2}journal +\d+ events in \d+ records, intact\n {2}input +{"id":"m-1"}\n/);
    expect(out).toMatch(
      /\nNODE +BY +STATUS +ATTEMPTS +TOOK +RECORD\nfetch +fetch +completed +1 .*\nclassify +classify +failed +2 .*\nclassify +rules +failed +1 .*\nroute +not reached\n/,
    );
    expect(out).toMatch(
      /\nclassify, in record \d+:\n {2}Error \[E503\]: 503 from the model\n {2}caused by Error: socket hang up\n/,
    );
    const json = jsonLines((await holdfast(folder, "runs", "show", "m-1", "--json")).out)[0];
    expect(json).toMatchObject({
      runId: "m-1",
      status: "failed",
      input: { id: "m-1" },
      notReached: ["route"],
      journal: { damage: null },
    });
    expect(json?.["steps"]).toHaveLength(3);
  });

  test("tells who carries a run out, and looks without disturbing it", async () => {
    const folder = project({
      "slow.mjs": `
        import { existsSync } from "node:fs";
        import { Workflow } from "holdfast";
        const gone = async () => { while (!existsSync("go")) await new Promise((done) => setTimeout(done, 20)); };
        export default new Workflow({ id: "slow" }).addNode("wait", gone);
      `,
    });
    const run = startHoldfast(folder, ["run", "slow.mjs", "--run-id", "s"]);
    await run.said("wait started");
    const list = await holdfast(folder, "runs", "list");
    expect(list.out).toContain(`process ${run.child.pid} on `);
    const show = await holdfast(folder, "runs", "show", "s");
    expect(show.out).toMatch(/^The run has been going for /);
    writeFileSync(join(folder, "go"), "");
    expect((await run.ended).code).toBe(0);
  });
});

describe("holdfast doctor", () => {
  test("prints a line for each check, and counts what is interrupted", async () => {
    const folder = project({
      "dies.mjs": `
        import { Workflow } from "holdfast";
        export default new Workflow({ id: "dies" }).addNode("die", () => process.kill(process.pid, "SIGKILL"));
      `,
    });
    expect((await holdfast(folder, "run", "dies.mjs", "--run-id", "d")).signal).toBe("SIGKILL");
    const { code, out } = await holdfast(folder, "doctor", "--json");
    expect(code).toBe(0);
    const checks = Object.fromEntries(jsonLines(out).map((finding) => [finding["check"], finding["status"]]));
    expect(checks).toMatchObject({
      Node: "ok",
      "SQLite binding": "ok",
      store: "ok",
      durability: "ok",
      "interrupted runs": "warn",
      journals: "ok",
    });
    expect(Object.keys(checks)).toEqual([
      "Node",
      "SQLite binding",
      "file system",
      "sync to disk",
      "store",
      "durability",
      "interrupted runs",
      "journals",
    ]);
    const relaxed = await holdfast(folder, "doctor", "--store", "sqlite:.holdfast/holdfast.db?durability=relaxed");
    expect(relaxed.out).toMatch(/\nwarn {2}durability: relaxed, no commit waits for the disk \(synchronous=NORMAL\)\n/);
    const text = await holdfast(folder, "doctor");
    expect(text.out).toMatch(
      /\nwarn {2}interrupted runs: 1 \(d\)\n {6}Nobody carries them out\. Resume each with: npx holdfast run FILE --run-id ID --resume\n/,
    );
  });
});
