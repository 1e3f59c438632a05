import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { expectFreshBuild, startWorker, untilGone } from "./worker.ts";

const PROBE_TIMEOUT_MS = 600;
const KILLS = 3;

let folder: string;
beforeAll(() => {
  expectFreshBuild();
  folder = mkdtempSync(join(tmpdir(), "holdfast-breaker-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Line {
  who: string;
  what: string;
  at: number;
}

/** What the processes have written into their one log, in the order in which they did. */
function linesOf(log: string): Line[] {
  const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n") : [];
  return lines
    .filter((line) => line !== "")
    .map((line) => {
      const [who, what, at] = JSON.parse(line) as [string, string, number];
      return { who, what, at };
    });
}

async function until(log: string, isTold: (lines: Line[]) => boolean): Promise<void> {
  for (let i = 0; i < 4000; i++) {
    if (isTold(linesOf(log))) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`What was waited for has not come: ${JSON.stringify(linesOf(log).slice(-12))}`);
}

it("processes share a breaker: one probe at a time over all of them, and the place of one that was killed comes back (C2.2, C2.9)", async () => {
  const log = join(folder, "log");
  const [well, done] = [join(folder, "well"), join(folder, "done")];
  const options = {
    ...{ failureThreshold: 3, successThreshold: 1, recoveryTimeoutMs: 20 },
    ...{ probeTimeoutMs: PROBE_TIMEOUT_MS, syncMs: 10 },
  };
  const start = (who: string, probeMs: number): ChildProcess =>
    startWorker("breaker-worker.mjs", { path: join(folder, "state.db"), log, well, done, who, probeMs, options });
  const steady = ["one", "two"].map((who) => start(who, 5));
  const gone = steady.map(untilGone);
  const victims: ChildProcess[] = [];
  try {
    for (let kill = 1; kill <= KILLS; kill++) {
      const who = `victim ${kill}`;
      const victim = start(who, 100);
      victims.push(victim);
      const victimGone = untilGone(victim);
      await until(log, (lines) => lines.at(-1)?.who === who && lines.at(-1)?.what === "begins");
      victim.kill("SIGKILL");
      expect((await victimGone).signal).toBe("SIGKILL");
      const killed = linesOf(log).length;
      await until(log, (lines) => ["one", "two"].every((one) => seen(lines.slice(killed), one, "begins")));
    }
    const ill = linesOf(log).length;
    writeFileSync(well, "");
    await until(log, (lines) => ["one", "two"].every((one) => seen(lines.slice(ill), one, "CLOSED")));
    writeFileSync(done, "");
    expect(await Promise.all(gone)).toEqual(steady.map(() => ({ code: 0, signal: null })));
  } finally {
    for (const child of [...steady, ...victims]) child.kill("SIGKILL");
  }

  const probes = linesOf(log).filter(({ what }) => what === "begins" || what === "ends");
  let lost = 0;
  for (const [i, { who, what, at }] of probes.entries()) {
    const next = probes[i + 1];
    if (what === "ends" || next === undefined) continue;
    if (next.what === "ends") expect(next.who).toBe(who);
    else {
      lost++;
      expect(who).toContain("victim");
      expect(next.at - at).toBeGreaterThanOrEqual(PROBE_TIMEOUT_MS - 5);
      expect(next.at - at).toBeLessThan(PROBE_TIMEOUT_MS + 2_000);
    }
  }
  expect(lost).toBe(KILLS);
  expect(probes.length).toBeGreaterThan(4 * KILLS);
}, 60_000);

function seen(lines: readonly Line[], who: string, what: string): boolean {
  return lines.some((line) => line.who === who && line.what === what);
}
