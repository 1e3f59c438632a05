import { callFrom } from "../core/call.ts";
import { codeOf, type HoldfastError } from "../core/errors.ts";
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
import type { Prepared } from "./known-workflows.ts";
import { Leases } from "./leases.ts";
import { Mailbox } from "./mailbox.ts";
import { RunBudgets } from "./node-budget.ts";
import { isDead, newOwner } from "./owner.ts";
import type { ActiveRun, EngineSettings, RunInner } from "./run.ts";
import { resultOf, type RunResult, servedEnds, type ServedEnds } from "./run-result.ts";
import { walk } from "./walk.ts";

/** How long to wait before a run is looked at again that another engine has taken up. */
const FOLLOW_MS = 1000;

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
  /** Told of a signal that another process has sent to a run which is carried out here. */
  onSignal: (signal: Signal) => void;
  runInner: RunInner;
}

/** Carries runs out: each under a lease, within a slot, and again after it was parked. */
export class Lives {
  readonly #store: Store;
  readonly #settings: EngineSettings;
  readonly #owner: string = newOwner();
  readonly #leaseMs: number;
  readonly #leases: Leases;
  readonly #slots: Slots;
  readonly #runInner: RunInner;
  /** Runs that are parked, and those of others that are due. */
  readonly due: DueRuns;
  /** Why runs stop, once the engine is closed. */
  closed: HoldfastError | null = null;

  constructor(store: Store, settings: EngineSettings, options: LivesOptions) {
    const { leaseMs = 5000, concurrency = Infinity, onSignal, runInner } = options;
    const { runtime } = settings;
    this.#store = store;
    this.#settings = settings;
    this.#leaseMs = leaseMs;
    this.#leases = new Leases(store, runtime, this.#owner, leaseMs, onSignal);
    this.#slots = new Slots(concurrency, runtime.clock);
    this.#runInner = runInner;
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

  /** Carries a run out to its end: in one life, or in several where it is parked between them. */
  async carryOut(runId: string, active: Active, errand: Errand): Promise<RunResult> {
    const { signal } = active.scope;
    let life = await this.#live(runId, active, errand);
    const { resumed } = life;
    while (life.state.status === "waiting") {
      await this.due.wait(runId, wakingOf(life.state).wakeAt, signal);
      life = await this.#liveAgain(runId, active, { input: life.state.input });
    }
    const { state, ends } = life;
    const isWhole = state.status === "completed" && !isDegraded(state);
    const letters = isWhole || state.status === "cancelled" ? [] : await this.#store.deadLetters({ runId });
    return resultOf(runId, active.prepared.plan, state, this.#settings.codec, letters, resumed, ends);
  }

  /** Takes a parked run up. Where another engine was faster, follows what becomes of it there. */
  async #liveAgain(runId: string, active: Active, errand: Errand): Promise<Life> {
    const { clock } = this.#settings.runtime;
    for (;;) {
      try {
        return await this.#live(runId, active, errand);
      } catch (error) {
        if (codeOf(error) !== "RUN_IN_USE" || active.scope.signal.aborted) throw error;
        await this.due.wait(runId, clock.wallNow() + FOLLOW_MS, active.scope.signal);
      }
    }
  }

  /** Carries a run out under one lease, until it ends or is parked. */
  async #live(runId: string, active: Active, errand: Errand): Promise<Life> {
    const { runtime } = this.#settings;
    const { plan, guards } = active.prepared;
    let journal: Journal | undefined;
    let readiness: Readiness | undefined;
    let hasSlot = false;
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
          const { scope, mailbox } = active;
          const settings = this.#settings;
          const budgets = new RunBudgets(plan.definition, journal.state, settings.runtime);
          const runInner = this.#runInner;
          await walk({
            ...{ runId, plan, guards, journal, readiness, mailbox, settings, scope, redriving, budgets, runInner },
          });
        }
      }
      const { state } = journal;
      const ends = servedEnds(plan, state, readiness);
      await journal.load(ends.flatMap(([, served]) => (served ? [invocationKey(served.id)] : [])));
      return { state, resumed, ends };
    } catch (error) {
      // A run that was not begun here, because somebody else has it or it is another one, has not stopped.
      if (active.journal !== null && active.journal === journal) {
        journal.abandon(error);
        runtime.events.emit?.("run.stopped", { runId, workflowId: plan.definition.id, error });
        active.scope.abort(error);
      }
      await journal?.release().catch(() => {});
      throw error;
    } finally {
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
        checkSameRun(runId, plan, state, "input" in errand ? errand.input : state.input);
        // A migration may work on any output.
        if (journal.isNoted && state.fingerprint !== plan.fingerprint) await journal.load(state.invocations.keys());
        if (isSettled(journal, errand)) checkSameDefinition(runId, plan, state);
        else definitionChanges(runId, plan, state, this.#settings.codec, 0);
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
    const redriving = await stageErrand(this.#store, active.prepared.plan, journal, errand, this.#settings.codec, at);
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
