import { callFrom } from "../core/call.ts";
import { Codec, type ValueType } from "../core/codec.ts";
import { ConfigError, HoldfastError, NotFoundError, RunInUseError } from "../core/errors.ts";
import type { EventListener } from "../core/events.ts";
import { aFunction, anything, checkId, checkOptions, positiveMs, type Rules, wholeNumber } from "../core/options.ts";
import { uniqueId } from "../core/random.ts";
import { type Runtime, systemRuntime } from "../core/runtime.ts";
import { Slots } from "../core/slots.ts";
import type { DeadLetter, RunFilter, RunRow, Store } from "../core/store.ts";
import type { WorkflowDefinition } from "../workflow/definition.ts";
import { type Plan, planWorkflow } from "../workflow/plan.ts";
import { Readiness } from "../workflow/ready.ts";
import { isDegraded } from "./announce.ts";
import { DeadLetters } from "./dead-letters.ts";
import { checkSameRun, type Errand, stageErrand } from "./errand.ts";
import { readHistory } from "./history.ts";
import { Journal } from "./journal.ts";
import { Leases } from "./leases.ts";
import { type NodeGuards, nodeGuards } from "./node-policies.ts";
import { isDead, newOwner } from "./owner.ts";
import type { ActiveRun, EngineSettings } from "./run.ts";
import { resultOf, type RunResult } from "./run-result.ts";
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
  /** Null for a redrive, which learns the input from the journal. */
  input: string | null;
  result: Promise<RunResult>;
  scope: AbortController;
  journal: Journal | null;
}

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
  /** Why runs stop, once the engine is closed. */
  #closed: HoldfastError | null = null;

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
    this.#slots = new Slots(concurrency, runtime.clock);
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
    const runId = checkId("runId", options.runId ?? uniqueId());
    return this.#runEncoded(workflow, this.#settings.codec.encode(input, "the input"), runId, options.signal);
  }

  /**
   * Like `run` for a run that is known, with the input that it was started with. Throws `NotFoundError` where there is
   * no such run, or where a crash came before its start was recorded.
   */
  async resume<In, Out>(
    workflow: Runnable<In, Out>,
    runId: string,
    options: Omit<RunOptions, "runId"> = {},
  ): Promise<RunResult<Out>> {
    const history = await readHistory(this.#store, checkId("runId", runId));
    if (history === undefined) throw new NotFoundError(`There is no run "${runId}" in ${this.#store.location}.`);
    // A journal that is damaged from its first record on is told apart, and reported, by whoever opens it.
    if (history.state.status === "new" && history.damage === undefined) {
      throw new NotFoundError(`The start of run "${runId}" was never recorded. Run it with its input.`);
    }
    return this.#runEncoded(workflow, history.state.input, runId, options.signal);
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
    if (this.#closed !== null) return;
    const closed = (this.#closed = new HoldfastError(
      "ENGINE_CLOSED",
      "The engine was closed while the run was under way. Run it again with the same id to go on.",
    ));
    const pending = [...this.#active.values()];
    for (const { journal, scope } of pending) {
      journal?.abandon(closed);
      scope.abort(closed);
    }
    await Promise.allSettled(pending.map(({ result }) => result));
    this.#unsubscribe();
    await this.#store.close();
  }

  #runEncoded<Out>(
    workflow: Runnable<never, Out>,
    input: string,
    runId: string,
    signal: AbortSignal | undefined,
  ): Promise<RunResult<Out>> {
    const { definition } = workflow;
    const { plan } = this.#prepare(workflow);
    const active = this.#active.get(runId);
    if (active === undefined) return this.#begin(runId, definition, { input }, signal) as Promise<RunResult<Out>>;
    if (active.input === null)
      throw new RunInUseError(runId, `Run "${runId}" is being redriven. Run it again when that has ended.`);
    const { outline, fingerprint } = this.#prepare(active).plan;
    checkSameRun(runId, plan, { workflowId: active.definition.id, input: active.input, outline, fingerprint }, input);
    cancelOn(active, signal);
    return active.result as Promise<RunResult<Out>>;
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
    if (this.#closed !== null)
      throw new HoldfastError("ENGINE_CLOSED", "The engine is closed. Create another one on the same store.");
    const active: Active = {
      definition,
      input: "input" in errand ? errand.input : null,
      scope: new AbortController(),
      journal: null,
      result: null!,
    };
    active.result = this.#carryOut(runId, active, errand).finally(() => this.#active.delete(runId));
    this.#active.set(runId, active);
    cancelOn(active, signal);
    return active.result;
  }

  async #carryOut(runId: string, active: Active, errand: Errand): Promise<RunResult> {
    if (!this.#slots.tryTake()) await this.#slots.wait(callFrom(this.#settings.runtime.clock, undefined), Infinity);
    let journal: Journal | undefined;
    try {
      if (this.#closed !== null) throw this.#closed;
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
      if (resumed) checkSameRun(runId, plan, state, "input" in errand ? errand.input : state.input);
      const settledBefore = "input" in errand && state.status !== "new" && state.status !== "running";
      if (!settledBefore) {
        const redriving = await stageErrand(this.#store, plan, journal, errand, runtime.clock.wallNow());
        // Closed while the journal was being opened: the run stops here, which is not to be cancelled.
        if (this.#closed !== null) throw this.#closed;
        active.journal = journal;
        this.#leases.hold(journal);
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
      const isWhole = state.status === "completed" && !isDegraded(state);
      const letters = isWhole || state.status === "cancelled" ? [] : await this.#store.deadLetters({ runId });
      return resultOf(runId, plan, state, codec, letters, resumed);
    } catch (error) {
      // A run that was not begun here, because somebody else has it or it is another one, has not stopped.
      if (active.journal !== null) {
        const workflowId = active.definition.id;
        this.#settings.runtime.events.emit?.("run.stopped", { runId, workflowId, error });
      }
      active.scope.abort(error);
      await journal?.release().catch(() => {});
      throw error;
    } finally {
      if (journal !== undefined) this.#leases.drop(journal);
      this.#slots.give();
    }
  }
}

/** Lets a caller's signal cancel the run for as long as it is under way. */
function cancelOn({ scope, result }: Active, signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  const cancel = (): void => scope.abort(signal.reason);
  if (signal.aborted) return cancel();
  const stop = (): void => signal.removeEventListener("abort", cancel);
  signal.addEventListener("abort", cancel, { once: true });
  result.then(stop, stop);
}
