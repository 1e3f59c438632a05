import { ConfigError } from "../core/errors.ts";
import { show } from "../core/options.ts";
import { visitKey } from "../workflow/invocation-id.ts";
import type { Plan } from "../workflow/plan.ts";
import type { Fork, Invocation, RunEvent, RunState } from "../workflow/run-state.ts";

/** What a new run takes over from an old one. */
export interface ForkErrand extends Fork {
  /** Ends of invocations that stay done, in the order in which they ended. */
  readonly kept: readonly Invocation[];
}

/** What stays done where an old run is taken up again from a node, as a new run: what does not follow from that node. */
export function forkOf(
  runId: string,
  plan: Plan,
  state: RunState,
  node: string,
  input: string | undefined,
): ForkErrand {
  if (!plan.nodes.has(node)) {
    const known = [...plan.nodes.keys()].map(show).join(", ");
    throw new ConfigError(`Run "${runId}" cannot be forked from ${show(node)}, which is no node. There are: ${known}.`);
  }
  const redone = nodesFrom(plan, node);
  // A visit that nobody served is tried again, and so is what has not ended.
  const served = new Set<string>();
  for (const { id, status } of state.invocations.values()) if (status === "completed") served.add(visitKey(id));
  const kept = [...state.ended]
    .map((key) => state.invocations.get(key)!)
    .filter(({ id }) => plan.nodes.has(id.node) && !redone.has(id.node) && served.has(visitKey(id)));
  return { runId, node, kept, ...(input !== undefined && { input }) };
}

/** The events with which what is kept enters the journal of the new run. */
export function eventsOfFork({ kept }: ForkErrand): RunEvent[] {
  return kept.flatMap((invocation): RunEvent[] => {
    const { id, from, by, attempts, startedAt: at } = invocation;
    const started: RunEvent = { kind: "invocation_started", id, ...(from && { from }), ...(by && { by }), at };
    if (invocation.status === "failed")
      return [started, { kind: "invocation_failed", id, attempts, error: invocation.error, at: invocation.endedAt }];
    if (invocation.status !== "completed") return [];
    const { output, next, handoff, endedAt } = invocation;
    const onward = { ...(next && { next }), ...(handoff !== undefined && { handoff }) };
    return [started, { kind: "invocation_completed", id, attempts, output, ...onward, at: endedAt }];
  });
}

function nodesFrom(plan: Plan, start: string): Set<string> {
  const found = new Set([start]);
  for (const id of found) for (const { to } of plan.nodes.get(id)!.outbound) found.add(to);
  return found;
}
