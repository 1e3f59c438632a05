import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { expectFreshBuild, startWorker, untilGone } from "./worker.ts";

let root: string;
beforeAll(() => {
  expectFreshBuild();
  root = mkdtempSync(join(tmpdir(), "holdfast-blob-crash-"));
});
afterAll(() => rmSync(root, { recursive: true }));

const DEATHS = ["put", "asked", "stored"].flatMap((what) => [1, 2, 3].map((n) => ({ what, n })));

for (const dieAfter of DEATHS.filter(({ what, n }) => what !== "put" || n < 3)) {
  const moment = `${dieAfter.what} ${dieAfter.n}`;
  it(`a process killed at "${moment}" leaves a run that goes on with its large values, and no blob too many or too few (C6.2, C6.6)`, async () => {
    const place = { path: join(root, `${moment}.db`), folder: join(root, moment) };
    const died = await untilGone(startWorker("blob-worker.mjs", { ...place, dieAfter }));
    expect(died.signal).toBe("SIGKILL");
    const worker = startWorker("blob-worker.mjs", place);
    let said = "";
    worker.stdout!.on("data", (data: Buffer) => (said += data.toString()));
    expect(await untilGone(worker)).toEqual({ code: 0, signal: null });
    // The blobs are named after what is in them, so that a blob without its record is the one that is written again.
    expect(JSON.parse(said)).toEqual({ output: [100_000, "y"], swept: 0, left: 2 });
  });
}
