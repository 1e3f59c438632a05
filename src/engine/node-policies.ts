import type { Policy } from "../core/policy.ts";
import { pipeline } from "../core/pipeline.ts";
import type { Runtime } from "../core/runtime.ts";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { Timeout } from "../policies/timeout.ts";
import type { Plan } from "../workflow/plan.ts";

/** What guards the calls of one node, shared by all runs of its workflow in this engine. */
export interface NodeGuards {
  /** The node's policies in the standard order; null where it has none. */
  readonly policy: Policy | null;
  readonly breaker: CircuitBreaker | null;
}

/** Builds the policies of every node once. Throws `ConfigError` for options that no policy takes. */
export function nodeGuards(plan: Plan, runtime: Runtime): ReadonlyMap<string, NodeGuards> {
  const guards = new Map<string, NodeGuards>();
  for (const [id, { definition }] of plan.nodes) {
    const name = `${plan.definition.id}/${id}`;
    const { retry, circuitBreaker, timeout } = definition.policies;
    const breaker = circuitBreaker === undefined ? null : new CircuitBreaker({ name, ...circuitBreaker }, runtime);
    const policies: (Policy | null)[] = [
      retry === undefined ? null : new RetryPolicy({ name, ...retry }, runtime),
      breaker,
      timeout === undefined ? null : new Timeout({ name, ...timeout }, runtime),
    ];
    const present = policies.filter((policy) => policy !== null);
    guards.set(id, { policy: present.length === 0 ? null : pipeline(...present), breaker });
  }
  return guards;
}
