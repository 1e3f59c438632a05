import type { Clock } from "../core/clock.ts";
import { ConfigError } from "../core/errors.ts";
import { checkOptions, durationMs, either, type Rule, type Rules, show } from "../core/options.ts";
import type { RunResult } from "./run-result.ts";

export interface CloseOptions {
  /** How long the runs that are under way may go on to their end before they are stopped. @default 0 */
  drainMs?: number | undefined;
}

/** What became of the runs that were under way when an engine was closed. */
export interface CloseReport {
  /** Runs that have ended. */
  finished: string[];
  /** Runs that were stopped, or had not had their turn. Their leases are given back, and anyone can recover them. */
  left: string[];
}

/** A run that is under way while its engine closes. */
export interface ClosingRun {
  readonly runId: string;
  readonly result: Promise<RunResult>;
  /** Whether its start is stored, so that it can be recovered. */
  readonly isStored: boolean;
  stop(): void;
}

/** What closing needs of an engine. */
export interface ClosingPort {
  readonly clock: Clock;
  /** Takes nothing on any more, at once. Gives the runs that are under way; `quiet` is when no schedule starts more. */
  refuse(): { runs: readonly ClosingRun[]; quiet: Promise<void> };
  /** Lets go of everything, the store last. */
  end(): Promise<void>;
}

/** Signals that ask a process to end. */
export type ShutdownSignal = "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGQUIT";

const SIGNALS: readonly string[] = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] satisfies ShutdownSignal[];

const forEver: Rule = { says: "Infinity", allows: (value) => value === Infinity };

const RULES: Rules<CloseOptions> = { drainMs: either(durationMs, forEver) };

/** The code of a process that ends while runs remain: "try again later", in the words of sysexits.h. */
const RUNS_REMAIN = 75;

const CLOSING_FAILED = 1;

/** Closes an engine once, however often and from wherever it is asked to. */
export class Closing {
  readonly #port: ClosingPort;
  #report: Promise<CloseReport> | null = null;
  #hurry: () => void = () => {};
  readonly #hurried: Promise<void> = new Promise((resolve) => (this.#hurry = resolve));

  constructor(port: ClosingPort) {
    this.#port = port;
  }

  /** While it drains, being asked again without any time to drain stops what is left. */
  async close(options: CloseOptions): Promise<CloseReport> {
    const { drainMs = 0 } = checkOptions("engine.close", options, RULES);
    if (drainMs === 0) this.#hurry();
    return (this.#report ??= this.#close(drainMs));
  }

  /** Closes it at a signal and ends the process; the returned function ends that. */
  closeOn(signals: readonly ShutdownSignal[], options: CloseOptions): () => void {
    checkOptions("engine.shutdownOn", options, RULES);
    for (const signal of signals)
      if (!SIGNALS.includes(signal))
        throw new ConfigError(`engine.shutdownOn takes some of ${SIGNALS.join(", ")}, got ${show(signal)}.`);
    let asked = 0;
    const listener = (): void => {
      asked++;
      // Whoever asks a third time does not want to wait for a store either.
      if (asked > 2) return process.exit(RUNS_REMAIN);
      void this.close(asked === 1 ? options : {}).then(
        ({ left }) => exitWith(left.length === 0 ? 0 : RUNS_REMAIN),
        () => exitWith(CLOSING_FAILED),
      );
    };
    closers.add(listener);
    for (const signal of signals) process.on(signal, listener);
    return () => {
      closers.delete(listener);
      for (const signal of signals) process.off(signal, listener);
    };

    function exitWith(code: number): void {
      closers.delete(listener);
      worst = Math.max(worst, code);
      if (closers.size === 0) process.exit(worst);
    }
  }

  async #close(drainMs: number): Promise<CloseReport> {
    const { clock } = this.#port;
    const { runs, quiet } = this.#port.refuse();
    const report: CloseReport = { finished: [], left: [] };
    const open = new Set(runs);
    const ended = Promise.all(
      runs.map(async (run) => {
        try {
          await run.result;
          report.finished.push(run.runId);
        } catch {
          if (run.isStored) report.left.push(run.runId);
        }
        open.delete(run);
      }),
    );
    // At once, so that what is being stored at this moment starts nothing.
    if (drainMs === 0) for (const run of open) run.stop();
    const timer = drainMs === Infinity ? null : clock.timer(drainMs, this.#hurry);
    await quiet;
    await Promise.race([ended, this.#hurried]);
    timer?.cancel();
    for (const run of open) run.stop();
    await ended;
    await this.#port.end();
    return report;
  }
}

/** Engines of this process that close at a signal: the last one to be closed ends it, with the worst of their codes. */
const closers = new Set<() => void>();
let worst = 0;
