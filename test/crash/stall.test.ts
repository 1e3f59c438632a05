import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Errand, expectFreshBuild, readStory, type Story, startWorker, untilGone } from "./worker.ts";

const LEASE_MS = 400;

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-stall-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Waits until a story says what is wanted. */
async function until(log: string, isTold: (story: Story) => boolean): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (isTold(readStory(log))) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`The story has not come to what was waited for: ${JSON.stringify(readStory(log))}`);
}

/**
 * Two processes on one run: the first is stopped in its second node for longer than its lease, the second takes over,
 * and while that one is busy with the last node the first is continued.
 */
async function stalled(name: string, store: Errand["store"]): Promise<{ first: Story; second: Story }> {
  const path = join(folder, `${name}.db`);
  const done = join(folder, `${name}.done`);
  const errand = { path, runId: "r", input: done, leaseMs: LEASE_MS, workflow: "stallable", store } as const;
  const logs = { first: join(folder, `${name}-1.log`), second: join(folder, `${name}-2.log`) };
  const first = startWorker("run-worker.mjs", { ...errand, log: logs.first });
  const firstGone = untilGone(first);
  await until(logs.first, ({ log }) => log.callsOf("long#0") === 1);
  first.kill("SIGSTOP");
  try {
    const second = startWorker("run-worker.mjs", { ...errand, log: logs.second });
    const secondGone = untilGone(second);
    await until(logs.second, ({ log }) => log.callsOf("last#0") === 1);
    first.kill("SIGCONT");
    await until(logs.first, ({ stops, log }) => stops.length > 0 || log.callsOf("last#0") > 0);
    writeFileSync(done, "");
    await Promise.all([firstGone, secondGone]);
  } finally {
    first.kill("SIGKILL");
  }
  return { first: readStory(logs.first), second: readStory(logs.second) };
}

it("a holder that was stopped longer than its lease is refused when it goes on, and the run ends once (C6.4)", async () => {
  const { first, second } = await stalled("fenced", "sound");
  expect(first.stops).toEqual(["LEASE_LOST"]);
  // What it had begun it finished, but nothing of that was believed.
  expect([...first.acknowledged]).toEqual(["first#0"]);
  expect([...second.acknowledged]).toEqual(["long#0", "last#0"]);
  expect(second.log.callsOf("first#0")).toBe(0);
  expect([...first.ends, ...second.ends]).toEqual([expect.objectContaining({ status: "completed", output: "done" })]);
}, 30_000);

it("the same checks find a store without a fence: a second holder is not kept from writing (C6.4)", async () => {
  const { first, second } = await stalled("fenceless", "fenceless");
  const twice = [...first.acknowledged].filter((id) => second.acknowledged.has(id));
  expect([first.stops, twice]).not.toEqual([["LEASE_LOST"], []]);
  expect(twice).toContain("long#0");
}, 30_000);
