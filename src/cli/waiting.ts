import { systemClock } from "../core/clock.ts";
import type { RunState } from "../workflow/run-state.ts";
import { commandLine } from "./command-line.ts";
import { clean, duration, instant } from "./text.ts";

/** What a node waits for: an instant on the wall clock, or a signal until then. */
export interface Waiting {
  readonly name: string;
  readonly wakeAt: number | null;
  readonly signal: string | null;
}

/** The nodes of a run that wait for an instant or a signal. */
export function waitingIn({ invocations }: RunState): Waiting[] {
  return [...invocations.values()].flatMap((invocation) => {
    if (invocation.status !== "sleeping") return [];
    const { id, wakeAt, signal } = invocation;
    return [{ name: clean(id.backup ?? id.node), wakeAt, signal }];
  });
}

/** What a node waits for, in words that stay true. */
export function waitText({ wakeAt, signal }: Waiting): string {
  if (signal === null) return `waits until ${instant(wakeAt!)}`;
  return `waits for the signal ${clean(signal)}${wakeAt === null ? "" : `, until ${instant(wakeAt)} at most`}`;
}

/** The same while somebody looks on. */
export function waitCountdown({ wakeAt, signal }: Waiting, now: number = systemClock.wallNow()): string {
  const left = wakeAt === null ? "" : duration(wakeAt - now);
  if (signal === null) return `waits for another ${left}`;
  return `waits for the signal ${clean(signal)}${left === "" ? "" : `, for another ${left} at most`}`;
}

/** The command that gives a waiting run the signal it waits for, to be filled in and pasted into another terminal. */
export function signalCommand(runId: string, signal: string, store: readonly string[]): string {
  return `${commandLine("signal", runId, signal, ...store, "--payload")} JSON`;
}
