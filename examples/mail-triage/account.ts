import type { Triaged } from "./workflow.ts";

/** What a worker tells, a line of JSON each, written before it goes on: a line that was told survives the worker. */
export type Line =
  | { kind: "ready" }
  /** A step is about to be called, under this key. */
  | { kind: "called"; run: string; invocation: string; key: string }
  /** A step is acknowledged: the engine says that its result is in the journal. */
  | { kind: "done"; run: string; invocation: string }
  | { kind: "retried" }
  | { kind: "breaker"; to: string }
  | { kind: "dead"; run: string }
  /** An earlier worker died with this many steps of a run under way. */
  | { kind: "resumed"; interrupted: number }
  | { kind: "ended"; run: string; end: RunEnd };

/** How a run ended, by the engine's result. */
export interface RunEnd {
  /** Null where the run failed. */
  triaged: Triaged | null;
  degraded: boolean;
  /** The steps that are in the journal as completed. */
  completed: string[];
  /** Why it failed. */
  complaint: string | null;
}

/**
 * What all workers of a scenario together have told, and what contradicts it. An acknowledged step that is called
 * again is `repeated`; one that is missing in the end, and a result that is gone or has changed, is `lost`.
 */
export class Account {
  readonly #acknowledged = new Map<string, Set<string>>();
  readonly #ends = new Map<string, RunEnd>();
  readonly #callsUnder = new Map<string, number>();
  /** What of each run has changed after it was told. */
  readonly #changed = new Set<string>();
  readonly repeated: string[] = [];
  steps = 0;
  retries = 0;
  breakerOpenings = 0;
  breakerClosings = 0;
  deadLetters = 0;
  interrupted = 0;

  take(line: Line): void {
    switch (line.kind) {
      case "ready":
        break;
      case "called":
        this.#callsUnder.set(line.key, this.callsUnder(line.key) + 1);
        if (this.#acknowledged.get(line.run)?.has(line.invocation))
          this.repeated.push(`${line.run} ${line.invocation}`);
        break;
      case "done":
        this.#acknowledge(line.run, line.invocation);
        break;
      case "retried":
        this.retries++;
        break;
      case "breaker":
        if (line.to === "OPEN") this.breakerOpenings++;
        if (line.to === "CLOSED") this.breakerClosings++;
        break;
      case "dead":
        this.deadLetters++;
        break;
      case "resumed":
        this.interrupted += line.interrupted;
        break;
      case "ended":
        this.#end(line.run, line.end);
        break;
    }
  }

  get ends(): ReadonlyMap<string, RunEnd> {
    return this.#ends;
  }

  callsUnder(key: string): number {
    return this.#callsUnder.get(key) ?? 0;
  }

  /** Runs that ended without a result, and why. */
  get failed(): string[] {
    return [...this.#ends.values()].flatMap(({ triaged, complaint }) => (triaged === null ? [complaint ?? ""] : []));
  }

  /** What was told and is not there in the end; a run of which nothing is known in the end is lost as a whole. */
  lost(runs: readonly string[]): string[] {
    const lost = [...this.#changed];
    for (const run of runs) {
      const end = this.#ends.get(run);
      if (end === undefined) lost.push(run);
      for (const step of this.#acknowledged.get(run) ?? []) {
        if (!end?.completed.includes(step)) lost.push(`${run} ${step}`);
      }
    }
    return lost;
  }

  #acknowledge(run: string, invocation: string): void {
    const steps = this.#acknowledged.get(run) ?? new Set();
    if (!steps.has(invocation)) this.steps++;
    this.#acknowledged.set(run, steps.add(invocation));
  }

  // Every worker tells the end of every run. A run that failed may be redriven; one that has a result keeps it.
  #end(run: string, end: RunEnd): void {
    const before = this.#ends.get(run)?.triaged;
    if (before != null && JSON.stringify(before) !== JSON.stringify(end.triaged)) this.#changed.add(run);
    this.#ends.set(run, end);
  }
}
