import { codeOf, HoldfastError } from "../core/errors.ts";
import { systemClock } from "../core/clock.ts";
import { onEvent } from "../core/runtime.ts";
import type { Store } from "../core/store.ts";
import type { Engine } from "../engine/engine.ts";
import { readHistory } from "../engine/history.ts";
import type { RunResult } from "../engine/run-result.ts";
import type { Plan } from "../workflow/plan.ts";
import { watch } from "./live.ts";
import { newProgress, type Progress } from "./progress.ts";
import type { StoreChoice } from "./store-choice.ts";
import type { Terminal } from "./terminal.ts";

/** How the carrying out of a run ended here: with a result, or because somebody interrupted it. */
export type Ending = { result: RunResult; hadEnded: boolean } | { interruptedBy: "SIGINT" | "SIGTERM" };

/** What a run is carried out with. */
export interface Place {
  terminal: Terminal;
  choice: StoreChoice;
  store: Store;
  engine: Engine;
}

/**
 * Carries out a run that `start` begins, shows how it goes, and at the first SIGINT or SIGTERM closes the engine, which
 * gives the lease back, so that anybody can resume the run.
 */
export async function carryOut(
  { terminal, choice, store, engine }: Place,
  plan: Plan,
  runId: string,
  start: () => Promise<RunResult>,
): Promise<Ending> {
  const progress = newProgress({
    runId,
    plan,
    history: await readHistory(store, runId),
    now: systemClock.wallNow(),
    store: choice.argument,
  });
  const watcher = await watch(terminal, progress);
  const { log } = terminal;
  terminal.log = watcher.log;
  let stopped: { by: "SIGINT" | "SIGTERM" | "dead end"; closing: Promise<unknown> } | undefined;
  const ends = [
    onEvent(watcher.onEvent),
    terminal.onInterrupt((by) => {
      watcher.log("Stopping the run, so that it can be resumed. Interrupt again to end at once.");
      stopped = { by, closing: engine.close() };
    }),
    terminal.onDeadEnd(() => (stopped = { by: "dead end", closing: engine.close() })),
  ];
  try {
    return { result: await start(), hadEnded: !progress.hasBegun };
  } catch (error) {
    if (stopped === undefined || !isLeft(error, progress)) throw error;
    await stopped.closing;
    if (stopped.by === "dead end") throw deadEndError(progress);
    return { interruptedBy: stopped.by };
  } finally {
    for (const end of ends) end();
    terminal.log = log;
    watcher.end();
  }
}

/** Whether a run that was stopped can be resumed. One that paused tells of its store where it was just trying that again. */
function isLeft(error: unknown, { hasBegun }: Progress): boolean {
  const code = codeOf(error);
  return code === "ENGINE_CLOSED" || (code === "STORE_UNAVAILABLE" && hasBegun);
}

/** For nodes that wait without anything to wake them. Node would end the process without a word. */
function deadEndError({ runId, rows }: Progress): HoldfastError {
  const names = [...rows.values()].map(({ name }) => name).join(", ");
  return new HoldfastError(
    "DEAD_END",
    `Run "${runId}" cannot go on: ${names} awaits something that nothing in this process is left to bring about. Mend the node, or give it a timeout, and resume the run.`,
  );
}
