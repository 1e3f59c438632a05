import { ConfigError } from "./core/errors.ts";
import type { Handoff, NodeFunction } from "./core/node.ts";
import { show } from "./core/options.ts";
import type { StandardSchema } from "./core/schema.ts";
import type { DeadLetter, Store } from "./core/store.ts";
import { engineFor } from "./default-engine.ts";
import type { DeadLetters } from "./engine/dead-letters.ts";
import type { DiscardReport } from "./engine/discarding.ts";
import type { RunOptions } from "./engine/engine-options.ts";
import type { Runnable } from "./engine/runnable.ts";
import type { BudgetOptions } from "./policies/budget-options.ts";
import type { BulkheadOptions } from "./policies/bulkhead.ts";
import type { CircuitBreakerOptions } from "./policies/breaker-options.ts";
import type { RateLimiterOptions } from "./policies/rate-limits.ts";
import type { RetryOptions } from "./policies/retry.ts";
import type { TimeoutOptions } from "./policies/timeout.ts";
import { DefinitionBuilder, type WorkflowOptions } from "./workflow/builder.ts";
import type {
  Compensation,
  FailureMode,
  FieldMapping,
  Join,
  ReadyNode,
  TypedNode,
  WorkflowDefinition,
} from "./workflow/definition.ts";
import { describeWorkflow, type WorkflowDescription } from "./workflow/description.ts";
import { mermaidOf } from "./workflow/mermaid.ts";
import { planOf } from "./workflow/plan.ts";
import type {
  EdgeArguments,
  EndsOf,
  GivenOutput,
  NodeSignatures,
  RunInput,
  RunOutput,
  SchemaFor,
  StandIn,
  TakenInput,
} from "./workflow/signature.ts";

/**
 * The policies of one node, which are shared by all runs of the workflow in an engine, and its schemas: `Given` is what
 * may be delivered to it, of which its schema makes what its function takes, and so on to what it gives.
 */
export interface NodeOptions<Given = unknown, In = unknown, Made = unknown, Out = unknown> {
  /** Whether it waits for all edges that lead to it, or starts with the first that delivers. @default "all" */
  join?: Join | undefined;
  /** What becomes of the run when it has failed for good. @default what the workflow says */
  onFailure?: FailureMode | undefined;
  /** Nodes that it may hand off to. They start when something is handed to them. */
  handoffTo?: readonly string[] | undefined;
  /** Undoes what the node has done: called with its output when the run is cancelled with `compensate`. */
  compensate?: Compensation<NoInfer<Out>> | undefined;
  retry?: RetryOptions | undefined;
  circuitBreaker?: CircuitBreakerOptions | undefined;
  /** `attemptTimeoutMs` bounds each call, `totalTimeoutMs` all of them together with the waits between. */
  timeout?: TimeoutOptions | undefined;
  rateLimit?: RateLimiterOptions | undefined;
  bulkhead?: BulkheadOptions | undefined;
  /** Of one run, unless it has a `sharedState`. */
  budget?: BudgetOptions | undefined;
  /** What is delivered to it, with the fields that its function gets. What does not fit is not tried again. */
  input?: StandardSchema<Given, In> | undefined;
  /** What its function gives. What does not fit is not tried again; what the schema makes of it is stored. */
  output?: StandardSchema<Made, Out> | undefined;
}

export interface ExecuteOptions extends RunOptions {
  /** Where the journal is kept. @default the SQLite file `.holdfast/holdfast.db`, or what `RESILIENCE_STORE_URL` says */
  store?: Store | undefined;
}

/** The arguments of `execute`: a workflow whose first nodes take no input may be run without one. */
type ExecuteArguments<In> = unknown extends In
  ? [input?: In, options?: ExecuteOptions]
  : [input: In, options?: ExecuteOptions];

/**
 * A workflow whose node names the compiler does not know, for graphs that are put together at run time. What a typed
 * one finds while compiling, this one finds when it is first used.
 */
export type DynamicWorkflow = Workflow<
  Record<string, { input: unknown; output: unknown }>,
  string,
  string,
  string,
  StandardSchema | undefined,
  StandardSchema | undefined
>;

/** What may be said of a workflow that is one function. */
export interface FunctionOptions
  extends Pick<WorkflowOptions, "name" | "version">, Pick<NodeOptions, "retry" | "circuitBreaker" | "timeout"> {}

/** The workflow that `Workflow.from` makes of a function. */
export type FunctionWorkflow<In, Out> = Workflow<
  Record<"main", { input: In; output: Exclude<Out, Handoff>; handsOff: false }>
>;

/**
 * A graph of nodes that is run durably: kill the process anywhere, execute it again with the same run id, and it goes
 * on from what was acknowledged. The type grows with each call, so chain them: node names, mappings and results are
 * checked by the compiler, and everything once more when the workflow is first used (`WorkflowDefinitionError`).
 *
 * @example
 * ```ts
 * import { MemoryStore, Workflow } from "holdfast";
 *
 * const greet = new Workflow({ id: "greet" })
 *   .addNode("load", async (user: { id: number }) => ({ name: `user ${user.id}` }))
 *   .addNode("greet", (guest: { who: string }) => `Hello, ${guest.who}`)
 *   .connect("load", "greet", { name: "who" })
 *   .configureRetry("load", { maxAttempts: 5 });
 *
 * console.log(await greet.execute({ id: 7 }, { runId: "greet-7", store: new MemoryStore() })); // => "Hello, user 7"
 * ```
 */
export class Workflow<
  Nodes extends NodeSignatures = Record<never, never>,
  Targets extends string = never,
  Sources extends string = never,
  Backups extends string = never,
  Takes extends StandardSchema | undefined = undefined,
  Gives extends StandardSchema | undefined = undefined,
> implements Runnable<
  TakenInput<Takes, RunInput<Nodes, Targets, Backups>>,
  GivenOutput<Gives, RunOutput<Nodes, EndsOf<Nodes, Targets, Sources, Backups>>>
> {
  declare readonly signature?: (
    input: TakenInput<Takes, RunInput<Nodes, Targets, Backups>>,
  ) => GivenOutput<Gives, RunOutput<Nodes, EndsOf<Nodes, Targets, Sources, Backups>>>;
  readonly #builder: DefinitionBuilder;

  constructor(options: WorkflowOptions<Takes, Gives>) {
    this.#builder = new DefinitionBuilder(options);
  }

  /**
   * A plain function as a workflow of one node, which is called `main`. What it does within `ctx.step(name, fn)` is
   * stored and not done again: not by a retry, and not by the process that goes on after a crash. All else in it runs
   * again, and must come to the same steps. The workflow has the name of the function, or the one given.
   *
   * @example
   * ```ts
   * import { MemoryStore, type NodeContext, Workflow } from "holdfast";
   *
   * async function signUp(email: string, ctx: NodeContext) {
   *   const user = await ctx.step("create", () => ({ email, id: 7 }));
   *   await ctx.step("welcome", () => `mail to ${user.email}`);
   *   return user.id;
   * }
   *
   * const workflow = Workflow.from(signUp, { retry: { maxAttempts: 5 } });
   * console.log(await workflow.execute("a@example.com", { store: new MemoryStore() })); // => 7
   * ```
   */
  static from<In, Out>(run: NodeFunction<In, Out>, options?: FunctionOptions): FunctionWorkflow<In, Out>;
  static from<In, Out>(id: string, run: NodeFunction<In, Out>, options?: FunctionOptions): FunctionWorkflow<In, Out>;
  static from<In, Out>(
    first: string | NodeFunction<In, Out>,
    second?: NodeFunction<In, Out> | FunctionOptions,
    third?: FunctionOptions,
  ): FunctionWorkflow<In, Out> {
    const isNamed = typeof first === "string";
    const run = (isNamed ? second : first) as NodeFunction<In, Out>;
    const { name, version, ...policies } = (isNamed ? third : (second as FunctionOptions | undefined)) ?? {};
    if (typeof run !== "function")
      throw new ConfigError(`Workflow.from needs the function that the workflow is to be, got ${show(run)}.`);
    const id = isNamed ? first : run.name;
    if (id === "") throw new ConfigError('The function has no name. Give the workflow one: Workflow.from("name", fn).');
    return new Workflow({ id, name, version }).addNode("main", run, policies);
  }

  get id(): string {
    return this.definition.id;
  }

  /** The workflow as plain data, as it stands now. */
  get definition(): WorkflowDefinition {
    return this.#builder.definition;
  }

  /** Adds a node: a function of its input and the context, or a ready-made one. Policies may also be given later. */
  addNode<
    const Id extends string,
    In,
    Out,
    const To extends string = never,
    Given = In,
    Made = unknown,
    Kept = Exclude<Out, Handoff>,
  >(
    id: Id,
    run: NodeFunction<In, Out> | TypedNode<In, Out>,
    options?: NodeOptions<Given, In, Made, Kept> & { handoffTo?: readonly To[] | undefined } & SchemaFor<
        Exclude<Out, Handoff>,
        Made
      >,
  ): Workflow<
    Nodes & Record<Id, { input: Given; output: Kept; handsOff: [To] extends [never] ? false : true }>,
    Targets | To,
    Sources,
    Backups,
    Takes,
    Gives
  > {
    const given = (options ?? {}) as NodeOptions;
    const { join = "all", onFailure, handoffTo = [], input, output, compensate, ...policies } = given;
    const form = { join, onFailure, handoffTo: [...handoffTo], input, output, compensate };
    this.#builder.addNode(id, run as NodeFunction<never> | ReadyNode, form);
    if (Object.keys(policies).length > 0) this.#builder.configure(id, policies);
    return this as never;
  }

  /**
   * Delivers the output of one node to another. `{ outputField: "inputField" }` maps fields; without a mapping the
   * whole output is the input, or, where several edges meet, the field of it that is named after the node. `when`
   * decides, once for each output, whether the edge is taken.
   */
  connect<From extends keyof Nodes & string, To extends keyof Nodes & string>(
    from: From,
    to: To,
    ...[mapping, { when } = {}]: EdgeArguments<Nodes[From]["output"], Nodes[To]["input"], From>
  ): Workflow<Nodes, Targets | To, Sources | From, Backups, Takes, Gives> {
    this.#builder.connect(from, to, mapping as FieldMapping | undefined, when);
    return this as never;
  }

  /**
   * Lets another node stand in when this one has failed for good. Several are tried in order, each with its own
   * policies. A node that nothing leads to and that is a fallback runs for no other reason.
   */
  addFallback<Primary extends keyof Nodes & string, Backup extends StandIn<Nodes, Primary>>(
    primary: Primary,
    backup: Backup,
  ): Workflow<Nodes, Targets, Sources, Backups | Backup, Takes, Gives> {
    this.#builder.addFallback(primary, backup);
    return this as never;
  }

  /** How often and after which waits the node is called again. */
  configureRetry(id: keyof Nodes & string, retry: RetryOptions): this {
    this.#builder.configure(id, { retry });
    return this;
  }

  /** When the node is no longer called for a while. Its breaker is named `<workflow id>/<node id>`. */
  configureCircuitBreaker(id: keyof Nodes & string, circuitBreaker: CircuitBreakerOptions): this {
    this.#builder.configure(id, { circuitBreaker });
    return this;
  }

  /** How long each call of the node may take, and all of them together. */
  configureTimeout(id: keyof Nodes & string, timeout: TimeoutOptions): this {
    this.#builder.configure(id, { timeout });
    return this;
  }

  /** How many calls of the node may be made per interval, in all runs of an engine together. */
  configureRateLimit(id: keyof Nodes & string, rateLimit: RateLimiterOptions): this {
    this.#builder.configure(id, { rateLimit });
    return this;
  }

  /** How many calls of the node may be under way at the same time, in all runs of an engine together. */
  configureBulkhead(id: keyof Nodes & string, bulkhead: BulkheadOptions): this {
    this.#builder.configure(id, { bulkhead });
    return this;
  }

  /**
   * What the node may spend in one run, over all its visits, attempts and restarts; with a `sharedState`, in all runs
   * together. With an `estimate` each call reserves it first; without, the function spends by `ctx.budget`.
   */
  configureBudget(id: keyof Nodes & string, budget: BudgetOptions): this {
    this.#builder.configure(id, { budget });
    return this;
  }

  /** Closes the breaker of a node, where `execute` runs the workflow: on the default store or the one given. */
  resetCircuitBreaker(id: keyof Nodes & string, options: { store?: Store | undefined } = {}): this {
    engineFor(options.store).resetCircuitBreaker(this, id);
    return this;
  }

  /**
   * Runs the workflow to its end and gives the output of its only end node, or an object of the outputs of all end
   * nodes by their ids. With a run id that is known it joins, resumes or returns that run. Throws
   * `WorkflowExecutionError` when a node has failed for good or the run was cancelled, and what kept the run from
   * going on here, such as `StoreUnavailableError`; run again, it then goes on.
   */
  async execute(
    ...[input, options = {}]: ExecuteArguments<TakenInput<Takes, RunInput<Nodes, Targets, Backups>>>
  ): Promise<GivenOutput<Gives, RunOutput<Nodes, EndsOf<Nodes, Targets, Sources, Backups>>>> {
    const { store, ...run } = options;
    const result = await engineFor(store).run(this, input as never, run);
    if (result.error !== undefined) throw result.error;
    return result.output as GivenOutput<Gives, RunOutput<Nodes, EndsOf<Nodes, Targets, Sources, Backups>>>;
  }

  /**
   * The workflow as a Mermaid flowchart, which GitHub and many editors draw. Throws `WorkflowDefinitionError` for one
   * that cannot be run.
   */
  toMermaid(): string {
    return mermaidOf(planOf(this.definition));
  }

  /** The workflow as plain data, without its functions; what `JSON.stringify` makes of it. */
  toJSON(): WorkflowDescription {
    return describeWorkflow(this.definition);
  }

  /** What failed runs of this workflow have left on the default store. */
  get deadLetters(): DeadLetters {
    return engineFor().deadLettersOf(this);
  }

  /** The open dead letters of this workflow, newest first: what failed runs have left that nobody has settled. */
  getDeadLetterQueue(options: { store?: Store | undefined } = {}): Promise<DeadLetter[]> {
    return engineFor(options.store).deadLettersOf(this).queue();
  }

  /**
   * Discards all open dead letters of this workflow, with a reason. Nothing is deleted: they can be listed until
   * retention takes them. One whose run is under way is left, and the report says so.
   */
  clearDeadLetterQueue(
    reason: string = "The dead letter queue was cleared.",
    options: { store?: Store | undefined } = {},
  ): Promise<DiscardReport> {
    return engineFor(options.store).deadLettersOf(this).discardAll({}, reason);
  }

  static {
    // How Node prints a workflow in a debugger and in console.log.
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value(this: Workflow) {
        const { id, version, nodes, edges, fallbacks } = this.definition;
        return {
          workflow: id,
          version,
          nodes: nodes.map((node) => node.id),
          edges: edges.map(({ from, to }) => `${from} -> ${to}`),
          fallbacks: fallbacks.map(({ primary, backup }) => `${primary} -> ${backup}`),
        };
      },
    });
  }
}
