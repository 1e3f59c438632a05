import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { intactRecords, startOf } from "../../src/engine/records.ts";
import { SqliteStore } from "../../src/stores/sqlite.ts";
import { invocationKey } from "../../src/workflow/invocation-id.ts";
import { CallLog } from "../../src/testing/call-log.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));

/** What `run-worker.mjs` is asked to do. */
export interface Errand {
  /** The store file. */
  path: string;
  /** The file in which it says what it does. */
  log: string;
  runId: string;
  input: unknown;
  leaseMs: number;
  workflow: "thirty-nodes" | "stallable";
  store: "sound" | "forgets" | "fenceless";
}

/** Starts a child process on one of the workers beside this file. They run the built package, as users do. */
export function startWorker(file: string, argument: object, wrapper: readonly string[] = []): ChildProcess {
  const command = [...wrapper, process.execPath, join(HERE, file), JSON.stringify(argument)];
  return spawn(command[0]!, command.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
}

/** Resolves when the child has said so on its standard output, or is gone. */
export function untilSaid(child: ChildProcess, word: string): Promise<void> {
  return new Promise((resolve) => {
    let said = "";
    child.stdout!.on("data", (data: Buffer) => {
      said += data.toString();
      if (said.includes(word)) resolve();
    });
    child.on("close", () => resolve());
  });
}

export function untilGone(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  return new Promise((resolve) => child.on("close", (code, signal) => resolve({ code, signal })));
}

/** What a run has said of itself, over all its lives. */
export interface Story {
  log: CallLog;
  /** Ends of invocations that were said to have happened. */
  acknowledged: Set<string>;
  /** How the run ended, each time that somebody said it did. */
  ends: unknown[];
  /** Codes of the errors with which processes stopped. */
  stops: string[];
}

export function readStory(path: string): Story {
  const story: Story = { log: new CallLog(), acknowledged: new Set(), ends: [], stops: [] };
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
  for (const line of lines.filter((text) => text !== "")) {
    const [what, subject] = JSON.parse(line) as [string, unknown];
    if (what === "called") story.log.called("run", subject as string);
    else if (what === "acknowledged") {
      story.log.acknowledged("run", subject as string);
      story.acknowledged.add(subject as string);
    } else if (what === "ended") story.ends.push(subject);
    else if (what === "stopped") story.stops.push(subject as string);
    else throw new Error(`The worker wrote a line that is not known: ${line}`);
  }
  return story;
}

/** The invocations that the stored journal of a run knows to have ended. */
export async function storedEnds(path: string, runId: string): Promise<Set<string>> {
  const store = new SqliteStore(path);
  try {
    const ends = new Set<string>();
    for (const { events } of intactRecords(await store.read(runId), startOf(runId, null))) {
      for (const event of events) {
        if (event.kind === "invocation_completed" || event.kind === "invocation_failed")
          ends.add(invocationKey(event.id));
      }
    }
    return ends;
  } finally {
    await store.close();
  }
}

/** Fails where the built package is not that of the sources: yesterday's build says nothing about today's code. */
export function expectFreshBuild(): void {
  const root = join(HERE, "..", "..");
  const built = join(root, "dist", "index.js");
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" });
  const newest = Math.max(
    ...sources.filter((file) => !file.endsWith(".test.ts")).map((file) => statSync(join(root, "src", file)).mtimeMs),
  );
  if (existsSync(built) && statSync(built).mtimeMs >= newest) return;
  throw new Error("This test runs the built package, and dist/ is older than src/. Run `npm run build` first.");
}
