import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { seededRandom } from "holdfast/policies";
import type { Account, Line } from "./account.ts";
import type { Job } from "./worker.ts";

/** When a worker is killed: so long after so many steps were acknowledged. */
export interface KillPoint {
  afterSteps: number;
  delayMs: number;
}

/** The environment variables of a worker, which tell it whom to ask. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Kills do not come after this share of the work, so that each finds something to interrupt. */
const KILLS_UNTIL = 0.9;
const LONGEST_DELAY_MS = 40;

const WORKER = fileURLToPath(new URL("worker.js", import.meta.url));

/** Points spread at random over work of so many steps, and by some milliseconds around them: any instant may be hit. */
export function killPoints(seed: number, count: number, steps: number): KillPoint[] {
  const random = seededRandom(seed);
  const points = Array.from({ length: count }, () => ({
    afterSteps: Math.floor(random() * steps * KILLS_UNTIL),
    delayMs: Math.floor(random() * LONGEST_DELAY_MS),
  }));
  return points.sort((one, other) => one.afterSteps - other.afterSteps);
}

/**
 * Carries a job out by workers that are killed with SIGKILL at the given points and started again each time, until one
 * finishes. Gives the number of kills. Throws what a worker says when it ends by itself with an error.
 */
export async function supervise(
  job: Job,
  environment: Environment,
  kills: readonly KillPoint[],
  account: Account,
  onLine: (kills: number) => void,
): Promise<number> {
  let killed = 0;
  while (await isKilled(job, environment, kills[killed], account, () => onLine(killed))) killed++;
  return killed;
}

/** One life of a worker. */
async function isKilled(
  job: Job,
  environment: Environment,
  kill: KillPoint | undefined,
  account: Account,
  onLine: () => void,
): Promise<boolean> {
  const worker = fork(WORKER, [JSON.stringify(job)], { env: environment, stdio: ["ignore", "pipe", "pipe", "ipc"] });
  let timer: ReturnType<typeof setTimeout> | undefined;
  let complaint = "";
  let begun = "";
  worker.stderr?.on("data", (text: Buffer) => (complaint = (complaint + text.toString("utf8")).slice(-4000)));
  worker.stdout?.setEncoding("utf8").on("data", (text: string) => {
    const lines = (begun + text).split("\n");
    // What a killed worker did not finish telling, it has not told.
    begun = lines.pop() ?? "";
    for (const line of lines) account.take(JSON.parse(line) as Line);
    if (kill !== undefined && account.steps >= kill.afterSteps)
      timer ??= setTimeout(() => worker.kill("SIGKILL"), kill.delayMs);
    onLine();
  });
  const [code, signal] = (await once(worker, "close")) as [number | null, string | null];
  clearTimeout(timer);
  if (signal === "SIGKILL" && timer !== undefined) return true;
  if (code !== 0) throw new Error(`A worker ended with ${signal ?? `exit code ${code}`}.\n${complaint}`);
  return false;
}
