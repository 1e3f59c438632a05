import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { WorkflowCheckpoint } from "../src/checkpoint.ts";
import { readHistory } from "../src/engine/history.ts";
import { expectFreshBuild } from "./crash/worker.ts";
import { eventFields, valueKinds } from "./golden/coverage.ts";
import { plant } from "./golden/plant.ts";
import { BEGIN, readCopy } from "./golden/reading.ts";
import { comesOf, GOLDEN_RUNS, type GoldenRun } from "./golden/runs.ts";
import { ROOT } from "./repository.ts";

const GOLDEN = join(ROOT, "test/golden");
const FOLDERS = readdirSync(GOLDEN, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => join(GOLDEN, name));

/** All runs of a store by their ids, those of nodes left out. */
async function runsIn(folder: string): Promise<string[]> {
  const rows = await readCopy(folder, ({ store }) => store.list({ limit: Infinity }));
  return rows.map(({ runId }) => runId).filter((runId) => !runId.includes("/"));
}

/** What a store says, as "kind.field" of each event, and the text of its journals. */
async function said(folder: string): Promise<{ fields: Set<string>; text: string; damage: unknown[] }> {
  return readCopy(folder, async ({ store }) => {
    const fields = new Set<string>();
    const damage: unknown[] = [];
    let text = "";
    for (const { runId } of await store.list({ limit: Infinity })) {
      const history = (await readHistory(store, runId))!;
      damage.push(...(history.damage === undefined ? [] : [runId, history.damage]));
      for (const { event } of history.events)
        for (const field of Object.keys(event)) fields.add(`${event.kind}.${field}`);
      for (const { body } of await store.read(runId)) text += Buffer.from(body).toString();
    }
    return { fields, text, damage };
  });
}

function goldenOf(run: string, how: GoldenRun["how"] = "resumed"): GoldenRun {
  return GOLDEN_RUNS.find((golden) => golden.run === run && golden.how === how)!;
}

for (const folder of FOLDERS) {
  describe(`the golden store ${folder.slice(ROOT.length + 1)}`, async () => {
    const runs = await runsIn(folder);

    it("is whole, and what must come of each of its runs is known (C6.7, C6.9)", async () => {
      expect((await said(folder)).damage).toEqual([]);
      expect(runs.filter((run) => !GOLDEN_RUNS.some((golden) => golden.run === run))).toEqual([]);
      const rows = await readCopy(folder, ({ store }) => store.list({ limit: Infinity }));
      expect(rows.some(({ snapshot }) => snapshot !== null)).toBe(true);
    });

    for (const golden of GOLDEN_RUNS.filter(({ run }) => runs.includes(run))) {
      it(`${golden.run}, ${golden.how}: comes to what it must, and nothing acknowledged is done again (C6.1, C6.2, C6.9)`, async () => {
        expect(await comesOf(folder, golden)).toStrictEqual(golden.comes);
      });
    }

    it("recovers every run that nobody looks after (C6.4, C6.9)", async () => {
      await readCopy(folder, async ({ engine }) => {
        const { resumed, elsewhere, unknown, failed } = await engine.recover();
        expect([elsewhere, unknown, failed]).toEqual([[], [], []]);
        const ends = await Promise.all(resumed.map(async ({ runId, result }) => [runId, (await result).status]));
        const open = GOLDEN_RUNS.filter(({ run }) =>
          /-(half|review|waiting|again|starting|in-flight|snapshot|fork)$/.test(run),
        );
        expect(Object.fromEntries(ends)).toMatchObject(
          Object.fromEntries(open.map(({ run, comes }) => [run, comes.status])),
        );
        expect((await engine.list({ status: "running" })).length).toBe(0);
        expect((await engine.list({ status: "waiting" })).map(({ runId }) => runId)).toEqual(["approve-parked"]);
      });
    });

    it("a wait, before a retry or of a node, goes on for what was left of it (C6.3)", async () => {
      const wakes = await readCopy(folder, async ({ engine }) => ({
        "retry-waiting": (await engine.history("retry-waiting"))!.events.flatMap((event) =>
          event.kind === "attempt_failed" ? [event.retryAt] : [],
        )[0]!,
        "pause-parked": (await engine.get("pause-parked"))!.wakeAt!,
      }));
      expect(wakes["retry-waiting"] - BEGIN).toBeGreaterThan(3_600_000);
      expect(wakes["pause-parked"] - BEGIN).toBeGreaterThan(3 * 24 * 3_600_000);
      for (const [run, wakeAt] of Object.entries(wakes)) {
        const calledAt = await readCopy(
          folder,
          async ({ engine, workflows, calls }) => {
            await engine.resume(workflows[run.split("-")[0]!]!, run);
            return calls.map(({ at }) => at);
          },
          { at: wakeAt - 200 },
        );
        expect(calledAt.length).toBe(1);
        expect(calledAt[0]).toBeGreaterThanOrEqual(wakeAt);
      }
    });

    it("a schedule is as it was set, and makes up for what nobody was there for (C5.11)", async () => {
      await readCopy(folder, async ({ engine, workflows, runtime }) => {
        const workflow = workflows["report"]!;
        const nightly = { cron: "30 2 * * *", timeZone: "Europe/Berlin", missed: "run-once", overlap: "skip" } as const;
        const often = { cron: null, timeZone: null, everyMs: 6 * 3_600_000, missed: "skip", overlap: "allow" };
        expect(await engine.schedules.list()).toEqual([
          {
            ...{ id: "nightly", workflowId: "report", ...nightly, everyMs: null, graceMs: 10_000 },
            ...{ paused: false, nextAt: BEGIN + 1.5 * 3_600_000, lastAt: undefined },
          },
          {
            ...{ id: "often", workflowId: "report", ...often, graceMs: 5 },
            ...{ paused: true, nextAt: expect.any(Number), lastAt: undefined },
          },
        ]);
        const started = new Promise<string>((resolve) =>
          runtime.events.on((event) => event.type === "schedule.started" && resolve(event.runId)),
        );
        await engine.schedule("nightly", { ...nightly, workflow, input: "the night" as never });
        expect(await started).toBe("nightly@2026-02-09T01:30:00.000Z");
      });
    });

    it("a checkpoint is there with its versions (C6.8)", async () => {
      await readCopy(folder, async ({ store }) => {
        const checkpoint = new WorkflowCheckpoint("import", { store: store.state });
        expect(await checkpoint.load()).toStrictEqual({ row: 8, seen: new Set(["a"]), at: new Date(BEGIN) });
        expect(await checkpoint.load(1)).toStrictEqual({ row: 7 });
      });
    });
  });
}

// A golden store that lacks something would let a later version lose it unnoticed.
describe("the golden stores together", () => {
  it("hold every kind of event with every field of it, and every kind of value (C6.6, C6.9)", async () => {
    const all = await Promise.all(FOLDERS.map(said));
    const missing = [
      ...eventFields().filter((field) => !all.some(({ fields }) => fields.has(field))),
      ...valueKinds().filter((kind) => !all.some(({ text }) => text.includes(`{"$":"${kind}"`))),
    ];
    const advice = "Let a run of scripts/golden.mjs hold it, and write the store of the next version: CONTRIBUTING.md";
    expect({ missing, advice }).toEqual({ missing: [], advice });
  });

  it("hold every run that is told of", async () => {
    const runs = (await Promise.all(FOLDERS.map(runsIn))).flat();
    expect(GOLDEN_RUNS.filter(({ run }) => !runs.includes(run))).toEqual([]);
  });
});

it(
  "the script that writes golden stores writes one that is as good, and says nothing of the machine (C6.9)",
  { timeout: 60_000 },
  async () => {
    expectFreshBuild();
    const parent = mkdtempSync(join(tmpdir(), "holdfast-golden-"));
    const folder = join(parent, "new");
    try {
      await promisify(execFile)(process.execPath, [join(ROOT, "scripts/golden.mjs"), folder]);
      const wrong = [];
      for (const golden of GOLDEN_RUNS) {
        const comes = await comesOf(folder, golden);
        if (!isSame(comes, golden.comes)) wrong.push({ ...golden, came: comes });
      }
      expect(wrong).toEqual([]);
      const { fields, text } = await said(folder);
      expect(text.includes(ROOT) || readFileSync(join(folder, "runs.db")).includes(ROOT)).toBe(false);
      const rows = await readCopy(folder, ({ store }) => store.list({ limit: Infinity }));
      expect(rows.filter(({ owner }) => owner !== null && !owner.startsWith('["golden/'))).toEqual([]);
      expect(eventFields().filter((field) => !fields.has(field))).toEqual([]);
    } finally {
      rmSync(parent, { recursive: true });
    }
  },
);

function isSame(one: unknown, other: unknown): boolean {
  try {
    expect(one).toStrictEqual(other);
    return true;
  } catch {
    return false;
  }
}

// What a version that had changed the words of the journal would meet in the stores of the one before it.
describe("the golden runs find", () => {
  const plants: [what: string, golden: GoldenRun, from: string, to: string][] = [
    ["an event of an unknown kind", goldenOf("line-in-flight"), '"invocation_completed"', '"invocation_finished"'],
    ["another name for the output of a node", goldenOf("line-completed"), '"output":', '"result":'],
    ["another name for what was spent", goldenOf("money-waiting"), '"spent":', '"paid":'],
    ["another name for an open breaker", goldenOf("circuit-waiting"), '"circuit":', '"breaker":'],
    ["another name for how often a node was called", goldenOf("line-again"), '"attempts":', '"tries":'],
    ["another name for steps", goldenOf("items-half"), '"step":', '"part":'],
    ["another name for the edges that were taken", goldenOf("sorting-half"), '"next":', '"to":'],
    ["another name for a hand-off", goldenOf("desk-completed", "forked"), '"handoff":', '"handed":'],
    ["another name for what has delivered", goldenOf("rounds-review"), '"from":', '"of":'],
    ["another name for what has started a node", goldenOf("rounds-half"), '"by":', '"after":'],
    ["another name for the node that stands in", goldenOf("backup-half"), '"backup":', '"other":'],
    ["another name for why a run is cancelled", goldenOf("saga-half"), '"reason":', '"why":'],
    ["another form of a value", goldenOf("values-half"), '{"$":"Set"', '{"$":"set"'],
    ["another name for what was renamed", goldenOf("moved-again"), '"rename":', '"renamed":'],
  ];
  for (const [what, golden, from, to] of plants) {
    it(`${what} (C6.9)`, async () => {
      const change = (path: string): void => plant(path, golden.run, from, to);
      for (const folder of FOLDERS) expect(await comesOf(folder, golden, { change })).not.toEqual(golden.comes);
    });
  }

  it("that a journal of a newer version is refused, and left as it is (C6.9)", async () => {
    const change = (path: string): void => plant(path, "line-in-flight", '"invocation_started"', '"invocation_dreamt"');
    for (const folder of FOLDERS) {
      await readCopy(
        folder,
        async ({ engine, store, workflows, calls }) => {
          const before = await store.read("line-in-flight");
          await expect(engine.resume(workflows["line"]!, "line-in-flight")).rejects.toThrow(
            'unknown kind "invocation_dreamt". A newer version of Holdfast wrote it',
          );
          expect(await store.read("line-in-flight")).toEqual(before);
          expect(calls).toEqual([]);
        },
        { change },
      );
    }
  });

  it("nothing where nothing was changed (C6.9)", async () => {
    const golden = goldenOf("line-in-flight");
    const change = (path: string): void => plant(path, golden.run, '"by":"a"', '"by":"a"');
    for (const folder of FOLDERS) expect(await comesOf(folder, golden, { change })).toStrictEqual(golden.comes);
  });
});
