import { type Call, callFrom } from "../core/call.ts";
import { type StoredError, storedError } from "../core/errors.ts";
import type { Compensation } from "../workflow/definition.ts";
import type { CompletedInvocation } from "../workflow/run-state.ts";
import { InvocationContext } from "./invocation-context.ts";
import { servingNode } from "./invocation-end.ts";
import { type ActiveRun, orStop } from "./run.ts";

/**
 * Undoes what a cancelled run has done, newest first and one after the other, and ends the run (C5.9). Each is recorded
 * when it has been undone, so that a restart goes on with the rest; one that was under way is undone again, with the
 * same idempotency key. One that cannot be undone is recorded with its error, and the others are undone all the same.
 */
export async function compensate(run: ActiveRun): Promise<void> {
  const { journal, settings } = run;
  const { state } = journal;
  const { clock } = settings.runtime;
  const stop = new AbortController();
  const onBroken = journal.onBroken;
  journal.onBroken = (error) => {
    stop.abort(error);
    onBroken(error);
  };
  await journal.load(state.ended);
  for (const key of [...state.ended].reverse()) {
    const invocation = state.invocations.get(key)!;
    if (invocation.status !== "completed" || state.compensated.has(key)) continue;
    const node = servingNode(run, invocation.id);
    if (node.compensate === undefined) continue;
    let error: StoredError | undefined;
    try {
      await undo(run, invocation, node.compensate, stop.signal);
    } catch (caught) {
      if (stop.signal.aborted) throw stop.signal.reason;
      error = storedError(caught);
    }
    await journal.record({ kind: "compensated", id: invocation.id, ...(error && { error }), at: clock.wallNow() });
  }
  await journal.record({ kind: "run_cancelled", reason: state.cancelReason!, at: clock.wallNow() });
}

/** Under the policies of the node, whose attempts it may need as much as the node itself. */
async function undo(
  run: ActiveRun,
  { id, output }: CompletedInvocation,
  compensation: Compensation,
  signal: AbortSignal,
): Promise<unknown> {
  const { codec, values, runtime } = run.settings;
  const encoded = await orStop(run, values.load(output));
  let attempts = 0;
  const attempt = async (call: Call): Promise<unknown> =>
    compensation(codec.decode(encoded) as never, new InvocationContext(run, id, ++attempts, call, { undoes: true }));
  const { policy } = run.guards.get(id.backup ?? id.node)!;
  return policy === null ? attempt(callFrom(runtime.clock, { signal })) : policy.execute(attempt, { signal });
}
