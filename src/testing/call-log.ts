/**
 * What was called and what was acknowledged, in the order in which it happened, over all lives of a run: to see that
 * nothing acknowledged is done again (C6.1).
 */
export class CallLog {
  readonly #entries: { kind: "call" | "acknowledgement"; runId: string; invocationId: string }[] = [];

  /** The function of an invocation was called. */
  called(runId: string, invocationId: string): void {
    this.#entries.push({ kind: "call", runId, invocationId });
  }

  /** The invocation was said to have ended. */
  acknowledged(runId: string, invocationId: string): void {
    this.#entries.push({ kind: "acknowledgement", runId, invocationId });
  }

  /** How often an invocation was called, in all runs together. */
  callsOf(invocation: string): number {
    return this.#entries.filter((entry) => entry.kind === "call" && entry.invocationId === invocation).length;
  }

  /** One sentence for each call after an acknowledgement, and for each second acknowledgement. */
  violations(): string[] {
    const done = new Set<string>();
    const found: string[] = [];
    for (const { kind, runId, invocationId } of this.#entries) {
      const key = JSON.stringify([runId, invocationId]);
      if (done.has(key)) found.push(`${kind} of ${invocationId} in run ${runId} after it was acknowledged`);
      if (kind === "acknowledgement") done.add(key);
    }
    return found;
  }
}
