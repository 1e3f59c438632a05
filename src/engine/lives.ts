import { callFrom } from "../core/call.ts";
import type { HoldfastError } from "../core/errors.ts";
import { Slots } from "../core/slots.ts";
import { isEnded, type Signal, type Store } from "../core/store.ts";
import { invocationKey } from "../workflow/invocation-id.ts";
import { Readiness } from "../workflow/ready.ts";
import { type RunState, wakingOf } from "../workflow/run-state.ts";
import { isDegraded } from "./announce.ts";
import { cancellationIn } from "./cancellation.ts";
import { DueRuns } from "./due-runs.ts";
import { definitionChanges } from "./definition-change.ts";
import { checkSameDefinition, checkSameRun, type Errand, stageErrand } from "./errand.ts";
import { Journal } from "./journal.ts";
import { reopenCircuits } from "./invoke-node.ts";
import type { Prepared } from "./known-workflows.ts";
import { Leases } from "./leases.ts";
import { Mailbox } from "./mailbox.ts";
import { RunBudgets } from "./node-budget.ts";
import { isDead, newOwner } from "./owner.ts";
import { Pause } from "./pause.ts";
import type { ActiveRun, CancelInner, EngineSettings, RunInner } from "./run.ts";
import { resultOf, type RunResult, servedEnds, type ServedEnds } from "./run-result.ts";
import { walk } from "./walk.ts";

/** A run under way in this process. */
export interface Active<Out = unknown> {
  prepared: Prepared;
  /** Null for a redrive, which learns the input from the journal. */
  input: string | null;
  result: Promise<RunResult<Out>>;
  scope: AbortController;
  journal: Journal | null;
  mailbox: Mailbox;
  /** Whether it is the run of a node of another run. */
  readonly isInner: boolean;
  isStored: boolean;
  /** Resolves once the start of the run is stored. */
  begun: Promise<void>;
  begin: () => void;
}

/** What the lives of runs need beside their store. */
export interface LivesOptions {
  leaseMs?: number | undefined;
  concurrency?: number | undefined;
  pauseMs?: number | undefined;
  /** Told of a signal that another process has sent to a run which is carried out here. */
  onSignal: (signal: Signal) => void;
  runInner: RunInner;
  cancelInner: CancelInner;
}

/** Carries runs out: each under a lease, within a slot, and again after it was parked. */
export class Lives {
  readonly #store: Store;
  readonly #settings: EngineSettings;
  readonly #owner: string = newOwner();
  readonly #leaseMs: number;
  readonly #pauseMs: number;
  readonly #leases: Leases;
  readonly #slots: Slots;
  readonly #runInner: RunInner;
  readonly #cancelInner: CancelInner;
  /** Runs that are parked, and those of others that are due. */
  readonly due: DueRuns;
  /** Why runs stop, once the engine is closed. */
  closed: HoldfastError | null = null;

  constructor(store: Store, settings: EngineSettings, options: LivesOptions) {
    const { leaseMs = 5000, concurrency = Infinity, pauseMs = Infinity, onSignal, runInner, cancelInner } = options;
    const { runtime } = settings;
    this.#store = store;
    this.#settings = settings;
    this.#leaseMs = leaseMs;
    this.#pauseMs = pauseMs;
    this.#leases = new Leases(store, runtime, this.#owner, leaseMs, onSignal);
    this.#slots = new Slots(concurrency, runtime.clock);
    this.#runInner = runInner;
    this.#cancelInner = cancelInner;
    this.due = new DueRuns(store, runtime);
  }

  /** Hands a run the signals that wait for it. */
  hand({ mailbox, scope }: Active, signals: readonly Signal[]): void {
    const { codec } = this.#settings;
    for (const signal of signals) {
      const cancellation = cancellationIn(signal, codec);
      if (cancellation === undefined) mailbox.deliver(signal);
      else scope.abort(cancellation);
    }
  }

  /**
   * Carries a run out to its end: in one life, or in several. Between them it is parked until it is due, or pauses until
   * its store is back, or is followed while another engine has it that was faster.
   */
  async carryOut(runId: string, active: Active, errand: Errand): Promise<RunResult> {
    const { signal } = active.scope;
    let resumed: boolean | undefined;
    let current = errand;
    const pause = new Pause(this.#settings.runtime, this.#pauseMs);
    for (;;) {
      let wakeAt: number | null;
      try {
        const life = await this.#live(runId, active, current);
        resumed ??= life.resumed;
        if (life.state.status !== "waiting") return await this.#resultOf(runId, active, life, resumed);
        pause.end();
        current = { input: life.state.input };
        ({ wakeAt } = wakingOf(life.state));
      } catch (error) {
        const again = this.closed !== null || signal.aborted || !active.isStored ? null : pause.next(error);
        if (again === null) {
          this.#tellStopped(runId, active, error);
          throw error;
        }
        this.#tellPaused(runId, active, error, again);
        // It has begun, and is under way: whether it was due is no question any more.
        if ("redrive" in current) current = { ...current, terms: {} };
        wakeAt = this.#settings.runtime.clock.wallNow() + again;
      }
      await this.due.wait(runId, wakeAt, signal);
    }
  }

  async #resultOf(runId: string, active: Active, { state, ends }: Life, resumed: boolean): Promise<RunResult> {
    const isWhole = state.status === "completed" && !isDegraded(state);
    const letters = isWhole || state.status === "cancelled" ? [] : await this.#store.deadLetters({ runId });
    return await resultOf(runId, active.prepared.plan, state, this.#settings, letters, resumed, ends);
  }

  /** A run that was not begun here, because somebody else has it or it is another one, has not stopped. */
  #tellStopped(runId: string, { journal, prepared }: Active, error: unknown): void {
    if (journal === null) return;
    const workflowId = prepared.plan.definition.id;
    this.#settings.runtime.events.emit?.("run.stopped", { runId, workflowId, error });
  }

  #tellPaused(runId: string, { prepared }: Active, error: unknown, retryDelayMs: number): void {
    const workflowId = prepared.plan.definition.id;
    this.#settings.runtime.events.emit?.("run.paused", { runId, workflowId, error, retryDelayMs });
  }

  /** Carries a run out under one lease, until it ends or is parked. */
  async #live(runId: string, active: Active, errand: Errand): Promise<Life> {
    const { plan, guards } = active.prepared;
    let journal: Journal | undefined;
    let readiness: Readiness | undefined;
    let hasSlot = false;
    // Tells the nodes of this life to stop, where the run is cancelled or the life cannot go on.
    const scope = new AbortController();
    const cancel = (): void => scope.abort(active.scope.signal.reason);
    if (active.scope.signal.aborted) cancel();
    else active.scope.signal.addEventListener("abort", cancel, { once: true });
    try {
      journal = await this.#open(runId, active, errand);
      const resumed = journal.state.status !== "new";
      if (!isSettled(journal, errand)) {
        let redriving = resumed ? null : await this.#stage(active, journal, errand);
        // A run inside another one works in the slot of that.
        hasSlot = !active.isInner && this.#slots.tryTake();
        if (!hasSlot && !active.isInner) {
          // A new run is recorded before it waits for its turn. One that is known gives its lease back: that the process
          // dies meanwhile must not count as a crash of its nodes, and whoever has a free slot may go on with it.
          if (!resumed) await journal.commit();
          else await journal.release().then(active.begin);
          hasSlot = await this.#turn(active.scope);
          if (this.closed !== null) throw this.closed;
          if (resumed) journal = await this.#open(runId, active, errand);
        }
        if (!isSettled(journal, errand)) {
          redriving ??= await this.#stage(active, journal, errand);
          if (resumed) this.hand(active, await this.#store.signals({ runId }));
          readiness = new Readiness(plan, journal.state);
          const { mailbox } = active;
          const settings = this.#settings;
          if (resumed) reopenCircuits({ guards, journal, settings });
          const budgets = new RunBudgets(plan.definition, journal.state, settings.runtime);
          const runInner = this.#runInner;
          const cancelInner = this.#cancelInner;
          await walk({
            ...{ runId, plan, guards, journal, readiness, mailbox, settings, scope, redriving, budgets },
            ...{ runInner, cancelInner },
          });
        }
      }
      const { state } = journal;
      const ends = servedEnds(plan, state, readiness);
      await journal.load(ends.flatMap(([, served]) => (served ? [invocationKey(served.id)] : [])));
      return { state, resumed, ends };
    } catch (error) {
      if (active.journal === journal) journal?.abandon(error);
      scope.abort(error);
      await journal?.release().catch(() => {});
      throw error;
    } finally {
      active.scope.signal.removeEventListener("abort", cancel);
      if (journal !== undefined) this.#leases.drop(journal);
      if (hasSlot) this.#slots.give();
    }
  }

  /** Waits for a slot. Gives false where the run is cancelled meanwhile, which is recorded without one. */
  async #turn({ signal }: AbortController): Promise<boolean> {
    if (signal.aborted) return false;
    const waiting = this.#slots.wait(callFrom(this.#settings.runtime.clock, { signal }), Infinity);
    return (await waiting.catch(() => false)) === true;
  }

  /** Opens the journal of a run, which must be what it was started as. */
  async #open(runId: string, { prepared: { plan } }: Active, errand: Errand): Promise<Journal> {
    if (this.closed !== null) throw this.closed;
    const journal = await Journal.open(this.#store, this.#settings.runtime, {
      runId,
      workflowId: plan.definition.id,
      owner: this.#owner,
      leaseMs: this.#leaseMs,
      snapshots: this.#settings.snapshots,
      isDead,
      reopen: "redrive" in errand,
    });
    const { state } = journal;
    try {
      if (state.status !== "new") {
        const given = "input" in errand ? errand.input : state.input;
        // A reference is stored for a large one; one that was read from the journal itself is the same reference.
        const input = given === state.input ? given : await this.#settings.values.load(state.input);
        checkSameRun(runId, plan, { ...state, input }, given);
        // A migration may work on any output.
        if (journal.isNoted && state.fingerprint !== plan.fingerprint) await journal.load(state.invocations.keys());
        if (isSettled(journal, errand)) checkSameDefinition(runId, plan, state);
        else await definitionChanges(runId, plan, state, this.#settings, 0);
      }
      return journal;
    } catch (error) {
      await journal.release().catch(() => {});
      throw error;
    }
  }

  /** Stages what a run begins with here, and keeps its lease from now on. */
  async #stage(active: Active, journal: Journal, errand: Errand): Promise<ActiveRun["redriving"]> {
    const at = this.#settings.runtime.clock.wallNow();
    const redriving = await stageErrand(this.#store, active.prepared.plan, journal, errand, this.#settings, at);
    // Closed while the journal was being opened: the run stops here, which is not to be cancelled.
    if (this.closed !== null) throw this.closed;
    active.journal = journal;
    active.mailbox = new Mailbox();
    journal.onCommitted = active.begin;
    this.#leases.hold(journal);
    return redriving;
  }
}

/** What has become of a run under one lease. */
interface Life {
  readonly state: RunState;
  /** Whether it found work of an earlier one. */
  readonly resumed: boolean;
  /** What gives its output, where it has completed. */
  readonly ends: ServedEnds;
}

/** Whether nothing of what is asked for is left to do. */
function isSettled({ state }: Journal, errand: Errand): boolean {
  return "input" in errand && state.status !== "new" && isEnded(state.status);
}
