import { type InvocationId, invocationKey, type Visit } from "./invocation-id.ts";
import type { CompletedInvocation, Invocation, RunEvent, RunState } from "./run-state.ts";

/** Carries the state of a run over to another version of its workflow: under new ids, without what is forgotten. */
export function migrate(
  state: RunState,
  { rename, forget, outputs }: Extract<RunEvent, { kind: "run_migrated" }>,
): void {
  const forgotten = new Set(forget);
  const named = (node: string): string => (Object.hasOwn(rename, node) ? rename[node]! : node);
  const kept = (visit: Visit & { backup?: string | undefined }): InvocationId => {
    const id = { node: named(visit.node), iteration: visit.iteration };
    return visit.backup === undefined ? id : { ...id, backup: named(visit.backup) };
  };
  const moved = new Map<string, string>();
  const invocations = new Map<string, Invocation>();
  for (const [key, invocation] of state.invocations) {
    if (forgotten.has(invocation.id.node)) continue;
    const id = kept(invocation.id);
    const now = invocationKey(id);
    moved.set(key, now);
    invocations.set(now, { ...invocation, id });
  }
  const movedVisits = (keys: readonly string[]): string[] => keys.map((key) => moved.get(key) ?? key);
  for (const [key, invocation] of invocations) {
    const { from, by } = invocation;
    if (from !== undefined) Object.assign(invocation, { from: movedVisits(from) });
    if (by !== undefined) Object.assign(invocation, { by: moved.get(by) ?? by });
    const { next, handoff } = invocation as Partial<CompletedInvocation>;
    if (next !== undefined) Object.assign(invocation, { next: next.map(named) });
    if (handoff !== undefined) Object.assign(invocation, { handoff: named(handoff) });
    if (Object.hasOwn(outputs, key)) Object.assign(invocation, { output: outputs[key] });
  }
  const present = (keys: Iterable<string>): string[] => [...keys].flatMap((key) => moved.get(key) ?? []);
  state.circuits = new Map([...state.circuits].map(([node, circuit]) => [named(node), circuit]));
  state.spent = new Map([...state.spent].map(([node, amount]) => [named(node), amount]));
  state.ended = new Set(present(state.ended));
  state.redriven = new Set(present(state.redriven));
  state.steps = new Map([...state.steps].flatMap(([key, steps]) => (moved.has(key) ? [[moved.get(key)!, steps]] : [])));
  state.invocations = invocations;
}
