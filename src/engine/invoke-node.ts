import { createHash } from "node:crypto";
import { utf8Bytes } from "../core/bytes.ts";
import { type Call, callFrom, type RetryInfo } from "../core/call.ts";
import { codeOf, NodeCrashedError, type RetryExhaustedError, storedError } from "../core/errors.ts";
import type { NodeContext, NodeFunction } from "../core/node.ts";
import { gatherInput } from "../workflow/mapping.ts";
import { type Invocation, type InvocationId, invocationKey, type RunEvent } from "../workflow/run-state.ts";
import type { ActiveRun } from "./run.ts";

/** How an invocation ends, as the event that says so. */
export type InvocationEnd = Extract<RunEvent, { kind: "invocation_completed" | "invocation_failed" }>;

/** A value above this is reported: journals are no place for large ones (C6.6). */
const LARGE_BYTES = 1024 * 1024;

/**
 * Carries one invocation out: gathers the input, goes through the node's policies into its function, encodes the
 * output. The only place that meets both a policy and a journal. Never rejects for a failing node: that is an end
 * like any other.
 *
 * `isNew` says that the journal has just recorded the first attempt as started, together with what came before it.
 */
export async function invokeNode(run: ActiveRun, invocation: Invocation, isNew: boolean): Promise<InvocationEnd> {
  const { id } = invocation;
  const { clock } = run.settings.runtime;
  let { attempts, failures } = invocation;
  // The start of the first attempt is in the journal before the attempt is made.
  let announced = isNew;
  if (isNew) attempts = 0;

  const attempt = async (call: Call): Promise<unknown> => {
    attempts++;
    if (!announced) await run.journal.record({ kind: "attempt_started", id, attempts, at: clock.wallNow() });
    announced = false;
    // A fresh input for each attempt, so that one that changed its input and failed leaves the next a whole one.
    return servingNode(run, id).run(inputOf(run, id) as never, new InvocationContext(run, id, attempts, call));
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
    };
    announced = false;
    // A commit that fails stops the whole run by itself.
    run.journal.record(failed).catch(() => {});
  };

  try {
    if (invocation.crashes > run.settings.maxCrashes)
      throw new NodeCrashedError(servingNode(run, id).id, invocation.crashes);
    if (invocation.status === "waiting")
      await clock.sleep(Math.max(0, invocation.retryAt - clock.wallNow()), run.scope.signal);
    const call = { signal: run.scope.signal, priorAttempts: failures, onRetry };
    const { policy } = run.guards.get(servingNode(run, id).id)!;
    const value = policy === null ? await attempt(callFrom(clock, call)) : await policy.execute(attempt, call);
    const output = run.settings.codec.encode(value, `the output of node "${servingNode(run, id).id}"`);
    reportLarge(run, id, output);
    return { kind: "invocation_completed", id, attempts, output, at: clock.wallNow() };
  } catch (error) {
    // What the node met last says more than that the attempts are used up; `attempts` tells that.
    const last = codeOf(error) === "RETRY_EXHAUSTED" ? (error as RetryExhaustedError).lastError : error;
    return { kind: "invocation_failed", id, attempts, error: storedError(last), at: clock.wallNow() };
  }
}

/** Characters are at most three bytes long, so that bytes need not be counted for an output that is not large anyway. */
function reportLarge(run: ActiveRun, { node: nodeId }: InvocationId, output: string): void {
  const { events } = run.settings.runtime;
  if (events.emit === null || output.length * 3 <= LARGE_BYTES) return;
  const bytes = utf8Bytes(output).length;
  const { workflowId } = run.journal.state;
  if (bytes > LARGE_BYTES) events.emit("value.large", { runId: run.runId, workflowId, nodeId, bytes });
}

/** The node whose function runs: the node itself, or the backup that stands in for it. */
function servingNode(run: ActiveRun, { node, backup }: InvocationId): { id: string; run: NodeFunction<never> } {
  return run.plan.nodes.get(backup ?? node)!.definition;
}

/** The input of an invocation, decoded anew: nobody shares it. A backup gets what its primary got. */
export function inputOf(run: ActiveRun, { node }: InvocationId): unknown {
  const { inbound } = run.plan.nodes.get(node)!;
  const { codec } = run.settings;
  if (inbound.length === 0) return codec.decode(run.journal.state.input);
  return gatherInput(inbound, (from) => codec.decode(run.readiness.servedBy(from)!.output));
}

/**
 * The idempotency key of a node visit: a hash of run, node and iteration, not of the attempt nor of who serves, so that
 * it is the same after a retry, a crash, a takeover and a redrive (C6.1).
 */
export function idempotencyKey(runId: string, { node, iteration }: InvocationId): string {
  return createHash("sha256")
    .update(JSON.stringify([runId, node, iteration]))
    .digest("hex");
}

class InvocationContext implements NodeContext {
  readonly #run: ActiveRun;
  readonly #id: InvocationId;
  readonly #call: Call;
  readonly attempt: number;

  constructor(run: ActiveRun, id: InvocationId, attempt: number, call: Call) {
    this.#run = run;
    this.#id = id;
    this.attempt = attempt;
    this.#call = call;
  }

  get runId(): string {
    return this.#run.runId;
  }

  get workflowId(): string {
    return this.#run.plan.definition.id;
  }

  get nodeId(): string {
    return this.#id.backup ?? this.#id.node;
  }

  get invocationId(): string {
    return invocationKey(this.#id);
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get deadline(): number {
    return this.#call.deadline;
  }

  get idempotencyKey(): string {
    return idempotencyKey(this.#run.runId, this.#id);
  }

  get fencingToken(): number {
    return this.#run.journal.token;
  }
}
