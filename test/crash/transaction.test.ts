import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { expectFreshBuild, startWorker, untilGone, untilSaid } from "./worker.ts";

const NODES = 300;

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-transaction-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Kills a run again and again while it counts, and says what it has counted in the end. */
async function counted(runId: string, plant: boolean): Promise<number> {
  const errand = { path: join(folder, `${runId}.db`), runId, nodes: NODES, plant };
  for (let life = 0; life < 10; life++) {
    const child = startWorker("transaction-worker.mjs", errand);
    const gone = untilGone(child);
    await untilSaid(child, "up");
    await new Promise((resolve) => setTimeout(resolve, 10 + life * 7));
    child.kill("SIGKILL");
    if ((await gone).signal !== "SIGKILL") break;
  }
  const last = startWorker("transaction-worker.mjs", errand);
  let said = "";
  last.stdout!.on("data", (data: Buffer) => (said += data.toString()));
  await untilGone(last);
  return Number(/counted (\d+)/.exec(said)?.[1]);
}

it("what nodes count in their transactions is exact, however often their process is killed (C6.11)", async () => {
  expect(await counted("sound", false)).toBe(NODES);
});

it("the test finds work that is not part of the transaction (C6.11)", async () => {
  expect(await counted("planted", true)).toBeGreaterThan(NODES);
});
