import { type Call, callFrom, type RetryInfo } from "../core/call.ts";
import { NodeCrashedError, storedError } from "../core/errors.ts";
import type { NodeFunction } from "../core/node.ts";
import type { InvocationId } from "../workflow/invocation-id.ts";
import type { Invocation, OpenCircuit, RunEvent } from "../workflow/run-state.ts";
import { InvocationContext } from "./invocation-context.ts";
import { completion, expectInvocationsLeft, failure, type InvocationEnd, servingNode } from "./invocation-end.ts";
import { standsAround, unitOf } from "./node-budget.ts";
import { inputOf, workedOn } from "./node-input.ts";
import type { ActiveRun } from "./run.ts";
import { callNode } from "./schemas.ts";

/**
 * Carries one invocation out: gathers the input, goes through the node's policies into its function, encodes the
 * output. The only place that meets both a policy and a journal. Never rejects for a failing node: that is an end
 * like any other. Rejects where the input cannot be read back: then the run stops, and no node is blamed.
 *
 * `isNew` says that the journal has just recorded the first attempt as started, together with what came before it.
 */
export async function invokeNode(run: ActiveRun, invocation: Invocation, isNew: boolean): Promise<InvocationEnd> {
  const { id } = invocation;
  const { clock } = run.settings.runtime;
  const node = servingNode(run, id);
  let { attempts, failures } = invocation;
  // The start of the first attempt is in the journal before the attempt is made.
  let announced = isNew;
  if (isNew) attempts = 0;
  if (run.journal.isNoted) await run.journal.load(workedOn(run, id));
  const gathered = inputOf(run, id);
  const input = gathered instanceof Promise ? await gathered : gathered;

  const attempt = async (call: Call): Promise<unknown> => {
    attempts++;
    if (!announced) await run.journal.record({ kind: "attempt_started", id, attempts, at: clock.wallNow() });
    announced = false;
    // A fresh input for each attempt, so that one that changed its input and failed leaves the next a whole one.
    const called = (inner: Call): unknown => {
      const context = new InvocationContext(run, id, attempts, inner, { onSpent });
      return callNode(node, functionOf(run, id), input(), context);
    };
    const budget = run.budgets.of(node.id);
    if (budget === null || !standsAround(run.plan.definition.policies.get(node.id)!.budget!)) return called(call);
    return budget.execute(called, { signal: call.signal, deadlineMs: call.deadline - clock.now(), onSpent });
  };

  // In whole units, since the last event that told of it.
  let unsaid = 0;
  const onSpent = (amount: number): void => void (unsaid += Math.round(amount / unitOf(run.plan.definition, node.id)));
  const said = (): { spent?: number } => {
    const spent = unsaid;
    unsaid = 0;
    return spent === 0 ? {} : { spent };
  };

  const onRetry = ({ error, delayMs }: RetryInfo): void => {
    failures++;
    const retryAt = clock.wallNow() + delayMs;
    const failed: RunEvent = {
      kind: "attempt_failed",
      id,
      attempts,
      failures,
      error: storedError(error),
      retryDelayMs: delayMs,
      retryAt,
      ...said(),
      ...openCircuit(run, node.id),
    };
    announced = false;
    // A commit that fails stops the whole run by itself.
    run.journal.record(failed).catch(() => {});
  };

  try {
    expectInvocationsLeft(run);
    if (invocation.crashes > run.settings.maxCrashes) throw new NodeCrashedError(node.id, invocation.crashes);
    if (invocation.status === "waiting")
      await clock.sleep(Math.max(0, invocation.retryAt - clock.wallNow()), run.scope.signal);
    const call = { signal: run.scope.signal, priorAttempts: failures, onRetry };
    const { policy } = run.guards.get(node.id)!;
    const value = policy === null ? await attempt(callFrom(clock, call)) : await policy.execute(attempt, call);
    const ended = completion(run, id, attempts, value);
    const end = ended instanceof Promise ? await ended : ended;
    return unsaid === 0 ? end : { ...end, ...said() };
  } catch (error) {
    return { ...failure(run, id, attempts, error), ...said(), ...openCircuit(run, node.id) };
  }
}

/** What is called for a node. One that waits is never called. */
function functionOf(run: ActiveRun, id: InvocationId): NodeFunction<never> {
  const { run: work } = servingNode(run, id);
  if (typeof work === "function") return work;
  if (work.kind !== "workflow") throw new Error(`A node of the kind "${work.kind}" is not called.`);
  return (input, { signal }) => run.runInner(run, id, work.workflow, input, signal);
}

/** That the breaker of a node is open, for the journal: it is to stay so where another process takes the run up (C6.3). */
function openCircuit({ guards }: ActiveRun, nodeId: string): { circuit?: OpenCircuit } {
  const breaker = guards.get(nodeId)!.breaker;
  if (breaker?.state !== "OPEN") return {};
  const { nextAttemptAt, failureCount } = breaker.getState();
  return nextAttemptAt === null ? {} : { circuit: { until: nextAttemptAt, failures: failureCount } };
}

/** Opens the breakers of a run that is taken up for the rest of the time for which they were open. */
export function reopenCircuits({
  guards,
  journal,
  settings,
}: Pick<ActiveRun, "guards" | "journal" | "settings">): void {
  const now = settings.runtime.clock.wallNow();
  for (const [nodeId, { until, failures }] of journal.state.circuits)
    if (until > now) guards.get(nodeId)?.breaker?.reopen(until - now, failures);
}
