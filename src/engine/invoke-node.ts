import { createHash } from "node:crypto";
import { utf8Bytes } from "../core/bytes.ts";
import { type Call, callFrom, type RetryInfo } from "../core/call.ts";
import {
  codeOf,
  ConfigError,
  HoldfastError,
  NodeCrashedError,
  type RetryExhaustedError,
  storedError,
} from "../core/errors.ts";
import { Handoff, type NodeContext } from "../core/node.ts";
import { checkId } from "../core/options.ts";
import type { EdgeDefinition, NodeDefinition } from "../workflow/definition.ts";
import { gatherInput, inputFrom } from "../workflow/mapping.ts";
import type { PlannedEdge, PlannedNode } from "../workflow/plan.ts";
import { type InvocationId, invocationIdOf, invocationKey, visitKey } from "../workflow/invocation-id.ts";
import type { Invocation, RunEvent } from "../workflow/run-state.ts";
import type { ActiveRun } from "./run.ts";
import { callNode, givenByWorkflow, isJudgedResult } from "./schemas.ts";

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
  if (run.journal.isNoted) await run.journal.load(workedOn(run, id));

  const attempt = async (call: Call): Promise<unknown> => {
    attempts++;
    if (!announced) await run.journal.record({ kind: "attempt_started", id, attempts, at: clock.wallNow() });
    announced = false;
    // A fresh input for each attempt, so that one that changed its input and failed leaves the next a whole one.
    return callNode(servingNode(run, id), inputOf(run, id), new InvocationContext(run, id, attempts, call));
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
    const { maxNodeInvocations } = run.plan.definition;
    if (run.journal.state.invocations.size > maxNodeInvocations)
      throw new HoldfastError(
        "TOO_MANY_INVOCATIONS",
        `The run has started more than ${maxNodeInvocations} invocations, and is taken for one that never ends. End its loop, or raise maxNodeInvocations of the workflow.`,
      );
    if (invocation.crashes > run.settings.maxCrashes)
      throw new NodeCrashedError(servingNode(run, id).id, invocation.crashes);
    if (invocation.status === "waiting")
      await clock.sleep(Math.max(0, invocation.retryAt - clock.wallNow()), run.scope.signal);
    const call = { signal: run.scope.signal, priorAttempts: failures, onRetry };
    const { policy } = run.guards.get(servingNode(run, id).id)!;
    const value = policy === null ? await attempt(callFrom(clock, call)) : await policy.execute(attempt, call);
    const said = value instanceof Handoff ? value.message : value;
    const { codec } = run.settings;
    let output = codec.encode(said, `the output of node "${servingNode(run, id).id}"`);
    const onward = value instanceof Handoff ? handoffTo(run, value.to) : nextOf(run, id, output);
    if (isJudgedResult(run.plan, id.node, onward))
      output = codec.encode(await givenByWorkflow(run.plan.definition, codec.decode(output)), "the output");
    reportLarge(run, id, output);
    return { kind: "invocation_completed", id, attempts, output, ...onward, at: clock.wallNow() };
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
function servingNode(run: ActiveRun, { node, backup }: InvocationId): NodeDefinition {
  return run.plan.nodes.get(backup ?? node)!.definition;
}

function handoffTo(run: ActiveRun, to: string): { handoff: string } {
  if (run.plan.nodes.has(to)) return { handoff: to };
  throw new ConfigError(`ctx.handoff("${to}", message) names no node of workflow "${run.plan.definition.id}".`);
}

/** Which successors the conditions of a node's edges choose; nothing where none has a condition, and all are. */
function nextOf(run: ActiveRun, { node }: InvocationId, output: string): { next?: readonly string[] } {
  const edges = run.plan.nodes.get(node)!.outbound.flatMap(({ definition }) => definition ?? []);
  if (edges.every(({ when }) => when === undefined)) return {};
  const taken = edges.filter(({ when }) => when === undefined || when(run.settings.codec.decode(output) as never));
  return { next: taken.map(({ to }) => to) };
}

/** The input of an invocation, decoded anew: nobody shares it. A backup gets what its primary got. */
export function inputOf(run: ActiveRun, id: InvocationId): unknown {
  const { codec } = run.settings;
  const { plan, readiness, journal } = run;
  const node = plan.nodes.get(id.node)!;
  const { by } = journal.state.invocations.get(invocationKey(id)) ?? {};
  const outputOf = (visit: string): unknown => codec.decode(readiness.servedBy(visit)!.output);
  if (by !== undefined) {
    const source = readiness.servedBy(by)!;
    if (source.handoff === id.node) return codec.decode(source.output);
    const edge = edgeFrom(plan.nodes.get(source.id.node)!, id.node);
    return edge === null ? codec.decode(source.output) : inputFrom(edge, codec.decode(source.output));
  }
  const edges = node.inbound.flatMap(({ definition }) => definition ?? []);
  if (edges.length === 0) return codec.decode(journal.state.input);
  const visits = sourcesOf(run, id);
  if (edges.length === 1) return inputFrom(edges[0]!, outputOf(visits[0]!));
  const visitOf = new Map(visits.map((visit) => [invocationIdOf(visit).node, visit]));
  return gatherInput(
    edges.filter((edge) => visitOf.has(edge.from)),
    (source) => outputOf(visitOf.get(source)!),
  );
}

/** The visits that the input of an invocation comes from. */
function sourcesOf({ plan, journal }: ActiveRun, id: InvocationId): readonly string[] {
  const { from, by } = journal.state.invocations.get(invocationKey(id)) ?? {};
  if (by !== undefined) return [by];
  const edges = plan.nodes.get(id.node)!.inbound.flatMap(({ definition }) => definition ?? []);
  return from ?? edges.map((edge) => visitKey({ node: edge.from, iteration: 0 }));
}

/** The invocations whose outputs an invocation works on, itself among them: it has made steps. */
function workedOn(run: ActiveRun, id: InvocationId): string[] {
  const served = sourcesOf(run, id).flatMap((visit) => run.readiness.servedBy(visit) ?? []);
  return [id, ...served.map((source) => source.id)].map(invocationKey);
}

function edgeFrom(source: PlannedNode, to: string): EdgeDefinition | null {
  return source.outbound.find((edge: PlannedEdge) => edge.to === to && edge.definition !== null)?.definition ?? null;
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
  readonly #stepped = new Set<string>();

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

  async step<T>(name: string, fn: () => T | PromiseLike<T>): Promise<T> {
    checkId("the name of a step", name);
    if (this.#stepped.has(name))
      throw new ConfigError(
        `Node "${this.nodeId}" has two steps called "${name}" in one attempt. Give each a name of its own, such as one with a number in it.`,
      );
    this.#stepped.add(name);
    const { journal, settings } = this.#run;
    const stored = journal.state.steps.get(invocationKey(this.#id))?.get(name);
    if (stored !== undefined) return settings.codec.decode(stored) as T;
    this.#call.signal.throwIfAborted();
    const output = settings.codec.encode(await fn(), `the output of step "${name}"`);
    // An attempt whose time is up, or whose run has stopped, must not write any more.
    this.#call.signal.throwIfAborted();
    const at = settings.runtime.clock.wallNow();
    await journal.record({ kind: "step_completed", id: this.#id, step: name, output, at });
    return settings.codec.decode(output) as T;
  }

  handoff(nodeId: string, message: unknown): Handoff {
    return new Handoff(nodeId, message);
  }

  progress(report: unknown): void {
    const { runId, nodeId, invocationId, workflowId } = this;
    this.#run.settings.runtime.events.emit?.("node.progress", { runId, workflowId, nodeId, invocationId, report });
  }
}
