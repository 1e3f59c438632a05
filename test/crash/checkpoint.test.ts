import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WorkflowCheckpoint } from "../../src/checkpoint.ts";
import { seededRandom } from "../../src/core/random.ts";
import { SqliteSharedState } from "../../src/stores/sqlite-shared-state.ts";
import { expectFreshBuild, startWorker, untilGone, untilSaid } from "./worker.ts";

const SEED = Number(process.env["CRASH_SEED"] ?? Date.now() % 1_000_000);

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-checkpoint-crash-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

it(`a program that is killed while it saves goes on from what was acknowledged, or from the save after it, seed ${SEED} (C6.8)`, async () => {
  const random = seededRandom(SEED);
  const path = join(folder, "checkpoints.db");
  let acknowledged = 0;
  for (let life = 0; life < 10; life++) {
    const child = startWorker("checkpoint-worker.mjs", { path });
    const gone = untilGone(child);
    let said = "";
    child.stdout!.on("data", (data: Buffer) => (said += data.toString()));
    await untilSaid(child, "\n");
    await new Promise((resolve) => setTimeout(resolve, random() * 50));
    child.kill("SIGKILL");
    expect((await gone).signal).toBe("SIGKILL");
    const before = acknowledged;
    acknowledged = Number(said.split("\n").at(-2));
    expect(acknowledged).toBeGreaterThan(before);
    const store = new SqliteSharedState(path);
    const checkpoint = new WorkflowCheckpoint<{ n: number; text: string }>("c", { store });
    const { n, text } = (await checkpoint.load())!;
    const versions = (await checkpoint.list()).length;
    await store.close();
    // The save under way may be there; it was not acknowledged.
    expect([acknowledged, acknowledged + 1]).toContain(n);
    expect(text.length).toBe(n);
    expect(versions).toBe(Math.min(n, 3));
    acknowledged = n;
  }
}, 60_000);
