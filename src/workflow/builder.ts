import { anId, checkId, checkOptions, oneOf, type Rules, wholeNumber } from "../core/options.ts";
import { aSchema, type StandardSchema } from "../core/schema.ts";
import type {
  EdgeDefinition,
  FailureMode,
  FallbackDefinition,
  FieldMapping,
  Migration,
  NodeDefinition,
  NodePolicies,
  WorkflowDefinition,
} from "./definition.ts";

export interface WorkflowOptions<
  Takes extends StandardSchema | undefined = StandardSchema | undefined,
  Gives extends StandardSchema | undefined = StandardSchema | undefined,
> {
  /** Names the workflow; its runs and dead letters are kept under it. */
  id: string;
  /** For people. @default the id */
  name?: string | undefined;
  /** Part of the fingerprint: a run of another version is not carried on without a migration. @default "1" */
  version?: string | undefined;
  /** How runs of older versions are carried on by this one. */
  migrations?: readonly Migration[] | undefined;
  /** How many nodes of one run may work at the same time. @default Infinity */
  concurrency?: number | undefined;
  /** How many invocations a run may start; one that starts more is taken for one that never ends. @default 1000 */
  maxNodeInvocations?: number | undefined;
  /** What becomes of a run when a node has failed for good, where the node does not say. @default "fail" */
  onFailure?: FailureMode | undefined;
  /** What a run is started with. An input that does not fit starts none. */
  input?: Takes;
  /** What a run gives. Only of a workflow with one end node, which fails with an output that does not fit. */
  output?: Gives;
}

const RULES: Rules<WorkflowOptions> = {
  id: anId,
  name: anId,
  version: anId,
  migrations: { says: "a list of migrations", allows: Array.isArray },
  concurrency: wholeNumber(1, true),
  maxNodeInvocations: wholeNumber(1, true),
  onFailure: oneOf("fail", "continue"),
  input: aSchema,
  output: aSchema,
};

/**
 * Collects a workflow as plain data. Knows no types and checks no names: a later call may still bring the node that
 * an earlier one names, so `plan` checks the whole when the workflow is first used.
 */
export class DefinitionBuilder {
  readonly #options: Omit<WorkflowDefinition, "nodes" | "edges" | "fallbacks" | "policies">;
  readonly #nodes: NodeDefinition[] = [];
  readonly #edges: EdgeDefinition[] = [];
  readonly #fallbacks: FallbackDefinition[] = [];
  readonly #policies = new Map<string, NodePolicies>();
  #finished: WorkflowDefinition | null = null;

  constructor(options: WorkflowOptions) {
    const checked = checkOptions("workflow", options, RULES);
    const id = checkId("workflow.id", checked.id);
    const { name = id, version = "1", concurrency = Infinity, maxNodeInvocations = 1000 } = checked;
    const { onFailure = "fail", input, output, migrations = [] } = checked;
    this.#options = { id, name, version, migrations, concurrency, maxNodeInvocations, onFailure, input, output };
  }

  addNode(id: string, run: NodeDefinition["run"], options: Partial<Omit<NodeDefinition, "id" | "run">> = {}): void {
    this.#nodes.push({ id, run, join: "all", handoffTo: [], ...options });
    this.#finished = null;
  }

  connect(from: string, to: string, mapping?: FieldMapping, when?: EdgeDefinition["when"]): void {
    this.#edges.push({ from, to, ...(mapping && { mapping: { ...mapping } }), ...(when && { when }) });
    this.#finished = null;
  }

  addFallback(primary: string, backup: string): void {
    this.#fallbacks.push({ primary, backup });
    this.#finished = null;
  }

  /** Adds to the policies of a node; one that was there gives way. */
  configure(id: string, policies: NodePolicies): void {
    this.#policies.set(id, { ...this.#policies.get(id), ...policies });
    this.#finished = null;
  }

  /** What has been collected so far. The same object until something is added, so that engines can remember it. */
  get definition(): WorkflowDefinition {
    return (this.#finished ??= {
      ...this.#options,
      nodes: [...this.#nodes],
      edges: [...this.#edges],
      fallbacks: [...this.#fallbacks],
      policies: new Map(this.#policies),
    });
  }
}
