import { ConfigError } from "../core/errors.ts";
import type { NodeBudget } from "../core/node.ts";
import { show } from "../core/options.ts";
import type { Runtime } from "../core/runtime.ts";
import { Budget } from "../policies/budget.ts";
import type { BudgetOptions } from "../policies/budget-options.ts";
import type { WorkflowDefinition } from "../workflow/definition.ts";
import type { RunState } from "../workflow/run-state.ts";

/** Nano-dollars in a dollar: money is journaled in whole ones, so that sums do not drift. */
const NANO = 1e9;

/** What one whole unit is worth that a journal counts for a node, in the unit in which its budget speaks. */
export function unitOf({ policies }: WorkflowDefinition, nodeId: string): number {
  const { limitTokens, limitCalls } = (policies.get(nodeId)?.budget ?? {}) as BudgetOptions;
  return limitTokens === undefined && limitCalls === undefined ? 1 / NANO : 1;
}

/** What an invocation has cost in dollars. Of a budget of tokens or calls nobody knows that. */
export function dollarsOf(definition: WorkflowDefinition, nodeId: string, spent: number): number {
  return unitOf(definition, nodeId) === 1 ? 0 : spent / NANO;
}

/**
 * The budgets of the nodes of one run: each bounds what all visits of its node spend together in that run. What the
 * journal knows to have been spent counts, so that a restart gives nobody new money (C6.3).
 */
export class RunBudgets {
  readonly #definition: WorkflowDefinition;
  readonly #state: RunState;
  readonly #runtime: Runtime;
  readonly #budgets = new Map<string, Budget | null>();

  constructor(definition: WorkflowDefinition, state: RunState, runtime: Runtime) {
    this.#definition = definition;
    this.#state = state;
    this.#runtime = runtime;
  }

  /** Null for a node without one, and for one whose budget is shared by all runs. */
  of(nodeId: string): Budget | null {
    let budget = this.#budgets.get(nodeId);
    if (budget === undefined) this.#budgets.set(nodeId, (budget = this.#make(nodeId)));
    return budget;
  }

  #make(nodeId: string): Budget | null {
    const options = this.#definition.policies.get(nodeId)?.budget as BudgetOptions | undefined;
    if (options === undefined || options.sharedState !== undefined) return null;
    const budget = new Budget({ name: `${this.#definition.id}/${nodeId}`, ...options }, this.#runtime);
    const spent = (this.#state.spent.get(nodeId) ?? 0) * unitOf(this.#definition, nodeId);
    // Charged in full, also where it is more than the limit.
    if (spent > 0) budget.reserve(0).settle(spent);
    return budget;
  }
}

/** Whether the budget knows what to reserve for a call of its node, and so can stand around it. */
export function standsAround(options: BudgetOptions): boolean {
  return options.estimate !== undefined || options.limitCalls !== undefined;
}

/** What a node sees of its budget. Without one it may spend what it likes, and what it says is counted. */
export function nodeBudget(budget: Budget | null, onSpent: (amount: number) => void): NodeBudget {
  return {
    charge(amount) {
      if (!(Number.isFinite(amount) && amount >= 0))
        throw new ConfigError(`ctx.budget.charge takes an amount of 0 or more, got ${show(amount)}.`);
      budget?.reserve(0).settle(amount);
      onSpent(amount);
    },
    reserve(amount) {
      const reservation = budget?.reserve(amount);
      return {
        settle(actual) {
          reservation?.settle(actual);
          onSpent(actual);
        },
        release: () => reservation?.release(),
      };
    },
    get remaining() {
      return budget?.getState().remaining ?? Infinity;
    },
  };
}
