import { codeOf, HoldfastError, NotFoundError, RunInUseError } from "../core/errors.ts";
import { type DeadLetter, isEnded, type RunRow, type Signal, type Store } from "../core/store.ts";
import type { Cancellation } from "./cancellation.ts";
import { checkSameDefinition, checkSameRun, type Errand } from "./errand.ts";
import { forkOf } from "./fork.ts";
import { readHistory, readInput, type RunHistory } from "./history.ts";
import { AGAIN_MS, innerRuns } from "./inner-runs.ts";
import type { KnownWorkflows, Prepared } from "./known-workflows.ts";
import { type Active, Lives, type LivesOptions } from "./lives.ts";
import { Mailbox } from "./mailbox.ts";
import { isDead } from "./owner.ts";
import { type RedriveTerms, underWayError } from "./redrivable.ts";
import type { ActiveRun, EngineSettings, RunHandle } from "./run.ts";
import type { RunResult } from "./run-result.ts";
import type { Runnable } from "./runnable.ts";
import type { ClosingRun } from "./shutdown.ts";

/** The runs that an engine carries out now: each is begun once, and joined by whoever asks for it meanwhile. */
export class ActiveRuns {
  readonly #store: Store;
  readonly #settings: EngineSettings;
  readonly #known: KnownWorkflows;
  readonly #lives: Lives;
  /** Due runs that could not be taken up here: they are not tried again. */
  readonly #refused = new Set<string>();
  readonly #active = new Map<string, Active>();

  constructor(store: Store, settings: EngineSettings, known: KnownWorkflows, options: Partial<LivesOptions>) {
    this.#store = store;
    this.#settings = settings;
    this.#known = known;
    this.#lives = new Lives(store, settings, {
      leaseMs: options.leaseMs,
      concurrency: options.concurrency,
      pauseMs: options.pauseMs,
      onSignal: (signal) => this.deliver(signal),
      runInner: innerRuns(settings, (outer, runId, workflow, input) => this.#inner(outer, runId, workflow, input)),
      cancelInner: (runId, workflow, reason) => this.#cancelInner(runId, workflow, reason),
    });
  }

  has(runId: string): boolean {
    return this.#active.has(runId);
  }

  /** Hands a signal, which the store has, to its run where that is under way here. */
  deliver(signal: Signal): void {
    const active = this.#active.get(signal.runId);
    if (active === undefined) return;
    this.#lives.hand(active, [signal]);
    this.#lives.due.nudge(signal.runId);
  }

  /** Cancels a run that is under way here; undefined where it is not. Resolves when that is recorded. */
  cancel(runId: string, cancellation: Cancellation): Promise<void> | undefined {
    const active = this.#active.get(runId);
    active?.scope.abort(cancellation);
    return active?.result.then(
      () => {},
      () => {},
    );
  }

  /** Takes up, from now on, runs that wait and that nobody looks after, once they are due. */
  watch(): void {
    this.#lives.due.watch((run) => void this.#takeUp(run));
  }

  async #takeUp(run: RunRow): Promise<void> {
    const { runId, workflowId, owner, leaseUntil } = run;
    const { clock, events } = this.#settings.runtime;
    const isHeld = owner !== null && leaseUntil > clock.wallNow() && !isDead(owner);
    const workflow = this.#known.byId(workflowId);
    if (isHeld || workflow === undefined || this.#active.has(runId) || this.#refused.has(runId)) return;
    try {
      await (
        await this.resume(workflow, runId, undefined)
      ).result;
    } catch (error) {
      if (codeOf(error) === "RUN_IN_USE" || this.#lives.closed !== null) return;
      this.#refused.add(runId);
      events.emit?.("run.stopped", { runId, workflowId, error });
    }
  }

  /** The run of a node: under way, begun anew, or taken up from what has failed in it. */
  async #inner(outer: ActiveRun, runId: string, workflow: Runnable, input: string): Promise<RunResult> {
    const active = this.#active.get(runId);
    if (active !== undefined) return active.result;
    const row = await this.#store.get(runId);
    const [letter] =
      row?.status === "failed" ? await this.#store.deadLetters({ runId, status: "pending", limit: 1 }) : [];
    const errand: Errand = letter === undefined ? { input } : { redrive: letter, terms: {} };
    const begun = this.#begin(runId, this.#known.prepare(workflow), errand, undefined, true);
    const { signal } = outer.scope;
    const end = (): void => {
      // What stops the outer run stops the inner one, which can be resumed; what cancels it cancels the inner one.
      if (outer.journal.isBroken) begun.journal?.abandon(signal.reason);
      begun.scope.abort(signal.reason);
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
    const unfollow = (): void => signal.removeEventListener("abort", end);
    begun.result.then(unfollow, unfollow);
    return begun.result;
  }

  async #cancelInner(runId: string, workflow: Runnable, reason: unknown): Promise<void> {
    const { clock } = this.#settings.runtime;
    for (;;) {
      const row = await this.#store.get(runId);
      if (row === undefined || isEnded(row.status)) return;
      try {
        await (
          await this.resume(workflow, runId, AbortSignal.abort(reason))
        ).result;
        return;
      } catch (error) {
        // Its start was never stored, or its workflow has changed: there is nothing that could go on.
        if (error instanceof NotFoundError || codeOf(error) === "VERSION_MISMATCH") return;
        // Whoever carried the outer run out before may still have a lease of it.
        if (!(error instanceof RunInUseError)) throw error;
        await clock.sleep(error.retryAfterMs ?? AGAIN_MS);
      }
    }
  }

  /** Takes nothing on any more. Gives the runs that are under way. */
  refuse(): ClosingRun[] {
    this.#lives.due.close();
    const closed = (this.#lives.closed = new HoldfastError(
      "ENGINE_CLOSED",
      "The engine was closed while the run was under way. Run it again with the same id to go on.",
    ));
    return [...this.#active].map(([runId, active]) => ({
      runId,
      result: active.result,
      get isStored() {
        return active.isStored;
      },
      stop() {
        active.journal?.abandon(closed);
        active.scope.abort(closed);
      },
    }));
  }

  expectOpen(): void {
    if (this.#lives.closed !== null)
      throw new HoldfastError("ENGINE_CLOSED", "The engine is closed. Create another one on the same store.");
  }

  /** Takes a run that is known, with the input that it was started with. */
  async resume<Out>(
    workflow: Runnable<never, Out>,
    runId: string,
    signal: AbortSignal | undefined,
  ): Promise<Active<Out>> {
    const row = await this.#store.get(runId);
    if (row === undefined) throw this.#noRun(runId);
    // A journal that is damaged from its first record on is told apart, and reported, by whoever opens it.
    if (row.version === 0 && row.head.version === 0) throw noStart(runId);
    const input = await this.#settings.values.load(await readInput(this.#store, runId));
    return this.take(workflow, input, runId, signal);
  }

  async #historyOf(runId: string): Promise<RunHistory> {
    const history = await readHistory(this.#store, runId);
    if (history === undefined) throw this.#noRun(runId);
    if (history.state.status === "new" && history.damage === undefined) throw noStart(runId);
    return history;
  }

  #noRun(runId: string): NotFoundError {
    return new NotFoundError(`There is no run "${runId}" in ${this.#store.location}.`);
  }

  /** Begins a new run that takes over from an old one what does not follow from a node. */
  async fork<Out>(
    workflow: Runnable<never, Out>,
    from: { runId: string; node: string; input: string | undefined },
    runId: string,
  ): Promise<Active<Out>> {
    const { state } = await this.#historyOf(from.runId);
    const prepared = this.#known.prepare(workflow);
    checkSameRun(from.runId, prepared.plan, state, state.input);
    const input = from.input && (await this.#settings.values.keep(from.input, "the input of the fork"));
    const fork = forkOf(from.runId, prepared.plan, state, from.node, input);
    const isThere = this.#active.has(runId) || (await this.#store.get(runId)) !== undefined;
    if (isThere) throw new RunInUseError(runId, `Run "${runId}" is there already. Choose another run id for the fork.`);
    return this.#begin(runId, prepared, { input: state.input, fork }, undefined) as Active<Out>;
  }

  /** The run of that id, which is begun unless it is under way here. */
  take<Out>(
    workflow: Runnable<never, Out>,
    input: string,
    runId: string,
    signal: AbortSignal | undefined,
  ): Active<Out> {
    const prepared = this.#known.prepare(workflow);
    const active = this.#active.get(runId);
    if (active === undefined) return this.#begin(runId, prepared, { input }, signal) as Active<Out>;
    if (active.input === null)
      throw new RunInUseError(runId, `Run "${runId}" is being redriven. Run it again when that has ended.`);
    const { plan } = active.prepared;
    checkSameRun(runId, prepared.plan, { workflowId: plan.definition.id, input: active.input }, input);
    checkSameDefinition(runId, prepared.plan, plan);
    cancelOn(active, signal);
    return active as Active<Out>;
  }

  redrive(letter: DeadLetter, terms: RedriveTerms): Promise<RunResult> {
    const prepared = this.#known.preparedOf(letter);
    if (this.#active.has(letter.runId)) throw underWayError(letter.runId);
    return this.#begin(letter.runId, prepared, { redrive: letter, terms }, undefined).result;
  }

  #begin(
    runId: string,
    prepared: Prepared,
    errand: Errand,
    signal: AbortSignal | undefined,
    isInner: boolean = false,
  ): Active {
    this.expectOpen();
    let begin!: () => void;
    const active: Active = {
      prepared,
      input: "input" in errand ? errand.input : null,
      scope: new AbortController(),
      journal: null,
      mailbox: new Mailbox(),
      isInner,
      result: null!,
      isStored: false,
      begun: new Promise((resolve) => (begin = resolve)),
      begin() {
        active.isStored = true;
        begin();
      },
    };
    active.result = this.#lives.carryOut(runId, active, errand).finally(() => this.#active.delete(runId));
    this.#active.set(runId, active);
    cancelOn(active, signal);
    return active;
  }
}

function noStart(runId: string): NotFoundError {
  return new NotFoundError(`The start of run "${runId}" was never recorded. Run it with its input.`);
}

/** Resolves once the start of a run is stored, or is known to have been. */
export async function handleOf<Out>(runId: string, { begun, result }: Active<Out>): Promise<RunHandle<Out>> {
  // One that had ended before begins nothing. The race also looks at a rejection that nobody else may look at.
  await Promise.race([begun, result]);
  return { runId, result };
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
