import { Codec, type ValueType } from "../core/codec.ts";
import { ConfigError, HoldfastError, NotFoundError, RunInUseError, VersionMismatchError } from "../core/errors.ts";
import type { EventListener } from "../core/events.ts";
import { aFunction, anything, checkId, checkOptions, positiveMs, type Rules, wholeNumber } from "../core/options.ts";
import { uniqueId } from "../core/random.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import type { DeadLetter, RunFilter, RunRow, Store } from "../core/store.ts";
import type { WorkflowDefinition } from "../workflow/definition.ts";
import { type Plan, planWorkflow } from "../workflow/plan.ts";
import { Readiness } from "../workflow/ready.ts";
import { DeadLetters } from "./dead-letters.ts";
import { Journal } from "./journal.ts";
import { Leases } from "./leases.ts";
import { type NodeGuards, nodeGuards } from "./node-policies.ts";
import { isDead, newOwner } from "./owner.ts";
import type { ActiveRun, EngineSettings } from "./run.ts";
import { resultOf, type RunResult } from "./run-result.ts";
import { Slots } from "./slots.ts";
import { walk } from "./walk.ts";

export interface EngineOptions {
  /** Where journals are kept. */
  store: Store;
  /** Workflows that may be resumed or redriven by their id alone, without having been run here before. */
  workflows?: readonly Runnable[] | undefined;
  /** How many runs are carried out at the same time; others wait their turn. @default Infinity */
  concurrency?: number | undefined;
  /** How long a run stays with an engine that has stopped responding. @default 5000 */
  leaseMs?: number | undefined;
  /** How often a process may die while a node runs before the node is given up. @default 10 */
  maxCrashes?: number | undefined;
  /** How often a dead letter may be redriven before it is quarantined. @default 3 */
  maxRetries?: number | undefined;
  /** Classes whose instances may be stored. */
  types?: readonly ValueType[] | undefined;
  /** Called with every event of this engine's runtime. */
  onEvent?: EventListener | undefined;
  /** Time, randomness and events: for tests. */
  runtime?: Runtime | undefined;
}

/** A workflow as an engine sees it. `signature` exists for inference only. */
export interface Runnable<In = never, Out = unknown> {
  readonly definition: WorkflowDefinition;
  readonly signature?: (input: In) => Out;
}

export interface RunOptions {
  /** Names the run: running it again joins, resumes or returns the one that is there. @default a new id */
  runId?: string | undefined;
  /** Cancels the run. */
  signal?: AbortSignal | undefined;
}

const RULES: Rules<EngineOptions> = {
  store: anything,
  workflows: anything,
  concurrency: wholeNumber(1, true),
  leaseMs: positiveMs,
  maxCrashes: wholeNumber(0, true),
  maxRetries: wholeNumber(0, true),
  types: anything,
  onEvent: aFunction,
  runtime: anything,
};

/** A plan with its policies: what is worked out once for each definition. */
interface Prepared {
  plan: Plan;
  guards: ReadonlyMap<string, NodeGuards>;
}

/** A run under way in this process. */
interface Active {
  definition: WorkflowDefinition;
  input: string;
  result: Promise<RunResult>;
  scope: AbortController;
  journal: Journal | null;
}

/** What is to be done with a run, once its journal is open. */
type Errand = { input: string } | { redrive: DeadLetter };

/**
 * Carries runs out in this process, on a store. `run` starts a run, joins it where it is under way here, resumes it
 * where an earlier process left it, and returns the stored result where it has ended: one line for all four.
 */
export class Engine {
  readonly #store: Store;
  readonly #settings: EngineSettings;
  readonly #owner: string = newOwner();
  readonly #leases: Leases;
  readonly #leaseMs: number;
  readonly #slots: Slots;
  readonly #prepared = new WeakMap<WorkflowDefinition, Prepared>();
  readonly #known = new Map<string, WorkflowDefinition>();
  readonly #active = new Map<string, Active>();
  readonly #unsubscribe: () => void;
  #closed = false;

  /** Lists, shows and redrives what failed runs have left. */
  readonly deadLetters: DeadLetters;

  constructor(options: EngineOptions) {
    const checked = checkOptions("engine", options, RULES);
    if (typeof checked.store?.append !== "function") {
      throw new ConfigError('engine.store must be a store, such as new SqliteStore("runs.db"), got something else.');
    }
    const {
      runtime = systemRuntime,
      maxCrashes = 10,
      maxRetries = 3,
      leaseMs = 5000,
      concurrency = Infinity,
    } = checked;
    this.#store = checked.store;
    this.#settings = { runtime, codec: new Codec(checked.types), maxCrashes, maxRetries };
    this.#leaseMs = leaseMs;
    this.#leases = new Leases(this.#store, runtime, this.#owner, leaseMs);
    this.#slots = new Slots(concurrency);
    for (const workflow of checked.workflows ?? []) this.#prepare(workflow);
    this.#unsubscribe = checked.onEvent === undefined ? () => {} : runtime.events.on(checked.onEvent);
    this.deadLetters = new DeadLetters(this.#store, (letter) => this.#redrive(letter));
  }

  /**
   * Carries a run to its end and gives its result; a failing node is a result, not an error. Rejects when the run
   * cannot be carried on here: a wrong definition or id, a store in trouble, a lease that was lost. Run again with
   * the same id, it goes on from what the journal acknowledged.
   */
  async run<In, Out>(workflow: Runnable<In, Out>, input: In, options: RunOptions = {}): Promise<RunResult<Out>> {
    const { definition } = workflow;
    const runId = checkId("runId", options.runId ?? uniqueId());
    this.#prepare(workflow);
    const text = this.#settings.codec.encode(input, "the input");
    const active = this.#active.get(runId);
    if (active === undefined)
      return this.#begin(runId, definition, { input: text }, options.signal) as Promise<RunResult<Out>>;
    if (active.definition.id !== definition.id || active.input !== text)
      throw otherRun(runId, active.definition.id, definition.id);
    return active.result as Promise<RunResult<Out>>;
  }

  /** Where a run stands, as the store lists it. */
  get(runId: string): Promise<RunRow | undefined> {
    return this.#store.get(runId);
  }

  /** Runs of the store, newest first. */
  list(filter?: RunFilter): Promise<RunRow[]> {
    return this.#store.list(filter);
  }

  /** The dead letters of one workflow. It may be redriven without having been run here before. */
  deadLettersOf(workflow: Runnable): DeadLetters {
    this.#prepare(workflow);
    return new DeadLetters(this.#store, (letter) => this.#redrive(letter), workflow.definition.id);
  }

  /** Closes the breaker of a node, for the runs of this engine. */
  resetCircuitBreaker(workflow: Runnable, nodeId: string): void {
    const guards = this.#prepare(workflow).guards.get(nodeId);
    if (guards?.breaker === null || guards === undefined) {
      throw new NotFoundError(`Node "${nodeId}" of workflow "${workflow.definition.id}" has no circuit breaker.`);
    }
    guards.breaker.reset();
  }

  /** Stops what is under way, gives its leases back, and closes the store. Stopped runs can be resumed by anyone. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const closed = new HoldfastError(
      "ENGINE_CLOSED",
      "The engine was closed while the run was under way. Run it again with the same id to go on.",
    );
    const pending = [...this.#active.values()];
    for (const { journal, scope } of pending) {
      journal?.abandon(closed);
      scope.abort(closed);
    }
    await Promise.allSettled(pending.map(({ result }) => result));
    this.#unsubscribe();
    await this.#store.close();
  }

  #prepare({ definition }: Runnable): Prepared {
    let prepared = this.#prepared.get(definition);
    if (prepared === undefined) {
      const plan = planWorkflow(definition);
      prepared = { plan, guards: nodeGuards(plan, this.#settings.runtime) };
      this.#prepared.set(definition, prepared);
    }
    this.#known.set(definition.id, definition);
    return prepared;
  }

  #redrive(letter: DeadLetter): Promise<RunResult> {
    const definition = this.#known.get(letter.workflowId);
    if (definition === undefined) {
      throw new NotFoundError(
        `This engine does not know the workflow "${letter.workflowId}" of dead letter "${letter.id}". Give it to createEngine({ workflows: [...] }).`,
      );
    }
    if (this.#active.has(letter.runId))
      throw new RunInUseError(letter.runId, `Run "${letter.runId}" is under way; redrive it when it has ended.`);
    return this.#begin(letter.runId, definition, { redrive: letter }, undefined);
  }

  #begin(
    runId: string,
    definition: WorkflowDefinition,
    errand: Errand,
    signal: AbortSignal | undefined,
  ): Promise<RunResult> {
    if (this.#closed)
      throw new HoldfastError("ENGINE_CLOSED", "The engine is closed. Create another one on the same store.");
    const scope = new AbortController();
    const cancel = (): void => scope.abort(signal?.reason);
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    const active: Active = {
      definition,
      input: "input" in errand ? errand.input : "",
      scope,
      journal: null,
      result: null!,
    };
    active.result = this.#carryOut(runId, active, errand).finally(() => {
      signal?.removeEventListener("abort", cancel);
      this.#active.delete(runId);
    });
    this.#active.set(runId, active);
    return active.result;
  }

  async #carryOut(runId: string, active: Active, errand: Errand): Promise<RunResult> {
    await this.#slots.take();
    let journal: Journal | undefined;
    try {
      const { runtime, codec } = this.#settings;
      const { plan, guards } = this.#prepared.get(active.definition)!;
      const { id: workflowId } = active.definition;
      journal = await Journal.open(this.#store, runtime, {
        runId,
        workflowId,
        owner: this.#owner,
        leaseMs: this.#leaseMs,
        isDead,
        reopen: "redrive" in errand,
      });
      const { state } = journal;
      const resumed = state.status !== "new";
      if (resumed) checkSameRun(runId, plan, journal, errand);
      const settledBefore = "input" in errand && state.status !== "new" && state.status !== "running";
      if (!settledBefore) {
        active.journal = journal;
        this.#leases.hold(journal);
        const redriving = await this.#errandStaged(plan, journal, errand);
        const readiness = new Readiness(plan, state);
        const run: ActiveRun = {
          runId,
          plan,
          guards,
          journal,
          readiness,
          settings: this.#settings,
          scope: active.scope,
          redriving,
        };
        await walk(run);
      }
      const letters = state.status === "failed" ? await this.#store.deadLetters({ runId }) : [];
      return resultOf(runId, plan, state, codec, letters, resumed);
    } catch (error) {
      const workflowId = active.definition.id;
      this.#settings.runtime.events.emit?.("run.stopped", { runId, workflowId, error });
      active.scope.abort(error);
      await journal?.release().catch(() => {});
      throw error;
    } finally {
      if (journal !== undefined) this.#leases.drop(journal);
      this.#slots.give();
    }
  }

  /** Stages what this errand begins with; gives the dead letters that it works on. */
  async #errandStaged(plan: Plan, journal: Journal, errand: Errand): Promise<Map<string, DeadLetter>> {
    const { state } = journal;
    const at = this.#settings.runtime.clock.wallNow();
    if ("redrive" in errand) {
      const { nodeId: node, invocationId, retryCount } = errand.redrive;
      const letter: DeadLetter = {
        ...errand.redrive,
        status: "retrying",
        retryCount: retryCount + 1,
        nextRetryAt: null,
      };
      journal.stage({
        kind: "node_redriven",
        node,
        iteration: Number(invocationId.slice(invocationId.lastIndexOf("#") + 1)),
        at,
      });
      journal.keep(letter);
      return new Map([[invocationId, letter]]);
    }
    if (state.status === "new") {
      const { outline, fingerprint, definition } = plan;
      journal.stage({ kind: "run_started", workflowId: definition.id, outline, fingerprint, input: errand.input, at });
      return new Map();
    }
    journal.stage({ kind: "run_resumed", at });
    if (state.redriven.size === 0) return new Map();
    const letters = await this.#store.deadLetters({ runId: journal.runId, status: "retrying" });
    return new Map(letters.map((letter) => [letter.invocationId, letter]));
  }
}

/** Refuses to carry on a run as something that it is not. */
function checkSameRun(runId: string, plan: Plan, { state }: Journal, errand: Errand): void {
  if (state.workflowId !== plan.definition.id) throw otherRun(runId, state.workflowId, plan.definition.id);
  if ("input" in errand && state.input !== errand.input) throw otherRun(runId, state.workflowId, plan.definition.id);
  if (state.fingerprint === plan.fingerprint) return;
  throw new VersionMismatchError(
    `Run "${runId}" was started with another definition of workflow "${plan.definition.id}": ${outlineChanges(state.outline, plan.outline)}. ` +
      "Finish it with the code that it was started with, or start it anew under another run id.",
  );
}

/** What two outlines differ in, as a list of words. */
function outlineChanges(before: string, after: string): string {
  const [old, now] = [before, after].map((outline) => JSON.parse(outline) as Record<string, unknown>) as [
    Record<string, unknown>,
    Record<string, unknown>,
  ];
  const changes = Object.keys(now).flatMap((part) => {
    const [was, is] = [old[part], now[part]].map((value) =>
      Array.isArray(value) ? value.map((item) => JSON.stringify(item)) : [JSON.stringify(value)],
    ) as [string[], string[]];
    const gone = was.filter((item) => !is.includes(item)).map((item) => `${part} without ${item}`);
    const come = is.filter((item) => !was.includes(item)).map((item) => `${part} with ${item}`);
    return [...gone, ...come];
  });
  return changes.join(", ") || "the order of its fallbacks";
}

function otherRun(runId: string, workflowId: string, wanted: string): RunInUseError {
  return new RunInUseError(
    runId,
    workflowId === wanted
      ? `Run "${runId}" was started with another input. Give the same input to carry it on, or choose another run id.`
      : `Run "${runId}" belongs to workflow "${workflowId}", not "${wanted}". Choose another run id.`,
  );
}
