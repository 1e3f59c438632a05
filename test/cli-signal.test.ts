import { describe, expect, test } from "vitest";
import { holdfast, jsonLines, project, type Started, startHoldfast } from "./cli-harness.ts";

/** A person approves what is asked, unless somebody has cancelled it before; what was asked can be taken back. */
const REFUND: string = `
  import { appendFileSync } from "node:fs";
  import { waitForSignal, Workflow } from "holdfast";
  const validate = (value) =>
    typeof value?.by === "string" ? { value } : { issues: [{ path: ["by"], message: "must be a string" }] };
  const output = { "~standard": { version: 1, vendor: "by hand", validate } };
  const called = (name) => appendFileSync("calls", name + "\\n");
  export default new Workflow({ id: "refund" })
    .addNode("ask", ({ euros }) => { called("ask"); return "pay " + euros; }, { compensate: (text) => { console.log("taken back:", text); } })
    .addNode("approval", waitForSignal({ timeoutMs: 3_600_000 }), { output })
    .addNode("pay", ({ by }) => { called("pay"); return by + " has paid"; })
    .connect("ask", "approval")
    .connect("approval", "pay");
`;

const FILES = { "refund.mjs": REFUND };

/** A run that waits for its signal, in a terminal of its own. */
async function waiting(folder: string, runId = "r-1"): Promise<Started> {
  const run = startHoldfast(folder, ["run", "refund.mjs", "--input", '{"euros":20}', "--run-id", runId]);
  await run.said("Send it with:");
  for (;;) {
    const [row] = jsonLines((await holdfast(folder, "runs", "list", "--json")).out);
    if (row?.["status"] === "waiting") return run;
  }
}

/** A run that waits and that nobody looks after. */
async function left(folder: string): Promise<void> {
  const run = await waiting(folder);
  run.child.kill("SIGINT");
  expect((await run.ended).code).toBe(130);
}

describe("a run that waits for a person", () => {
  test("says what it waits for and how to send it, and takes what is sent from another terminal (C5.2)", async () => {
    const folder = project(FILES);
    const run = await waiting(folder);
    const sent = await holdfast(folder, "signal", "r-1", "approval", "--payload", '{"by":"Ada"}');
    expect(sent).toMatchObject({ code: 0, out: "" });
    expect(sent.err).toContain("Signal approval is kept for run r-1.\n");
    const { code, out, err } = await run.ended;
    expect([code, out]).toEqual([0, '"Ada has paid"\n']);
    expect(err).toMatch(
      /\napproval waits for the signal approval, until 20\S+Z at most\. Send it with:\n {2}npx holdfast signal r-1 approval --payload JSON\n/,
    );
    expect(err).toContain("approval completed after ");
  });

  test("is listed and shown with what it waits for, and when it wakes (C5.2)", async () => {
    const folder = project(FILES);
    await left(folder);
    const list = await holdfast(folder, "runs", "list");
    expect(list.out).toMatch(/\nr-1 +refund +waiting +20\S+Z +wakes 20\S+Z, waits for approval\n$/);
    const [row] = jsonLines((await holdfast(folder, "runs", "list", "--status", "waiting", "--json")).out);
    expect(row).toMatchObject({ runId: "r-1", heldBy: null, waitsFor: ["approval"] });
    expect(row?.["wakeAt"]).toMatch(/^20\S+Z$/);
    const { out } = await holdfast(folder, "runs", "show", "r-1");
    expect(out).toMatch(
      /^The run waits: approval waits for the signal approval, until 20\S+Z at most\.\nSend it with:\n {2}npx holdfast signal r-1 approval --payload JSON\n/,
    );
    expect(out).toContain("npx holdfast run FILE --run-id r-1 --resume\n");
    expect(out).toMatch(/\napproval +approval +waiting +1 /);
  });

  test("keeps what it was told until it is resumed, and takes the same id once (C5.2)", async () => {
    const folder = project(FILES);
    await left(folder);
    const words = ["signal", "r-1", "approval", "--payload", '{"by":"Ada"}', "--id", "s-1", "--json"];
    const [first, again] = [await holdfast(folder, ...words), await holdfast(folder, ...words)];
    expect(jsonLines(first.out)).toEqual([{ runId: "r-1", signal: "approval", id: "s-1" }]);
    expect(again.code).toBe(0);
    expect((await holdfast(folder, "runs", "list")).out).toContain("due now, waits for approval");
    const shown = (await holdfast(folder, "runs", "show", "r-1")).out;
    expect(shown.match(/\n {2}told +approval {"by":"Ada"}, at /g)).toHaveLength(1);
    const { code, out } = await holdfast(folder, "run", "refund.mjs", "--run-id", "r-1", "--resume");
    expect([code, out]).toEqual([0, '"Ada has paid"\n']);
  });

  test("is told again what it waits for when it is resumed (C5.2)", async () => {
    const folder = project(FILES);
    await left(folder);
    const run = startHoldfast(folder, ["run", "refund.mjs", "--run-id", "r-1", "--resume"]);
    await run.said("run r-1 of refund resumed\napproval waits for the signal approval");
    await run.said("npx holdfast signal r-1 approval --payload JSON\n");
    run.child.kill("SIGINT");
    await run.ended;
  });

  test("refuses what no node takes where the file is named, and hints at it where not (C5.2)", async () => {
    const folder = project(FILES);
    await left(folder);
    const [name, payload, hint, json, run] = await Promise.all([
      holdfast(folder, "signal", "r-1", "aproval", "--file", "refund.mjs"),
      holdfast(folder, "signal", "r-1", "approval", "--file", "refund.mjs", "--payload", '{"by":7}'),
      holdfast(folder, "signal", "r-1", "aproval"),
      holdfast(folder, "signal", "r-1", "approval", "--payload", "{by"),
      holdfast(folder, "signal", "r-2", "approval"),
    ]);
    expect(name).toMatchObject({ code: 2, out: "" });
    expect(name.err).toContain('No node of workflow "refund" waits for the signal "aproval".');
    expect(payload.code).toBe(2);
    expect(payload.err).toContain("by: must be a string");
    expect(hint.code).toBe(0);
    expect(hint.err).toContain("The run waits for approval now, not for aproval");
    expect(json.err).toContain("--payload is not JSON");
    expect(run).toMatchObject({ code: 3, err: expect.stringContaining('There is no run "r-2"') as string });
  });
});

describe("a run is cancelled from the command line", () => {
  test("by whoever looks after it, and undone where that is asked for (C5.9)", async () => {
    const folder = project(FILES);
    const run = await waiting(folder);
    const told = await holdfast(folder, "cancel", "r-1", "--reason", "no money", "--compensate");
    expect(told).toMatchObject({ code: 0, out: "" });
    expect(told.err).toContain("Run r-1 is told to stop, and ends when somebody takes it up.");
    const { code, err } = await run.ended;
    expect(code).toBe(1);
    expect(err).toContain("taken back: pay 20\n");
    expect(err).toMatch(/Run "r-1" was cancelled: no money\n$/);
    expect((await holdfast(folder, "runs", "show", "r-1")).out).toMatch(/\nask +ask +undone +1 /);
  });

  test("at once where nobody does and the file is named (C5.9)", async () => {
    const folder = project(FILES);
    await left(folder);
    const { code, out, err } = await holdfast(folder, "cancel", "r-1", "--file", "refund.mjs", "--json");
    expect(code).toBe(0);
    expect(jsonLines(out)).toEqual([{ runId: "r-1", status: "cancelled", heldBy: null }]);
    expect(err).toBe("Run r-1 is cancelled.\n");
    const again = await holdfast(folder, "cancel", "r-1");
    expect(again).toMatchObject({ code: 3, out: "" });
    expect(again.err).toContain('Run "r-1" has ended (cancelled) and cannot be cancelled any more.');
  });

  test("later where nobody does and no file is named: whoever takes it up ends it (C5.9)", async () => {
    const folder = project(FILES);
    await left(folder);
    await holdfast(folder, "cancel", "r-1");
    expect((await holdfast(folder, "runs", "show", "r-1")).out).toMatch(/\n {2}told +to be cancelled, at 20/);
    const { code, err } = await holdfast(folder, "run", "refund.mjs", "--run-id", "r-1", "--resume");
    expect(code).toBe(1);
    expect(err).toContain("was cancelled: somebody cancelled it from the command line");
    expect(err).not.toContain("taken back");
  });
});
