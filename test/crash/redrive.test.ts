import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { SqliteStore } from "../../src/stores/sqlite.ts";
import { expectFreshBuild, startWorker, untilGone } from "./worker.ts";

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-redrive-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

type Line = [who: string, what: string, runId: string];

function linesOf(log: string): Line[] {
  const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n") : [];
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Line);
}

async function until(log: string, isTold: (lines: Line[]) => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (isTold(linesOf(log))) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`What was waited for has not come: ${JSON.stringify(linesOf(log).slice(-12))}`);
}

const RUNS = 12;

it("two processes redrive a queue, one is killed in mid-redrive: each entry is redriven once, and what was paid stays paid (C6.1, C7.2)", async () => {
  const [path, log, down] = ["runs.db", "log", "down"].map((name) => join(folder, name));
  const start = (who: string, runs: number, workMs: number): ChildProcess =>
    startWorker("redrive-worker.mjs", { path, log, who, down, runs, workMs });
  writeFileSync(down!, "");
  expect(await untilGone(start("failing", RUNS, 0))).toEqual({ code: 0, signal: null });
  rmSync(down!);

  // The victim has two redrives under way, each of them stored as begun, and does not come to their end.
  const victim = start("victim", 0, 600_000);
  const children = [victim];
  try {
    const of = (lines: Line[], by: string): string[] =>
      lines.filter(([who, what]) => who === by && what === "work").map(([, , runId]) => runId);
    await until(log!, (lines) => of(lines, "victim").length === 2);
    // The heir passes these over and redrives the others, until the victim is killed.
    const heir = start("heir", 0, 20);
    children.push(heir);
    const gone = [victim, heir].map(untilGone);
    await until(log!, (lines) => of(lines, "heir").length === RUNS - 2);
    const held = of(linesOf(log!), "victim");
    expect(of(linesOf(log!), "heir").filter((runId) => held.includes(runId))).toEqual([]);
    victim.kill("SIGKILL");
    expect(await Promise.all(gone)).toEqual([
      { code: null, signal: "SIGKILL" },
      { code: 0, signal: null },
    ]);
    expect(of(linesOf(log!), "heir").slice(-2).toSorted()).toEqual(held.toSorted());
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }

  const lines = linesOf(log!);
  const runIds = Array.from({ length: RUNS }, (_, n) => `r${n}`);
  const callsOf = (wanted: string) =>
    runIds.map((id) => lines.filter(([, what, runId]) => what === wanted && runId === id).length);
  const once = runIds.map(() => 1);
  expect([callsOf("price"), callsOf("charge")]).toEqual([once, once]);
  expect(callsOf("send")).toEqual(once);

  const store = new SqliteStore(path!);
  try {
    const letters = await store.deadLetters();
    expect(letters.map(({ status, retryCount }) => [status, retryCount])).toEqual(runIds.map(() => ["succeeded", 1]));
    const rows = await store.list();
    expect(rows.map(({ status, owner }) => [status, owner])).toEqual(runIds.map(() => ["completed", null]));
  } finally {
    await store.close();
  }
}, 30_000);
