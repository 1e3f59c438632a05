import { ConfigError } from "../core/errors.ts";
import { Pipeline } from "../core/pipeline.ts";
import type { Policy } from "../core/policy.ts";
import type { Runtime } from "../core/runtime.ts";
import { Budget } from "../policies/budget.ts";
import type { BudgetOptions } from "../policies/budget-options.ts";
import { Bulkhead, type BulkheadOptions } from "../policies/bulkhead.ts";
import { CircuitBreaker } from "../policies/circuit-breaker.ts";
import { namedBreakers } from "../policies/named-breakers.ts";
import { RateLimiter } from "../policies/rate-limiter.ts";
import type { RateLimiterOptions } from "../policies/rate-limits.ts";
import { RetryPolicy } from "../policies/retry.ts";
import { Timeout, type TimeoutOptions } from "../policies/timeout.ts";
import type { NodePolicies } from "../workflow/definition.ts";
import type { Plan } from "../workflow/plan.ts";

/** What guards the calls of one node, shared by all runs of its workflow in this engine. */
export interface NodeGuards {
  /** The node's policies in the standard order; null where it has none. */
  readonly policy: Policy | null;
  readonly breaker: CircuitBreaker | null;
}

/** Builds the policies of every node once. Throws `ConfigError` for options that no policy takes. */
export function nodeGuards(plan: Plan, runtime: Runtime): ReadonlyMap<string, NodeGuards> {
  const { id: workflowId, policies } = plan.definition;
  const guards = new Map<string, NodeGuards>();
  for (const id of plan.nodes.keys()) {
    try {
      guards.set(id, guardsOf(`${workflowId}/${id}`, policies.get(id) ?? {}, runtime));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      throw new ConfigError(`Node "${id}" of workflow "${workflowId}": ${error.message}`, { cause: error });
    }
  }
  return guards;
}

function guardsOf(name: string, options: NodePolicies, runtime: Runtime): NodeGuards {
  const { retry, circuitBreaker, timeout, rateLimit, bulkhead, budget } = options;
  const breaker = circuitBreaker === undefined ? null : new CircuitBreaker({ name, ...circuitBreaker }, runtime);
  // Known by its name, but no one's but its workflow's: another workflow of that id in the process has its own (C10.10).
  if (breaker !== null) namedBreakers(runtime).set(name, breaker);
  const { totalTimeoutMs, ...ofAttempt }: TimeoutOptions = timeout ?? {};
  const policies: (Policy | null)[] = [
    totalTimeoutMs === undefined ? null : new Timeout({ name, totalTimeoutMs }, runtime),
    retry === undefined ? null : new RetryPolicy({ name, ...retry }, runtime),
    breaker,
    rateLimit === undefined ? null : new RateLimiter({ name, ...(rateLimit as RateLimiterOptions) }, runtime),
    budget === undefined ? null : sharedBudget(name, budget as BudgetOptions, runtime),
    bulkhead === undefined ? null : new Bulkhead({ name, ...(bulkhead as BulkheadOptions) }, runtime),
    ofAttempt.attemptTimeoutMs === undefined && totalTimeoutMs !== undefined
      ? null
      : timeout === undefined
        ? null
        : new Timeout({ name, ...ofAttempt }, runtime),
  ];
  const present = policies.filter((policy) => policy !== null);
  return { policy: present.length === 0 ? null : new Pipeline(present, runtime), breaker };
}

/** A budget that all runs share, in this process and others. One without a shared state is that of a run. */
function sharedBudget(name: string, options: BudgetOptions, runtime: Runtime): Budget | null {
  // Made in any case, so that a wrong option is found when the workflow is first used.
  const budget = new Budget({ name, ...options }, runtime);
  return options.sharedState === undefined ? null : budget;
}
