import { RunInUseError } from "../core/errors.ts";
import { validate } from "../core/schema.ts";
import { visitKey } from "../workflow/invocation-id.ts";
import type { ActiveRun, EngineSettings, RunInner } from "./run.ts";
import type { RunResult } from "./run-result.ts";
import type { Runnable } from "./runnable.ts";

/** How long to wait before an inner run is asked for again that somebody else still holds. */
const AGAIN_MS = 1000;

/** Begins the inner run, or takes it up where it has come to. */
type CarryOut = (outer: ActiveRun, runId: string, workflow: Runnable, input: string) => Promise<RunResult>;

/** Carries out runs of workflows that are nodes of others: each is a run of its own, named after the node's visit. */
export function innerRuns({ codec, runtime }: EngineSettings, carryOut: CarryOut): RunInner {
  return async (outer, { node, iteration }, workflow, input, signal) => {
    const runId = `${outer.runId}/${visitKey({ node, iteration })}`;
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
