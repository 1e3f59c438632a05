import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { type Errand, expectFreshBuild, readStory, startWorker, storedEnds, untilGone, untilSaid } from "./worker.ts";

const SEED = Number(process.env["CRASH_SEED"] ?? Date.now() % 1_000_000);

let folder: string;
/** How long a life of the thirty nodes takes here, from when it is up. Kills are spread over it. */
let lifeMs = 0;
beforeAll(async () => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-kill-"));
  for (let life = 0; life < 3; life++) {
    const child = startWorker("run-worker.mjs", errandOf(`measured-${life}`));
    const gone = untilGone(child);
    await untilSaid(child, "up");
    const up = performance.now();
    await gone;
    lifeMs = Math.max(lifeMs, performance.now() - up);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

function errandOf(runId: string, more: Partial<Errand> = {}): Errand {
  const log = join(folder, `${runId}.log`);
  const input = { n: runId, fails: false };
  return {
    path: join(folder, "runs.db"),
    log,
    runId,
    input,
    leaseMs: 5000,
    workflow: "thirty-nodes",
    store: "sound",
    ...more,
  };
}

/** One life of a run, which is killed at some time in it; tells whether it was, before it came to its end. */
async function killedLife(errand: Errand, random: Random): Promise<boolean> {
  const child = startWorker("run-worker.mjs", errand);
  const gone = untilGone(child);
  // Most deaths come while the run is carried out, some while the process starts and opens its store.
  if (random() < 0.85) await untilSaid(child, "up");
  await new Promise((resolve) => setTimeout(resolve, random() * lifeMs));
  child.kill("SIGKILL");
  return (await gone).signal === "SIGKILL";
}

async function wholeLife(errand: Errand): Promise<void> {
  const { code } = await untilGone(startWorker("run-worker.mjs", errand));
  expect(code).toBe(0);
}

/** Carries a run to its end through as many deaths, and says what is wrong with its story; undisturbed is how it must end. */
async function killAgainAndAgain(
  errand: Errand,
  deaths: number,
  random: Random,
  undisturbed: unknown,
): Promise<{ kills: number; wrong: string[] }> {
  const wrong: string[] = [];
  let kills = 0;
  for (let life = 0; life < deaths; life++) {
    if (!(await killedLife(errand, random))) break;
    kills++;
    const { acknowledged } = readStory(errand.log);
    const stored = existsSync(errand.path) ? await storedEnds(errand.path, errand.runId) : new Set();
    for (const id of acknowledged) if (!stored.has(id)) wrong.push(`${id} was acknowledged and is not stored`);
  }
  if (readStory(errand.log).ends.length === 0) await wholeLife(errand);
  const { log, ends } = readStory(errand.log);
  wrong.push(...log.violations());
  const [end] = ends;
  if (JSON.stringify(end) !== JSON.stringify(undisturbed)) wrong.push(`it ended differently: ${JSON.stringify(end)}`);
  return { kills, wrong };
}

async function undisturbedEnd(errand: Errand): Promise<unknown> {
  await wholeLife(errand);
  const { log, ends } = readStory(errand.log);
  expect(log.violations()).toEqual([]);
  expect(ends).toHaveLength(1);
  return ends[0];
}

describe(`killed at random moments (REPRO CRASH_SEED=${SEED})`, () => {
  it("thirty nodes survive a hundred deaths: nothing acknowledged is lost or repeated, and the end is the same (C6.1, C6.2)", async () => {
    const input = { n: 1, fails: false };
    const failing = { n: 1, fails: true };
    const ends = {
      good: await undisturbedEnd(errandOf("undisturbed", { input })),
      failed: await undisturbedEnd(errandOf("undisturbed-failing", { input: failing })),
    };
    expect(ends.good).toMatchObject({ status: "completed", degraded: true, letters: [] });
    expect(ends.failed).toMatchObject({ status: "failed", letters: [["end", "pending"]] });

    /** Half of the deaths, on a store of its own: two processes at a time. */
    const half = async (name: string, random: Random): Promise<{ kills: number; wrong: string[] }> => {
      const path = join(folder, `${name}.db`);
      const wrong: string[] = [];
      let kills = 0;
      for (let run = 0; kills < 50 && wrong.length === 0; run++) {
        const isFailing = run % 3 === 2;
        const errand = errandOf(`${name}-${run}`, { path, input: isFailing ? failing : input });
        const deaths = Math.min(1 + Math.floor(random() * 9), 50 - kills);
        const story = await killAgainAndAgain(errand, deaths, random, isFailing ? ends.failed : ends.good);
        kills += story.kills;
        wrong.push(...story.wrong.map((what) => `run ${name}-${run}: ${what}`));
      }
      return { kills, wrong };
    };
    const halves = await Promise.all([half("one", seededRandom(SEED)), half("two", seededRandom(SEED + 1))]);
    expect(halves).toEqual([
      { kills: 50, wrong: [] },
      { kills: 50, wrong: [] },
    ]);
  }, 120_000);

  it("a run may be killed again while it recovers, several times in a row (C6.2)", async () => {
    const random = seededRandom(SEED + 2);
    const input = { n: 2, fails: false };
    const end = await undisturbedEnd(errandOf("undisturbed-2", { input }));
    for (let run = 0; run < 3; run++) {
      const errand = errandOf(`double${run}`, { input });
      await killedLife(errand, () => 0.5);
      // Within the first moments of the next lives, where the journal is read and what was interrupted starts again.
      for (let again = 0; again < 4; again++) await killedLife(errand, () => random() * 0.15);
      const story = await killAgainAndAgain(errand, 0, random, end);
      expect(story.wrong).toEqual([]);
    }
  }, 60_000);

  it("the same checks find a store that forgets its last record when it is opened (C6.1)", async () => {
    const random = seededRandom(SEED + 3);
    const input = { n: 3, fails: false };
    const end = await undisturbedEnd(errandOf("undisturbed-3", { input }));
    const wrong: string[] = [];
    for (let run = 0; run < 10 && wrong.length === 0; run++) {
      const errand = errandOf(`forgets${run}`, { input, store: "forgets" });
      wrong.push(...(await killAgainAndAgain(errand, 3, random, end)).wrong);
    }
    expect(wrong.join("\n")).toMatch(/after it was acknowledged/);
  }, 60_000);
});
