import { RunInUseError } from "../core/errors.ts";
import { validate } from "../core/schema.ts";
import { type Visit, visitKey } from "../workflow/invocation-id.ts";
import { isOpen } from "../workflow/run-state.ts";
import { servingNode } from "./invocation-end.ts";
import type { ActiveRun, EngineSettings, RunInner } from "./run.ts";
import type { RunResult } from "./run-result.ts";
import type { Runnable } from "./runnable.ts";

/** How long to wait before an inner run is asked for again that somebody else still holds. */
export const AGAIN_MS = 1000;

/** Begins the inner run, or takes it up where it has come to. */
type CarryOut = (outer: ActiveRun, runId: string, workflow: Runnable, input: string) => Promise<RunResult>;

/** Carries out runs of workflows that are nodes of others: each is a run of its own, named after the node's visit. */
export function innerRuns({ codec, runtime }: EngineSettings, carryOut: CarryOut): RunInner {
  return async (outer, visit, workflow, input, signal) => {
    const runId = innerRunId(outer.runId, visit);
    const { id, input: schema } = workflow.definition;
    const taken = schema === undefined ? input : await validate(schema, input, `the input of workflow "${id}"`);
    const encoded = codec.encode(taken, "the input");
    for (;;) {
      signal.throwIfAborted();
      try {
        const result = await unlessAborted(signal, carryOut(outer, runId, workflow, encoded));
        if (result.error !== undefined) throw result.error;
        return result.output;
      } catch (error) {
        // Whoever carried the outer run out before may still have a lease of the inner one.
        if (!(error instanceof RunInUseError)) throw error;
        await runtime.clock.sleep(error.retryAfterMs ?? AGAIN_MS, signal);
      }
    }
  };
}

/**
 * Cancels the inner runs of a run that is cancelled, before it ends itself: also those that an earlier life has begun,
 * which nobody would ever take up again.
 */
export async function cancelInnerRuns(run: ActiveRun, reason: unknown): Promise<void> {
  for (const invocation of run.journal.state.invocations.values()) {
    const { run: work } = servingNode(run, invocation.id);
    if (isOpen(invocation) && typeof work === "object" && work.kind === "workflow")
      await run.cancelInner(innerRunId(run.runId, invocation.id), work.workflow, reason);
  }
}

function innerRunId(outer: string, { node, iteration }: Visit): string {
  return `${outer}/${visitKey({ node, iteration })}`;
}

/** The value of a promise, unless the signal aborts first. What the promise comes to then is nobody's concern here. */
async function unlessAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
