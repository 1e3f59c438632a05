import type { BreakerSettings } from "./breaker-options.ts";
import { SLICES } from "./failure-window.ts";
import type { Batch, BatchPart } from "./shared-breaker.ts";

/** Calls that the record does not know of yet. Those of a window of time are kept by their time, no longer than it. */
export class CallBatch {
  /** Whether a success came after failures that the record has. */
  endsRow = false;
  /** Whether a call failed or was slow. */
  bad = false;
  #trailing = 0;
  readonly #parts: { since: number; calls: number; failures: number; slow: number }[] = [];

  add({ window }: BreakerSettings, failure: boolean, slow: boolean, now: number): void {
    if (failure || slow) this.bad = true;
    this.#trailing = failure ? this.#trailing + 1 : 0;
    let part = this.#parts.at(-1);
    if (part === undefined || (window.kind === "time" && now - part.since >= window.sizeMs / SLICES)) {
      part = { since: now, calls: 0, failures: 0, slow: 0 };
      if (this.#parts.push(part) > SLICES + 1) this.#parts.shift();
    }
    // More than a window of calls holds are not needed: what is bad is reported at once, so successes are what is many.
    if (window.kind !== "count" || part.calls < window.size) part.calls++;
    if (failure && part.failures < part.calls) part.failures++;
    if (slow && part.slow < part.calls) part.slow++;
  }

  report(instance: string, generation: number | null, ageMs: number, now: number): Batch {
    const parts = this.#parts.map(({ since, calls, failures, slow }): BatchPart => ({
      ageMs: now - since,
      calls,
      failures,
      slow,
    }));
    return { instance, generation, ageMs, endsRow: this.endsRow, trailing: this.#trailing, parts };
  }
}
