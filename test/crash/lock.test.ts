import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { expectFreshBuild, startWorker, untilGone } from "./worker.ts";

const LEASE_MS = 400;

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-lock-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Line {
  who: string;
  what: "begins" | "ends" | "lost";
  token: number;
}

/** What the processes have written into their one log, in the order in which they did. */
function linesOf(log: string): Line[] {
  const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n") : [];
  return lines
    .filter((line) => line !== "")
    .map((line) => {
      const [who, what, token] = JSON.parse(line) as [string, Line["what"], number];
      return { who, what, token };
    });
}

async function until(log: string, isTold: (lines: Line[]) => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (isTold(linesOf(log))) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`What was waited for has not come: ${JSON.stringify(linesOf(log).slice(-12))}`);
}

it("processes share a lock: one that was stopped finds it lost, one that was killed is followed by another (C3.3)", async () => {
  const log = join(folder, "log");
  const done = join(folder, "done");
  const start = (who: string, holdMs: number): ChildProcess =>
    startWorker("lock-worker.mjs", { path: join(folder, "state.db"), log, done, who, leaseMs: LEASE_MS, holdMs });
  const stopped = start("stopped", 100);
  const killed = start("killed", 60);
  const steady = start("steady", 20);
  const gone = [stopped, killed, steady].map(untilGone);
  try {
    await until(log, (lines) => new Set(lines.map(({ who }) => who)).size === 3);
    // Stopped while it holds the lock, for longer than its lease, until somebody else has it.
    const begun = linesOf(log).length;
    await until(
      log,
      (lines) => lines.length > begun && lines.at(-1)?.who === "stopped" && lines.at(-1)?.what === "begins",
    );
    stopped.kill("SIGSTOP");
    const { token } = linesOf(log).findLast(({ who }) => who === "stopped")!;
    await until(log, (lines) => lines.at(-1)!.token > token);
    stopped.kill("SIGCONT");
    await until(log, (lines) => lines.some(({ who, what }) => who === "stopped" && what === "lost"));
    // Killed while it holds the lock.
    const before = linesOf(log).length;
    await until(
      log,
      (lines) => lines.length > before && lines.at(-1)?.who === "killed" && lines.at(-1)?.what === "begins",
    );
    killed.kill("SIGKILL");
    const seen = linesOf(log).length;
    await until(log, (lines) => lines.slice(seen).filter(({ what }) => what === "ends").length >= 4);
  } finally {
    writeFileSync(done, "");
    stopped.kill("SIGCONT");
  }
  expect((await Promise.all(gone)).map(({ code, signal }) => code ?? signal)).toEqual([0, "SIGKILL", 0]);
  const lines = linesOf(log);
  const begins = lines.filter(({ what }) => what === "begins").map((line) => line.token);
  expect(begins).toEqual([...new Set(begins)].sort((a, b) => a - b));
  // Between a beginning and its end nobody else begins or ends: those that have no end were lost, or killed.
  for (const [i, { who, what, token }] of lines.entries()) {
    if (what !== "ends") continue;
    const previous = lines.slice(0, i).findLast((line) => line.what !== "lost");
    expect(previous).toEqual({ who, what: "begins", token });
  }
}, 60_000);
