import type { ContractCase } from "./contract-case.ts";
import { BLOBS } from "./engine-blob-cases.ts";
import { BLOB_FORMS } from "./engine-blob-form-cases.ts";
import { CANCELLATION } from "./engine-cancellation-cases.ts";
import { COMPENSATION } from "./engine-compensation-cases.ts";
import { INNER_RUNS } from "./engine-inner-run-cases.ts";
import { PAUSES } from "./engine-pause-cases.ts";
import { WAITING } from "./engine-waiting-cases.ts";
import { CLAIMS } from "./engine-claim-cases.ts";
import { DAMAGE } from "./engine-damage-cases.ts";
import { DEAD_LETTERS } from "./engine-dead-letter-cases.ts";
import { FORMS } from "./engine-form-cases.ts";
import { RECOVERY } from "./engine-recovery-cases.ts";
import { REDRIVES } from "./engine-redrive-cases.ts";
import { SCHEMAS } from "./engine-schema-cases.ts";
import { SNAPSHOTS } from "./engine-snapshot-cases.ts";
import { REPORTS } from "./engine-report-cases.ts";
import { VALUES } from "./engine-value-cases.ts";
import { WALKS } from "./engine-walk-cases.ts";
import { type EngineCases, type EngineSubject, EngineWorld } from "./engine-world.ts";

/**
 * What every engine must do on every store, as cases for any test runner.
 *
 * @example
 * ```ts no-run
 * import { createEngine, type DynamicWorkflow, MemoryBlobs, MemoryStore, type NodeFunction, Workflow } from "holdfast";
 * import { engineContract, type Graph } from "holdfast/testing";
 * import { it } from "vitest";
 *
 * function workflowOf({ id = "w", nodes, edges = [], fallbacks = [], policies = {}, forms = {}, ...options }: Graph): DynamicWorkflow {
 *   const workflow: DynamicWorkflow = new Workflow({ id, ...options });
 *   for (const [node, run] of Object.entries(nodes))
 *     workflow.addNode(node, run as NodeFunction<unknown>, { ...policies[node], ...(forms[node] as object) });
 *   for (const [from, to, mapping, when] of edges)
 *     workflow.connect(from, to, mapping, { when: when as ((output: unknown) => boolean) | undefined });
 *   for (const [primary, backup] of fallbacks) workflow.addFallback(primary, backup);
 *   return workflow;
 * }
 *
 * const cases = engineContract({
 *   newStore: (clock) => new MemoryStore({ clock }),
 *   newBlobs: (clock) => new MemoryBlobs({ clock }),
 *   newEngine: (store, runtime, limits, workflows) => createEngine({ store, runtime, workflows, ...limits }),
 *   workflow: workflowOf,
 * });
 * for (const { title, run } of cases) it(title, run);
 * ```
 */
export function engineContract<W>(subject: EngineSubject<W>): ContractCase[] {
  return [
    WALKS,
    FORMS,
    SCHEMAS,
    REPORTS,
    VALUES,
    BLOBS,
    BLOB_FORMS,
    RECOVERY,
    CLAIMS,
    DAMAGE,
    DEAD_LETTERS,
    CANCELLATION,
    WAITING,
    COMPENSATION,
    INNER_RUNS,
    PAUSES,
    REDRIVES,
    SNAPSHOTS,
  ].flatMap((cases: EngineCases) =>
    Object.entries(cases).map(([title, check]) => ({ title, run: () => EngineWorld.run(subject, check) })),
  );
}
