import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { callsIn, holdfast, jsonLines, project, startHoldfast } from "./cli-harness.ts";

/** Two nodes that fail with codes of their own while their files are there. */
const FLAKY: string = `
  import { appendFileSync, existsSync } from "node:fs";
  import { Workflow } from "holdfast";
  const check = (name) => {
    appendFileSync("calls", name + " " + Date.now() + "\\n");
    if (existsSync("down")) throw Object.assign(new Error(name + " is down"), { code: "E_" + name.toUpperCase() });
  };
  export const pay = new Workflow({ id: "pay" }).addNode("charge", (input) => (check("charge"), input));
  export const mail = new Workflow({ id: "mail" }).addNode("send", (input) => (check("send"), input));
`;

/** A project with a dead letter for each run. */
async function withLetters(runs: Record<string, "pay" | "mail">): Promise<string> {
  const folder = project({ "flaky.mjs": FLAKY, down: "" });
  for (const [runId, workflow] of Object.entries(runs)) {
    const words = ["run", "flaky.mjs", "--workflow", workflow, "--run-id", runId, "--input", `{"of":"${runId}"}`];
    expect((await holdfast(folder, ...words)).code).toBe(1);
  }
  return folder;
}

/** The same project, with what was down up again. */
function mended(folder: string): void {
  writeFileSync(join(folder, "flaky.mjs"), FLAKY.replace('existsSync("down")', "false"));
}

describe("holdfast dlq", () => {
  test("lists by code, node and time of entry, and refuses a time that it does not understand (C7.2)", async () => {
    const folder = await withLetters({ p1: "pay", m1: "mail" });
    const idsOf = async (...words: string[]): Promise<unknown[]> =>
      jsonLines((await holdfast(folder, "dlq", "list", "--json", ...words)).out).map((letter) => letter["runId"]);
    expect(await idsOf()).toEqual(["m1", "p1"]);
    expect(await idsOf("--code", "E_CHARGE")).toEqual(["p1"]);
    expect(await idsOf("--node", "send", "--status", "pending")).toEqual(["m1"]);
    expect(await idsOf("--since", "1h")).toEqual(["m1", "p1"]);
    expect(await idsOf("--since", "2999-01-01")).toEqual([]);
    expect(await idsOf("--since", "2020-01-01T00:00Z", "--workflow", "mail")).toEqual(["m1"]);
    for (const wrong of ["yesterday", "7", "2026-13-01"]) {
      const { code, err } = await holdfast(folder, "dlq", "list", "--since", wrong);
      expect([code, err.includes("It must be an instant, such as 2026-11-24T08:00Z")]).toEqual([2, true]);
    }
  });

  test("stats count by status, and the open ones by workflow, node and error (C7.2)", async () => {
    const folder = await withLetters({ p1: "pay", p2: "pay", m1: "mail" });
    const [stats, json, none] = await Promise.all([
      holdfast(folder, "dlq", "stats"),
      holdfast(folder, "dlq", "stats", "--json", "--workflow", "pay"),
      holdfast(project(), "dlq", "stats"),
    ]);
    expect(stats.out).toMatch(
      /^ {2}total +3\n {2}pending +3\n {2}retrying +0\n {2}quarantined +0\n {2}succeeded +0\n {2}discarded +0\n {2}open +3\n {2}oldest +.+ old\n\nOPEN +WORKFLOW +NODE +OLDEST +ERROR\n2 +pay +charge +20\S+Z +Error \[E_CHARGE\]\n1 +mail +send +20\S+Z +Error \[E_SEND\]\n$/,
    );
    expect(jsonLines(json.out)).toMatchObject([{ total: 2, open: 2, groups: [{ workflowId: "pay", count: 2 }] }]);
    expect(none).toMatchObject({ code: 0, out: "" });
  });

  test("export prints every entry that fits as a line of JSON with its payload (C7.2)", async () => {
    const folder = await withLetters({ p1: "pay", m1: "mail" });
    const { code, out } = await holdfast(folder, "dlq", "export");
    expect(code).toBe(0);
    const letters = jsonLines(out);
    expect(letters).toMatchObject([
      { runId: "m1", payload: { of: "m1" }, errorDetail: { code: "E_SEND" } },
      { runId: "p1", payload: { of: "p1" }, status: "pending" },
    ]);
    const shown = await holdfast(folder, "dlq", "show", letters[0]!["id"] as string, "--json");
    expect(jsonLines(shown.out)).toEqual([letters[0]]);
    expect(jsonLines((await holdfast(folder, "dlq", "export", "--workflow", "pay")).out)).toHaveLength(1);
  });

  test("discards one with a reason, or several with --yes; they are shown with it, and redriven no more (C7.2)", async () => {
    const folder = await withLetters({ p1: "pay", p2: "pay", m1: "mail" });
    const [m1, p2] = jsonLines((await holdfast(folder, "dlq", "list", "--json")).out).map(({ id }) => String(id));
    expect(await holdfast(folder, "dlq", "discard", m1!, "--reason", "the customer has left")).toMatchObject({
      ...{ code: 0, out: "", err: `Dead letter ${m1} of run m1 is discarded: the customer has left\n` },
    });
    expect((await holdfast(folder, "dlq", "show", m1!)).out).toMatch(
      /\n {2}discarded +20\S+Z: the customer has left\n/,
    );
    const dry = await holdfast(folder, "dlq", "discard", "--workflow", "pay", "--reason", "a test");
    expect(dry.err).toBe("Nothing was done. Add --yes to discard these 2.\n");
    expect(dry.out.split("\n")).toHaveLength(4);
    const some = await holdfast(folder, "dlq", "discard", "--run", "p1", "--reason", "a test", "--yes");
    expect(some).toMatchObject({ code: 0, err: "1 dead letter discarded, 0 skipped.\n" });
    const redrive = await holdfast(folder, "dlq", "redrive", m1!, "--file", "flaky.mjs");
    expect(redrive.code).toBe(2);
    expect(redrive.err).toContain(`Dead letter "${m1}" was discarded: the customer has left.`);
    const rest = await holdfast(folder, "dlq", "discard", "--reason", "all", "--yes", "--json");
    expect(jsonLines(rest.out)).toEqual([{ id: p2, runId: "p2", outcome: "discarded" }]);
    expect((await holdfast(folder, "dlq", "list")).out).toMatch(/(.* discarded .*\n){3}$/);
    expect((await holdfast(folder, "dlq", "discard", "--reason", "all", "--yes")).err).toBe(
      "0 dead letters discarded, 0 skipped.\n",
    );
    const [both, without, blank] = await Promise.all([
      holdfast(folder, "dlq", "discard", m1!, "--workflow", "pay", "--reason", "x"),
      holdfast(folder, "dlq", "discard", m1!),
      holdfast(folder, "dlq", "discard", m1!, "--reason", " "),
    ]);
    expect([both.code, without.code, blank.code]).toEqual([2, 2, 2]);
  });

  test("redrives several apart in time, no more than the limit, and says what is left (C7.2)", async () => {
    const folder = await withLetters({ p1: "pay", p2: "pay", p3: "pay" });
    mended(folder);
    const before = callsIn(folder).length;
    const words = ["dlq", "redrive", "--file", "flaky.mjs", "--yes"];
    const { code, out, err } = await holdfast(folder, ...words, "--stagger", "1s", "--limit", "2");
    expect([code, out.replaceAll(/dl_\w+/g, "dl")]).toEqual([0, "dl of run p1 succeeded\ndl of run p2 succeeded\n"]);
    expect(err).toContain("There is 1 more; --limit lets no more than 2 through.\n");
    expect(err).toContain("2 dead letters redriven, 0 failed again.\n");
    const [first, second] = callsIn(folder)
      .slice(before)
      .map((line) => Number(line.split(" ")[1]));
    // The redrives begin a second apart; the first of them takes longer until its node is called.
    expect(second! - first!).toBeGreaterThan(500);
    expect((await holdfast(folder, ...words)).out).toMatch(/^dl_\w+ of run p3 succeeded\n$/);
  });

  test("a dry run says why the others would not be redriven, and --force takes up what is quarantined (C7.2)", async () => {
    const folder = await withLetters({ p1: "pay", p2: "pay" });
    const [p2, p1] = jsonLines((await holdfast(folder, "dlq", "list", "--json")).out).map(({ id }) => String(id));
    for (let i = 0; i < 3; i++) await holdfast(folder, "dlq", "redrive", p1!, "--file", "flaky.mjs");
    expect((await holdfast(folder, "dlq", "show", p1!)).out).toContain(`dlq redrive ${p1} --file FILE --force`);
    mended(folder);
    const dry = await holdfast(folder, "dlq", "redrive", "--file", "flaky.mjs", "--dry-run");
    expect(dry.out).toMatch(new RegExp(`^DEAD LETTER .*\\n${p2} +p2 .*\\n$`));
    expect(dry.err).toContain(`${p1} would not be redriven: Dead letter "${p1}" was redriven 3 times without success`);
    expect(dry.err).toContain("Nothing was done. Add --yes to redrive it.\n");
    const json = await holdfast(folder, "dlq", "redrive", "--file", "flaky.mjs", "--json");
    expect(jsonLines(json.out)).toMatchObject([
      { id: p1, outcome: "skipped", skipped: { code: "DEAD_LETTER_QUARANTINED" }, retryCount: 3 },
      { id: p2, outcome: "redrivable" },
    ]);
    expect((await holdfast(folder, "dlq", "redrive", p1!, "--file", "flaky.mjs")).code).toBe(2);
    expect((await holdfast(folder, "dlq", "redrive", p1!, "--file", "flaky.mjs", "--force")).code).toBe(0);
    const [both, one] = await Promise.all([
      holdfast(folder, "dlq", "redrive", "--file", "flaky.mjs", "--yes", "--dry-run"),
      holdfast(folder, "dlq", "redrive", p2!, "--file", "flaky.mjs", "--stagger", "1s"),
    ]);
    expect([both.code, one.code]).toEqual([2, 2]);
    expect(existsSync(join(folder, "down"))).toBe(true);
  });

  test("interrupted while it waits for the next turn, it ends at once, and goes on when called again (C7.2)", async () => {
    const folder = await withLetters({ p1: "pay", p2: "pay" });
    mended(folder);
    const redrive = startHoldfast(folder, ["dlq", "redrive", "--file", "flaky.mjs", "--yes", "--stagger", "1h"]);
    await redrive.said("of run p1 succeeded");
    redrive.child.kill("SIGTERM");
    const { code, err } = await redrive.ended;
    expect(code).toBe(143);
    expect(err).toContain("Interrupted after 1 dead letter. Run the same command again to go on.\n");
    const again = await holdfast(folder, "dlq", "redrive", "--file", "flaky.mjs", "--yes");
    expect(again.out).toMatch(/^dl_\w+ of run p2 succeeded\n$/);
  });
});
