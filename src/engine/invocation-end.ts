import { utf8Bytes } from "../core/bytes.ts";
import { codeOf, ConfigError, HoldfastError, type RetryExhaustedError, storedError } from "../core/errors.ts";
import { Handoff } from "../core/node.ts";
import type { NodeDefinition } from "../workflow/definition.ts";
import type { InvocationId } from "../workflow/invocation-id.ts";
import type { RunEvent } from "../workflow/run-state.ts";
import { type ActiveRun, orStop } from "./run.ts";
import { givenByWorkflow, isJudgedResult } from "./schemas.ts";

/** How an invocation ends, as the event that says so. */
export type InvocationEnd = Extract<RunEvent, { kind: "invocation_completed" | "invocation_failed" }>;

/** A value above this is reported: journals are no place for large ones (C6.6). */
const LARGE_BYTES = 1024 * 1024;

/**
 * The end of an invocation that has given a value: at once, unless a schema or the blobs are waited for. Throws where it
 * cannot be stored, or a condition of an edge does. Where it is blobs in trouble that it cannot be stored in, the run
 * stops, and what is thrown is recorded nowhere.
 */
export function completion(
  run: ActiveRun,
  id: InvocationId,
  attempts: number,
  value: unknown,
): InvocationEnd | Promise<InvocationEnd> {
  const { codec } = run.settings;
  const said = value instanceof Handoff ? value.message : value;
  const what = `the output of node "${servingNode(run, id).id}"`;
  const encoded = codec.encode(said, what);
  const onward = value instanceof Handoff ? handoffTo(run, value.to) : nextOf(run, id, encoded);
  const ended = (text: string, name: string): InvocationEnd | Promise<InvocationEnd> => {
    reportLarge(run, id, text);
    const kept = run.settings.values.keep(text, name);
    const end = (output: string): InvocationEnd => {
      const at = run.settings.runtime.clock.wallNow();
      return { kind: "invocation_completed", id, attempts, output, ...onward, at };
    };
    return typeof kept === "string" ? end(kept) : orStop(run, kept).then(end);
  };
  if (!isJudgedResult(run.plan, id.node, onward)) return ended(encoded, what);
  const judged = givenByWorkflow(run.plan.definition, codec.decode(encoded));
  return judged.then((result) => ended(codec.encode(result, "the output"), "the output"));
}

export function failure(run: ActiveRun, id: InvocationId, attempts: number, error: unknown): InvocationEnd {
  // What the node met last says more than that the attempts are used up; `attempts` tells that.
  const last = codeOf(error) === "RETRY_EXHAUSTED" ? (error as RetryExhaustedError).lastError : error;
  const at = run.settings.runtime.clock.wallNow();
  return { kind: "invocation_failed", id, attempts, error: storedError(last), at };
}

/** Fails an invocation of a run that has started more than it may. */
export function expectInvocationsLeft({ plan, journal }: ActiveRun): void {
  const { maxNodeInvocations } = plan.definition;
  if (journal.state.invocations.size <= maxNodeInvocations) return;
  throw new HoldfastError(
    "TOO_MANY_INVOCATIONS",
    `The run has started more than ${maxNodeInvocations} invocations, and is taken for one that never ends. End its loop, or raise maxNodeInvocations of the workflow.`,
  );
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
export function servingNode(run: ActiveRun, { node, backup }: InvocationId): NodeDefinition {
  return run.plan.nodes.get(backup ?? node)!.definition;
}

function handoffTo(run: ActiveRun, to: string): { handoff: string } {
  if (run.plan.nodes.has(to)) return { handoff: to };
  throw new ConfigError(`ctx.handoff("${to}", message) names no node of workflow "${run.plan.definition.id}".`);
}

/** Which successors the conditions of a node's edges choose; nothing where none has a condition, and all are. */
function nextOf(run: ActiveRun, { node }: InvocationId, output: string): { next?: readonly string[] } {
  const { leads, isConditional } = run.plan.nodes.get(node)!;
  if (!isConditional) return ALL;
  const taken = leads.filter(({ when }) => when === undefined || when(run.settings.codec.decode(output) as never));
  return { next: taken.map(({ to }) => to) };
}

const ALL: { next?: readonly string[] } = {};
